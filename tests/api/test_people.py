"""Users, projects, tokens and the log of who did what: what may be changed, by whom, and what is refused."""

import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from sqlalchemy import update
from sqlalchemy.orm import Session
from typer.testing import CliRunner

from made import CPU, queue
from sparring.cli import app
from store import projects, tokens, users, workers
from store.database import transaction
from store.people import Token, User
from store.sight import Eyes
from store.tables import Attempt

ANY = {"If-Match": "*"}
SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5"}


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def as_user(name: str, role: str = "member", **about: Any) -> dict[str, str]:
    with transaction() as session:
        return bearer(tokens.issue(session, tokens.user_named(session, name, role), "tests", **about))


# ---- users


def test_a_user_is_made_once_found_and_given_a_role(api) -> None:
    made = api.post("/api/v1/users", json={"name": "bob"})
    assert (made.status_code, made.json()["role"]) == (201, "member")
    assert api.post("/api/v1/users", json={"name": "bob"}).json()["code"] == "exists"
    found = api.get("/api/v1/users/bob")
    changed = api.patch("/api/v1/users/bob", json={"role": "viewer"}, headers={"If-Match": found.headers["etag"]})
    assert (changed.status_code, changed.json()["role"]) == (200, "viewer")
    again = api.patch("/api/v1/users/bob", json={"role": "admin"}, headers={"If-Match": found.headers["etag"]})
    assert (again.status_code, again.json()["code"]) == (412, "changed_meanwhile")
    assert api.patch("/api/v1/users/bob", json={"role": "admin"}).status_code == 428
    assert api.get("/api/v1/users/bob").json()["role"] == "viewer"


@pytest.mark.parametrize(
    "asked",
    [{}, {"name": ""}, {"name": "a b"}, {"name": "x" * 65}, {"name": "bob", "role": "root"}, {"name": "b", "x": 1}],
)
def test_a_user_that_cannot_be_is_refused(api, asked: dict[str, Any]) -> None:
    assert api.post("/api/v1/users", json=asked).status_code == 422


def test_a_list_is_read_page_by_page(api) -> None:
    for number in range(5):
        api.post("/api/v1/users", json={"name": f"u{number}"})
    names, cursor = [], None
    while True:
        page = api.get("/api/v1/users", params={"limit": 2} | ({"cursor": cursor} if cursor else {})).json()
        names += [one["name"] for one in page["items"]]
        cursor = page["next_cursor"]
        if not cursor:
            break
    assert names == ["ada", "u0", "u1", "u2", "u3", "u4"]


def test_a_request_that_is_sent_again_makes_no_second_user(api) -> None:
    sent = {"json": {"name": "bob"}, "headers": {"Idempotency-Key": "k"}}
    answers = [api.post("/api/v1/users", **sent) for _ in range(2)]
    assert [one.status_code for one in answers] == [201, 201]
    assert answers[0].json() == answers[1].json()
    other = api.post("/api/v1/users", json={"name": "eve"}, headers={"Idempotency-Key": "k"})
    assert other.json()["code"] == "idempotency_key_reused"


def test_a_disabled_user_is_out_at_once_and_in_again_when_enabled(api, database: Session) -> None:
    bob = as_user("bob")
    with transaction() as session:
        cookie, _ = tokens.log_in(session, bob["Authorization"].split()[1])
    browser = {"Cookie": f"__Host-sparring={cookie}", "Authorization": ""}
    for disabled, status in ((False, 200), (True, 401), (False, 200)):
        api.patch("/api/v1/users/bob", json={"disabled": disabled}, headers=ANY)
        assert [api.get("/api/v1/me", headers=one).status_code for one in (bob, browser)] == [status, status]


@pytest.mark.parametrize("change", [{"role": "maintainer"}, {"disabled": True}])
def test_the_last_administrator_stays_one(api, change: dict[str, Any]) -> None:
    as_user("mia", "maintainer")
    refused = api.patch("/api/v1/users/ada", json=change, headers=ANY)
    assert (refused.status_code, refused.json()["code"]) == (409, "last_admin")
    as_user("eve", "admin")
    assert api.patch("/api/v1/users/ada", json=change, headers=ANY).status_code == 200
    as_user("ada")
    with transaction() as session, pytest.raises(users.LastAdmin, match="eve is the only"):
        users.change(session, users.named(session, "eve", lock=True), "viewer", disabled=False)


