"""The rules of who runs next, one by one, without a database."""

import random

import pytest

from crowd import GIB, gpus, team
from store.policy import HALF_LIFE, PATIENCE, Need, Party, Place, Waiting, decayed, next_job, packed, remembered

NOW = 1e6
ONE, TWO = Need(1, 0), Need(2, 0)


def job(name: str, user: str = "u0", project: str = "p0", since: float = NOW, **changes) -> Waiting:
    return Waiting(name, user, project, changes.get("priority", 0), since, 1, changes.get("need", ONE))


def chosen(waiting: list[Waiting], parties: dict | None = None, room: list[Place] | None = None) -> str | None:
    found = next_job(waiting, parties or team(3, 2), gpus(1) if room is None else room, NOW)
    return found.waiting.job if found else None


def used(seconds: float, **limits) -> Party:
    return Party(usage=seconds, usage_at=NOW, **limits)


def running(*slots: int, **limits) -> Party:
    return Party(runs=[(NOW - 100, number) for number in slots], usage_at=NOW, **limits)


def test_usage_is_what_an_integral_of_the_half_life_says() -> None:
    """Against a sum over many small steps."""
    steps = 20_000
    span = 3 * HALF_LIFE
    summed = sum(0.5 ** (span * (step + 0.5) / steps / HALF_LIFE) for step in range(steps)) * span / steps
    assert decayed(span) == pytest.approx(summed, rel=1e-6)
    assert (remembered(HALF_LIFE), decayed(1.0)) == (0.5, pytest.approx(1.0, rel=1e-5))


def test_who_is_new_has_had_nothing() -> None:
    assert Party().used(NOW) == 0
    assert Party(usage=1).used(HALF_LIFE) == 0.5, "by a clock that begins in 1970"


def test_usage_does_not_jump_when_a_job_ends_or_by_when_one_asks() -> None:
    party = running(2, 1)
    at_once = Party(100, NOW, [(NOW, 1)])
    before = party.used(NOW)
    party.ended(NOW - 100, 2, NOW)
    assert party.used(NOW) == pytest.approx(before - 2), "the second that a taken slot counts at once is given back"
    assert at_once.used(NOW + HALF_LIFE) == pytest.approx(50 + 1 + decayed(HALF_LIFE))
    assert party.running == 1


def test_what_was_had_before_a_job_ends_is_remembered_up_to_then() -> None:
    party = Party(100, NOW - 86_400, [(NOW - 10, 2)])
    party.ended(NOW - 10, 2, NOW)
    assert party.used(NOW) == pytest.approx(50 + 2 * decayed(10)), "half of it is forgotten in a day"
    assert remembered(24 * 3600) == 0.5


def test_the_least_share_of_user_and_project_together_goes_first() -> None:
    waiting = [job("a", "u0", "p0"), job("b", "u1", "p1"), job("c", "u2", "p1")]
    parties = team(3, 2, u0=used(10), u1=used(30), u2=used(20), p0=used(50), p1=used(25))
    assert chosen(waiting, parties) == "c", "45 is less than 55 and 60"


def test_a_share_is_divided_by_the_weight() -> None:
    waiting = [job("a", "u0"), job("b", "u1")]
    assert chosen(waiting, team(2, 1, u0=used(100), u1=used(150, weight=2))) == "b"
    assert chosen(waiting, team(2, 1, u0=used(100), u1=used(250, weight=2))) == "a"


def test_what_runs_counts_while_it_runs() -> None:
    waiting = [job("a", "u0"), job("b", "u1")]
    assert chosen(waiting, team(2, 1, u0=running(1), u1=used(90))) == "b"
    assert chosen(waiting, team(2, 1, u0=running(1), u1=used(110))) == "a"


def test_between_equal_shares_the_older_first_job_goes_whatever_its_priority() -> None:
    waiting = [job("new", "u0", since=NOW - 1, priority=1), job("old", "u1", since=NOW - 2, priority=-1)]
    assert chosen(waiting) == "old"


def test_within_a_user_and_project_priority_then_age_then_number() -> None:
    line = [job("late"), job("early", since=NOW - 9), job("low", since=NOW - 99, priority=-1), job("high", priority=1)]
    order = []
    while line:
        order.append(chosen(line))
        line = [one for one in line if one.job != order[-1]]
    assert order == ["high", "early", "late", "low"]


def test_below_its_guarantee_a_user_or_project_goes_before_all_others() -> None:
    waiting = [job("a", "u0", "p0"), job("b", "u1", "p1")]
    rich = {"usage": 1e6, "usage_at": NOW, "guarantee": 2}
    assert chosen(waiting, team(2, 2, u1=Party(runs=[(NOW, 1)], **rich))) == "b"
    assert chosen(waiting, team(2, 2, p1=Party(runs=[(NOW, 1)], **rich))) == "b"
    assert chosen(waiting, team(2, 2, p1=Party(runs=[(NOW, 2)], **rich))) == "a"


@pytest.mark.parametrize("party", ["u0", "p0"])
def test_at_its_maximum_a_user_or_project_does_not_go(party: str) -> None:
    waiting = [job("a", "u0", "p0"), job("b", "u1", "p1", since=NOW + 1)]
    assert chosen(waiting, team(2, 2, **{party: running(1, 2, maximum=3)})) == "b"
    assert chosen([waiting[0]], team(1, 1, **{party: running(1, 2, maximum=3)})) is None
    assert chosen([waiting[0]], team(1, 1, **{party: running(1, 2, maximum=4)})) == "a"


