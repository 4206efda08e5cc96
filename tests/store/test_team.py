"""The events of all jobs in one order: nothing lost, nothing doubled, whoever commits when."""

import random
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor

from sqlalchemy import delete, text, update
from sqlalchemy.orm import Session

from made import ALL, queue
from store import feed, reaper, team
from store.database import transaction
from store.people import Project
from store.sight import Eyes
from store.tables import Event


def note(job_id: uuid.UUID, word: str, pause: float = 0.0) -> None:
    with transaction() as session:
        feed.append(session, job_id, [("noticed", {"text": word})])
        session.flush()
        time.sleep(pause)


def seen(after: int = 0, limit: int = 1000) -> list[tuple[int, str]]:
    with transaction() as session:
        team.place(session)
        return [(one.position, one.body.get("text", one.kind)) for one in team.read(session, after, limit, ALL)]


def test_positions_are_given_in_the_order_of_the_commits_and_not_of_the_beginnings(database: Session, ada) -> None:
    first, second = queue(database, ada).id, queue(database, ada).id
    database.commit()
    begun = len(seen())
    with transaction() as slow:
        feed.append(slow, first, [("noticed", {"text": "began first"})])
        note(second, "committed first")
        assert seen(begun) == [(begun + 1, "committed first")]
        slow.commit()
    assert seen(begun) == [(begun + 1, "committed first"), (begun + 2, "began first")]


def test_a_job_s_events_keep_their_order_whichever_of_its_writers_began_first(database: Session, ada) -> None:
    job_id = queue(database, ada).id
    database.commit()
    with transaction() as early:
        early.execute(text("SELECT now()"))  # from here on its events have this time
        note(job_id, "second")
        feed.append(early, job_id, [("noticed", {"text": "third"})])
    assert [word for _, word in seen()] == ["state_changed", "second", "third"]


def test_readers_beside_many_writers_miss_nothing_and_see_nothing_twice(database: Session, ada) -> None:
    """Eight writers whose transactions overlap at random, three readers that place while they read."""
    ids = [queue(database, ada).id for _ in range(8)]
    database.commit()
    begin, done = len(seen()), threading.Event()

    def write(number: int) -> None:
        for step in range(40):
            note(ids[number], f"{number}/{step}", random.random() * 0.004)

    def read() -> list[tuple[int, str]]:
        found: list[tuple[int, str]] = []
        while True:
            last = done.is_set()
            more = seen(found[-1][0] if found else begin, 7)
            found += more
            if last and not more:
                return found

    with ThreadPoolExecutor(11) as pool:
        readers = [pool.submit(read) for _ in range(3)]
        for writer in [pool.submit(write, number) for number in range(8)]:
            writer.result()
        with transaction() as session:
            team.place(session, wait=True)
        done.set()
        told = [reader.result() for reader in readers]
    assert told[0] == told[1] == told[2]
    assert [position for position, _ in told[0]] == list(range(begin + 1, begin + 321))
    for number in range(8):
        mine = [word for _, word in told[0] if word.startswith(f"{number}/")]
        assert mine == [f"{number}/{step}" for step in range(40)]


def test_the_reaper_places_what_nobody_has_read(database: Session, ada) -> None:
    queue(database, ada)
    database.commit()
    time.sleep(0.02)
    assert team.lag(database) >= 0.02
    database.commit()
    reaper.reap()
    assert (team.newest(database), team.lag(database)) == (1, 0.0)


def test_only_what_the_eyes_see_is_read(database: Session, ada) -> None:
    one, other = queue(database, ada, project="one").id, queue(database, ada, project="other").id
    team.place(database)
    assert {event.job_id for event in team.read(database, 0, 10, ALL)} == {one, other}
    database.execute(update(Project).where(Project.name == "other").values(visibility="private"))
    assert {event.job_id for event in team.read(database, 0, 10, Eyes(ada))} == {one}


def test_a_position_that_a_deleted_event_had_is_not_given_again(database: Session, ada) -> None:
    """Or who has read that far would miss the next."""
    job_id = queue(database, ada).id
    team.place(database)
    last = team.newest(database)
    database.execute(delete(Event).where(Event.position == last))
    feed.append(database, job_id, [("noticed", {"text": "next"})])
    team.place(database)
    assert [one.body.get("text") for one in team.read(database, last, 10, ALL)] == ["next"]


def test_a_reader_does_not_wait_for_whoever_is_placing(database: Session, ada) -> None:
    queue(database, ada)
    database.commit()
    team.place(database)
    with transaction() as session:
        session.execute(text("SET LOCAL statement_timeout = '1s'"))
        team.place(session)
        assert team.newest(session) == 0, "what is being placed is not there yet"
    database.commit()
    assert team.newest(database) == 1