def test_of_two_administrators_who_demote_each_other_one_stays(database: Session) -> None:
    for name in ("ada", "eve"):
        tokens.user_named(database, name, "admin")
    database.commit()

    def demote(name: str) -> bool:
        try:
            with transaction() as session:
                users.change(session, users.named(session, name, lock=True), "viewer", disabled=False)
        except users.LastAdmin:
            return False
        return True

    for _ in range(10):
        with ThreadPoolExecutor() as pool:
            assert sorted(pool.map(demote, ("ada", "eve"))) == [False, True]
        database.execute(update(User).values(role="admin"))
        database.commit()


# ---- projects


def test_a_private_project_is_there_for_its_members_alone(api) -> None:
    bob, eve = as_user("bob"), as_user("eve")
    made = api.post("/api/v1/projects", json={"name": "quiet", "visibility": "private"}, headers=bob)
    assert (made.status_code, made.json()["members"]) == (201, ["bob"])
    assert [api.get("/api/v1/projects/quiet", headers=one).status_code for one in (bob, eve)] == [200, 404]
    job = api.post("/api/v1/jobs", json=SPEC | {"project": "quiet"}, headers=bob).json()["jobs"][0]
    assert api.post("/api/v1/jobs", json=SPEC | {"project": "quiet"}, headers=eve).status_code == 404
    for headers, found in ((bob, 1), (eve, 0), ({}, 1)):
        page = api.get("/api/v1/jobs", headers=headers).json()
        assert (len(page["items"]), page["counts"].get("queued", 0)) == (found, found)
        assert len(api.get("/api/v1/projects", headers=headers).json()["items"]) == found
        assert api.get(f"/api/v1/jobs/{job['number']}", headers=headers).status_code == (200 if found else 404)


def test_a_number_means_the_job_that_one_sees(api) -> None:
    bob = as_user("bob")
    api.post("/api/v1/projects", json={"name": "quiet", "visibility": "private"})
    api.post("/api/v1/jobs", json=SPEC | {"project": "quiet"})
    mine = api.post("/api/v1/jobs", json=SPEC, headers=bob).json()["jobs"][0]
    assert api.get("/api/v1/jobs/1", headers=bob).json()["id"] == mine["id"]
    assert api.get("/api/v1/jobs/1").json()["code"] == "ambiguous"


def test_what_is_hidden_does_not_count_as_computed_already(api) -> None:
    bob = as_user("bob")
    ran = api.post("/api/v1/presets/thesis-4.1/run", json={"rows": ["1"]}).json()
    assert ran["jobs"]
    with transaction() as session:
        project = projects.named(session, Eyes(tokens.user_named(session, "ada"), True), "thesis-4.1")
        projects.change(session, project, "private", [])
    assert api.post("/api/v1/presets/thesis-4.1/run", json={"rows": ["1"]}).json()["present"]
    refused = api.post("/api/v1/presets/thesis-4.1/run", json={"rows": ["1"]}, headers=bob)
    assert (refused.status_code, refused.json()["code"]) == (404, "not_found")


def test_a_project_that_becomes_private_keeps_those_who_have_jobs_in_it(api) -> None:
    bob, mia = as_user("bob"), as_user("mia", "maintainer")
    api.post("/api/v1/jobs", json=SPEC | {"project": "shared"}, headers=bob)
    tag = {"If-Match": api.get("/api/v1/projects/shared").headers["etag"]}
    changed = api.patch("/api/v1/projects/shared", json={"visibility": "private"}, headers=mia | tag)
    assert changed.json()["members"] == ["bob", "mia"]
    assert api.patch("/api/v1/projects/shared", json={"members": []}, headers=mia | tag).status_code == 412
    assert api.patch("/api/v1/projects/shared", json={"members": []}, headers=mia).status_code == 428
    wrong = api.patch("/api/v1/projects/shared", json={"members": ["bob", "nobody"]}, headers=mia | ANY).json()
    assert wrong["errors"][0]["pointer"] == "/members/1"
    assert api.patch("/api/v1/projects/shared", json={"members": ["mia"]}, headers=mia | ANY).json()["members"] == [
        "mia"
    ]
    assert api.get("/api/v1/projects/shared", headers=bob).status_code == 404


def test_only_an_empty_project_is_removed(api) -> None:
    api.post("/api/v1/projects", json={"name": "empty"})
    api.post("/api/v1/jobs", json=SPEC | {"project": "full"})
    assert api.delete("/api/v1/projects/full").json()["code"] == "not_empty"
    assert [api.delete("/api/v1/projects/empty").status_code for _ in range(2)] == [204, 404]