def test_a_job_of_several_slots_that_would_pass_the_maximum_does_not_go_and_a_smaller_one_does() -> None:
    parties = team(1, 1, u0=running(1, maximum=2))
    assert chosen([job("two", need=TWO, priority=1), job("one")], parties, gpus(4)) == "one"


def test_a_job_that_does_not_fit_is_passed_over() -> None:
    assert chosen([job("two", need=TWO, since=NOW - 2), job("one", since=NOW - 1)]) == "one"
    assert chosen([job("large", need=Need(1, 81 * GIB), since=NOW - 2), job("one")]) == "one"
    assert chosen([job("two", need=TWO)]) is None


def test_a_job_fits_a_slot_of_just_its_size() -> None:
    assert chosen([job("large", need=Need(1, 80 * GIB))]) == "large"
    assert packed(Need(1, 80 * GIB), gpus(1))


@pytest.mark.parametrize(("waited", "expected"), [(3600, "one"), (3600.5, None)])
def test_a_job_keeps_slots_when_it_has_waited_for_more_than_an_hour(waited: float, expected: str | None) -> None:
    room = gpus(2)
    room[0].free = False
    assert chosen([job("two", need=TWO, since=NOW - waited), job("one")], room=room) == expected


@pytest.mark.parametrize("memories", [(20, 80), (80, 20)])
def test_one_large_slot_among_small_ones_is_found(memories: tuple[int, int]) -> None:
    room = [Place(f"gpu:{number}", 0, "gpu", memory * GIB) for number, memory in enumerate(memories)]
    found = next_job([job("large", need=Need(1, 40 * GIB))], team(1, 1), room, NOW)
    assert found
    assert [place.memory for place in found.places] == [80 * GIB]


def test_a_job_that_has_waited_long_keeps_the_slots_that_it_could_take() -> None:
    room = gpus(2)
    room[0].free = False
    young = [job("two", need=TWO, since=NOW - PATIENCE), job("one"), job("cpu", need=Need(0, 0), priority=-1)]
    old = [young[0]._replace(since=NOW - PATIENCE - 1), *young[1:]]
    assert chosen(young, room=room) == "one"
    assert chosen(old, room=room) == "cpu", "the free GPU is kept, the processor is not"
    room[0].free = True
    assert chosen(old, room=room) == "two"


def test_who_stands_before_a_job_that_keeps_slots_may_take_them() -> None:
    room = gpus(2)
    room[0].free = False
    waiting = [job("two", "u0", need=TWO, since=NOW - 2 * PATIENCE), job("one", "u1")]
    assert chosen(waiting, team(2, 1, u0=used(5)), room) == "one"


def test_a_job_keeps_no_slots_of_a_worker_that_it_would_not_fit_empty_and_no_more_than_it_needs() -> None:
    waiting = [job("two", need=TWO, since=NOW - 2 * PATIENCE), job("one")]
    assert chosen(waiting, room=gpus(1)) == "one"
    room = gpus(2, slots=2)
    room[0].free = room[1].free = False
    assert chosen(waiting, room=room) == "one", "of the second GPU's two slots one is kept"


def test_a_job_behind_an_equal_one_of_higher_priority_keeps_nothing_before_that_does() -> None:
    room = gpus(2)
    room[0].free = False
    waiting = [job("new", need=TWO, priority=1), job("old", need=TWO, since=NOW - 2 * PATIENCE)]
    assert chosen([*waiting, job("one", priority=-1)], room=room) == "one"


def test_slots_are_packed_and_those_of_one_job_lie_on_different_devices() -> None:
    room = [*gpus(3, slots=2), Place("gpu:9", 0, "gpu", 20 * GIB), Place("gpu:9", 1, "gpu", 20 * GIB)]
    room[2].free = False
    free = [place for place in room if place.free]
    assert [(one.device, one.number) for one in packed(ONE, free)] == [("gpu:1", 1)], "the fewest free slots"
    assert [one.device for one in packed(TWO, free)] == ["gpu:1", "gpu:9"], "then the least memory"
    assert [one.device for one in packed(Need(2, 30 * GIB), free)] == ["gpu:1", "gpu:0"]
    assert packed(Need(5, 0), free) is None, "seven slots on four devices"
    assert packed(Need(0, 65 * GIB), free) is None


def test_the_first_job_of_each_need_stands_for_all_behind_it() -> None:
    """What a claim reads, against the whole queue, on random queues and rooms."""
    for seed in range(300):
        chance = random.Random(seed)
        needs = [ONE, TWO, Need(0, 0), Need(1, 50 * GIB)]
        line = [
            Waiting(n, f"u{chance.randrange(3)}", f"p{chance.randrange(2)}", chance.randrange(-1, 2),
                    NOW - chance.uniform(0, 2 * PATIENCE), n, chance.choice(needs))
            for n in range(chance.randrange(1, 30))
        ]  # fmt: skip
        room = gpus(4, slots=2)
        for place in room:
            place.free = chance.random() < 0.4
        parties = team(3, 2, u0=running(1, maximum=chance.randrange(1, 4)), u1=used(chance.uniform(0, 200)))
        first: dict = {}
        for one in sorted(line, key=lambda one: (-one.priority, one.since, one.number)):
            first.setdefault((one.user, one.project, one.need), one)
        assert next_job(line, parties, room, NOW) == next_job(first.values(), parties, room, NOW)