# ---- tokens


def test_a_token_makes_none_that_may_do_more_or_for_longer(api) -> None:
    short = as_user("bob", days=1, scopes=("read", "write"))
    made = api.post("/api/v1/tokens", json={"name": "same"}, headers=short).json()
    assert made["scopes"] == ["read", "write"]
    assert made["expires_at"] == api.get("/api/v1/tokens", headers=short).json()["items"][0]["expires_at"]
    for asked, pointer in (({"scopes": ["admin"]}, "/scopes"), ({"days": 2}, "/days")):
        refused = api.post("/api/v1/tokens", json={"name": "more"} | asked, headers=short)
        assert (refused.status_code, refused.json()["errors"][0]["pointer"]) == (403, pointer)
    less = api.post("/api/v1/tokens", json={"name": "less", "scopes": ["read"], "days": 0.5}, headers=short).json()
    assert api.post("/api/v1/tokens", json={"name": "x"}, headers=bearer(less["token"])).status_code == 403


def test_a_write_token_of_an_administrator_does_not_administer(api) -> None:
    writes = as_user("ada", scopes=("read", "write"))
    assert api.get("/api/v1/users", headers=writes).status_code == 403
    refused = api.post("/api/v1/users", json={"name": "bob"}, headers=writes)
    assert "you are admin, and this token has the scope read, write" in refused.json()["detail"]
    assert api.post("/api/v1/jobs", json=SPEC, headers=writes).status_code == 201
    wide = api.get("/api/v1/tokens").json()["items"][0]["id"]
    assert api.post(f"/api/v1/tokens/{wide}/rotate", json={}, headers=writes).status_code == 403


def test_a_rotated_token_has_a_new_secret_and_the_old_one_an_end(api, database: Session) -> None:
    old = api.post("/api/v1/tokens", json={"name": "laptop", "scopes": ["write"]}).json()
    new = api.post(f"/api/v1/tokens/{old['id']}/rotate", json={"overlap_hours": 2}).json()
    assert (new["name"], new["scopes"], new["expires_at"]) == ("laptop", ["read", "write"], None)
    assert [api.get("/api/v1/me", headers=bearer(one["token"])).status_code for one in (old, new)] == [200, 200]
    row = database.get_one(Token, old["id"])
    assert timedelta(hours=1.9) < row.expires_at - row.created_at < timedelta(hours=2.1)
    assert api.post(f"/api/v1/tokens/{new['id']}/rotate", json={"overlap_hours": 0}).status_code == 201
    assert [api.get("/api/v1/me", headers=bearer(one["token"])).status_code for one in (old, new)] == [200, 401]


def test_an_administrator_makes_and_ends_somebodys_token(api) -> None:
    api.post("/api/v1/users", json={"name": "bob", "role": "viewer"})
    made = api.post("/api/v1/tokens", json={"name": "first", "user": "bob"}).json()
    assert api.get("/api/v1/me", headers=bearer(made["token"])).json()["name"] == "bob"
    assert (
        api.post("/api/v1/tokens", json={"name": "x", "user": "ada"}, headers=bearer(made["token"])).status_code == 403
    )
    assert [one["id"] for one in api.get("/api/v1/tokens?user=bob").json()["items"]] == [made["id"]]
    assert api.delete(f"/api/v1/tokens/{made['id']}").status_code == 204
    assert api.get("/api/v1/me", headers=bearer(made["token"])).status_code == 401


# ---- the log


def test_the_log_says_who_did_what(api) -> None:
    api.post("/api/v1/users", json={"name": "bob"})
    api.patch("/api/v1/users/bob", json={"role": "viewer"}, headers=ANY)
    made = api.post("/api/v1/tokens", json={"name": "x"}).json()
    found = api.get("/api/v1/actions").json()["items"]
    assert [(one["actor"], one["verb"], one["kind"], one["object"]) for one in found] == [
        ("ada", "issue", "token", made["id"]),
        ("ada", "change", "user", "bob"),
        ("ada", "add", "user", "bob"),
    ]
    assert made["token"] not in api.get("/api/v1/actions").text
    some = api.get("/api/v1/actions", params={"kind": "user", "object": "bob", "limit": 1}).json()
    assert [one["about"] for one in some["items"]] == [{"role": "viewer"}]
    older = api.get("/api/v1/actions", params={"kind": "user", "cursor": some["next_cursor"]}).json()
    assert [one["verb"] for one in older["items"]] == ["add"]


def test_a_refused_change_is_not_in_the_log(api) -> None:
    api.patch("/api/v1/users/ada", json={"disabled": True}, headers=ANY)
    assert api.get("/api/v1/actions").json()["items"] == []


# ---- the command line


def test_people_are_managed_from_the_command_line(api, api_url: str, token: str, monkeypatch) -> None:
    monkeypatch.setenv("SPARRING_URL", api_url)
    monkeypatch.setenv("SPARRING_TOKEN", token)

    def ran(*words: str) -> str:
        done = CliRunner().invoke(app, list(words))
        assert done.exit_code == 0, done.output
        return done.output.strip()

    first = ran("user", "add", "bob")
    assert api.get("/api/v1/me", headers=bearer(first)).json()["name"] == "bob"
    assert ran("user", "role", "bob", "viewer") == "bob is viewer"
    assert ran("project", "add", "quiet", "--private", "--member", "bob") == "quiet: private"
    assert ran("project", "share", "quiet", "--team") == "quiet: team, members: ada, bob"
    ran("project", "rm", "quiet")
    made = ran("token", "new", "laptop", "--scope", "read")
    assert "laptop" in ran("token", "ls", "--json")
    newer = ran("token", "rotate", made.split("_")[1], "--overlap", "0")
    ran("token", "revoke", newer.split("_")[1])
    assert [api.get("/api/v1/me", headers=bearer(one)).status_code for one in (made, newer)] == [401, 401]
    assert ran("user", "disable", "bob") == "bob is disabled"
    assert ran("user", "enable", "bob") == "bob may come in"
    assert '"name": "bob"' in ran("user", "ls", "--json")
    assert CliRunner().invoke(app, ["user", "role", "ada", "viewer"]).exit_code == 4, "the last administrator"


def test_a_job_that_one_may_no_longer_see_ends_its_stream(api, database: Session) -> None:
    job = queue(database, tokens.user_named(database, "ada"), project="open")
    database.commit()
    bob = as_user("bob")
    with api.stream("GET", f"/api/v1/jobs/{job.id}/events", headers=bob | {"Accept": "text/event-stream"}) as answer:
        lines = answer.iter_lines()
        assert next(lines) == "id: 1"
        api.patch("/api/v1/projects/open", json={"visibility": "private"}, headers=ANY)
        api.post(f"/api/v1/jobs/{job.id}/cancel")
        rest = "\n".join(lines)
    assert "cancelled" not in rest


def test_what_a_job_needs_is_named_to_those_who_see_it_alone(api, database: Session) -> None:
    bob = as_user("bob")
    api.post("/api/v1/projects", json={"name": "quiet", "visibility": "private"})
    hidden = api.post("/api/v1/jobs", json=SPEC | {"project": "quiet"}).json()["jobs"][0]
    shown = api.post("/api/v1/jobs", json=SPEC).json()["jobs"][0]
    body = SPEC | {"after": [hidden["id"], shown["id"]]}
    last = api.post("/api/v1/jobs", json=body).json()["jobs"][0]
    path = f"/api/v1/jobs/{last['id']}/explain"
    assert set(api.get(path).json()["blocked_by"]) == {hidden["id"], shown["id"]}
    found = api.get(path, headers=bob).json()
    assert found["blocked_by"] == [shown["id"]]
    assert found["words"].endswith("You do not see 1 other of them.")
    assert last["message"] == "It waits for 2 jobs to succeed."


def test_shares_are_of_the_projects_that_one_sees(api, database: Session) -> None:
    bob = as_user("bob")
    worker = workers.register(database, "host", 1, [CPU])
    api.post("/api/v1/projects", json={"name": "quiet", "visibility": "private"})
    for project in ("quiet", "default"):
        job = api.post("/api/v1/jobs", json=SPEC | {"project": project}).json()["jobs"][0]
        attempt = Attempt(job_id=uuid.UUID(job["id"]), fence=1, worker_id=worker, device="cpu")
        attempt.started_at, attempt.ended_at = datetime.now(UTC) - timedelta(hours=2), datetime.now(UTC)
        database.add(attempt)
    database.commit()
    shares = {one["name"]: one["share"] for one in api.get("/api/v1/usage").json()["projects"]}
    assert shares == {"default": pytest.approx(0.5), "quiet": pytest.approx(0.5)}
    theirs = {one["name"]: one["share"] for one in api.get("/api/v1/usage", headers=bob).json()["projects"]}
    assert theirs == {"default": pytest.approx(1.0)}
