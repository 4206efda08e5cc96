"""P21: every route and page, asked for by everybody about everything: who is told what stands in one table.

A route that has no entry fails. What a caller may not see is answered as what is not there, and nowhere named.
"""

import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI
from sqlalchemy.orm import Session

from api.app import site
from api.dashboard import views
from core.spec import parse
from made import ALL, CPU, queue
from store import feed, jobs, projects, tokens, users, webhooks, workers
from store.people import User
from store.tables import Job

ACTORS = ("anonymous", "viewer", "member", "maintainer", "admin", "disabled", "reader")
"""`reader` is an administrator with a token that may only look."""
Rule = dict[str, str]
RELATIONS = ("own", "team", "joined", "hidden")
"""One's own, somebody else's in a project of the team, in a private one with oneself as a member, in another private one."""


def all_of(line: str) -> Rule:
    return dict.fromkeys(RELATIONS, line)


#                  anonymous viewer member maintainer admin disabled reader
OPEN = all_of("    ok        ok     ok     ok         ok    ok       ok ")
"""Without a token. One that is not valid is not even looked at."""
KNOWN = all_of("   401       ok     ok     ok         ok    401      ok ")
SUBMITS = all_of(" 401       403    ok     ok         ok    401      403")
MANAGES = all_of(" 401       403    403    403        ok    401      403")
READS = all_of("   401       403    403    403        ok    401      403")
HOLDS = {
    "own": "       401       ok     ok     ok         ok    401      403",
    "team": "      401       404    404    404        ok    401      403",
    "joined": "    401       404    404    404        ok    401      403",
    "hidden": "    401       404    404    404        ok    401      403",
}
SEES = {
    "own": "       401       ok     ok     ok         ok    401      ok ",
    "team": "      401       ok     ok     ok         ok    401      ok ",
    "joined": "    401       ok     ok     ok         ok    401      ok ",
    "hidden": "    401       404    404    404        ok    401      ok ",
}
CHANGES = {
    "own": "       401       403    ok     ok         ok    401      403",
    "team": "      401       403    403    ok         ok    401      403",
    "joined": "    401       403    403    ok         ok    401      403",
    "hidden": "    401       404    404    404        ok    401      403",
}
SHARES = {
    "own": "       401       403    403    ok         ok    401      403",
    "team": "      401       403    403    ok         ok    401      403",
    "joined": "    401       403    403    ok         ok    401      403",
    "hidden": "    401       404    404    404        ok    401      403",
}
ENTERS = {
    "own": "       401       403    ok     ok         ok    401      403",
    "team": "      401       403    ok     ok         ok    401      403",
    "joined": "    401       403    ok     ok         ok    401      403",
    "hidden": "    401       403    404    404        ok    401      403",
}
COPIES = {
    "own": "       401       403    ok     ok         ok    401      403",
    "team": "      401       403    ok     ok         ok    401      403",
    "joined": "    401       403    ok     ok         ok    401      403",
    "hidden": "    401       404    404    404        ok    401      403",
}
TELLS = {
    "own": "       401       403    403    ok         ok    401      403",
    "team": "      401       403    403    ok         ok    401      403",
    "joined": "    401       403    403    ok         ok    401      403",
    "hidden": "    401       403    403    404        ok    401      403",
}
MAINTAINS = all_of("401      403    403    ok         ok    401      403")
MATCH = {"headers": {"If-Match": "*"}}
SPEC = {"dataset": "fashion_mnist_sample", "model": "lenet5", "project": "{project}"}
ROW = {"rows": ["1"]}
FORM = {"x": "1"}


@dataclass(frozen=True)
class Entry:
    """A rule, what `ok` is, what is sent. Names in braces are filled in: job, project, token, user, webhook, delivery, new."""

    rule: Rule
    ok: int = 200
    sent: dict[str, Any] = field(default_factory=dict)
    named: str = "{job}"
    """What stands for {name} in the path."""
    login: bool = True
    """Whether a page sends a person to the log-in, where the API says 401."""

    @property
    def relations(self) -> tuple[str, ...]:
        """Those that are worth asking for: the last alone where none makes a difference."""
        return RELATIONS if len(set(self.rule.values())) > 1 else RELATIONS[-1:]


TABLE: dict[str, Entry] = {
    "GET /api/v1/healthz": Entry(OPEN),
    "GET /api/v1/readyz": Entry(OPEN),
    "GET /api/v1/version": Entry(OPEN),
    "GET /api/v1/me": Entry(KNOWN),
    "GET /api/v1/schema": Entry(KNOWN),
    "GET /api/v1/workers": Entry(KNOWN),
    "GET /api/v1/jobs": Entry(KNOWN),
    "POST /api/v1/jobs": Entry(ENTERS, 201, {"json": SPEC}),
    "GET /api/v1/jobs/{name}": Entry(SEES),
    "GET /api/v1/jobs/{name}/spec": Entry(SEES),
    "PATCH /api/v1/jobs/{name}": Entry(CHANGES, 200, MATCH | {"json": {"name": "{new}"}}),
    "DELETE /api/v1/jobs/{name}": Entry(CHANGES, 204),
    "POST /api/v1/jobs/{name}/cancel": Entry(CHANGES),
    "POST /api/v1/jobs/{name}/pause": Entry(CHANGES),
    "POST /api/v1/jobs/{name}/resume": Entry(CHANGES, 409),
    "POST /api/v1/jobs/{name}/requeue": Entry(CHANGES, 409, {"json": {}}),
    "POST /api/v1/jobs/{name}/clone": Entry(COPIES, 201, {"json": {}}),
    "POST /api/v1/jobs/batch": Entry(ENTERS, 201, {"json": {"jobs": [SPEC]}}),
    "GET /api/v1/jobs/{name}/logs": Entry(SEES, 404),
    "GET /api/v1/jobs/{name}/explain": Entry(SEES),
    "GET /api/v1/events": Entry(KNOWN),
    "GET /api/v1/metrics": Entry(KNOWN),
    "GET /api/v1/usage": Entry(KNOWN),
    "GET /api/v1/queues": Entry(KNOWN),
    "GET /api/v1/queues/{name}": Entry(KNOWN, named="default"),
    "PATCH /api/v1/queues/{name}": Entry(MAINTAINS, 200, MATCH | {"json": {"state": "open"}}, named="default"),
    "POST /api/v1/queues/{name}/pause": Entry(MAINTAINS, named="default"),
    "POST /api/v1/queues/{name}/resume": Entry(MAINTAINS, named="default"),
    "POST /api/v1/queues/{name}/drain": Entry(MAINTAINS, named="default"),
    "POST /api/v1/workers/{worker_id}/drain": Entry(MAINTAINS, 204),
    "POST /api/v1/workers/{worker_id}/undrain": Entry(MAINTAINS, 204),
    "GET /api/v1/quotas": Entry(KNOWN),
    "GET /api/v1/quotas/{kind}/{name}": Entry(SEES, 404, named="{project}"),
    "PUT /api/v1/quotas/{kind}/{name}": Entry(MANAGES, 200, {"json": {"weight": 2}}, named="{project}"),
    "PATCH /api/v1/quotas/{kind}/{name}": Entry(MANAGES, 404, MATCH | {"json": {}}, named="{project}"),
    "DELETE /api/v1/quotas/{kind}/{name}": Entry(MANAGES, 404, named="{project}"),
    "GET /api/v1/jobs/{name}/attempts": Entry(SEES),
    "GET /api/v1/jobs/{name}/metrics": Entry(SEES),
    "GET /api/v1/jobs/{name}/events": Entry(SEES),
    "GET /api/v1/jobs/{name}/artifacts": Entry(SEES),
    "GET /api/v1/jobs/{name}/artifacts/{file}": Entry(SEES, 404),
    "GET /api/v1/jobs/{name}/figures": Entry(SEES),
    "GET /api/v1/jobs/{name}/figures/{figure}.{form}": Entry(SEES, 404),
    "GET /api/v1/figures/sparsity.{form}": Entry(SEES, 422, {"params": {"jobs": "{job}"}}),
    "POST /api/v1/evaluations": Entry(SUBMITS, 422, {"json": {"network": {"job": "{job}"}}}),
    "GET /api/v1/evaluations/{name}": Entry(SEES),
    "GET /api/v1/evaluations/{name}/samples": Entry(SEES),
    "GET /api/v1/evaluations/{name}/samples/{number}.png": Entry(SEES, 404),
    "GET /api/v1/evaluations/{name}/outcomes": Entry(SEES),
    "GET /api/v1/evaluations/{name}/audit": Entry(SEES),
    "GET /api/v1/evaluations/{name}/curve": Entry(SEES),
    **{
        f"GET /api/v1/{path}": Entry(KNOWN)
        for path in ("datasets", "models/architectures", "objectives", "sparsifiers", "attacks", "exporters", "presets")
    },
    "POST /api/v1/datasets/{name}/fetch": Entry(SUBMITS, named="fashion_mnist_sample"),
    "GET /api/v1/presets/{name}": Entry(KNOWN, named="demo"),
    "POST /api/v1/presets/{name}/run": Entry(SUBMITS, 201, {"json": ROW}, named="thesis-4.1"),
    "GET /api/v1/presets/{name}/scorecard": Entry(KNOWN, named="thesis-4.1"),
    "GET /api/v1/presets/{name}/scorecard.csv": Entry(KNOWN, named="thesis-4.1"),
    "POST /api/v1/results/compare": Entry(SEES, 422, {"json": {"methods": [{"jobs": ["{job}"]}, {"jobs": ["{job}"]}]}}),
    "GET /api/v1/projects": Entry(KNOWN),
    "POST /api/v1/projects": Entry(SUBMITS, 201, {"json": {"name": "{new}"}}),
    "GET /api/v1/projects/{name}": Entry(SEES, named="{project}"),
    "PATCH /api/v1/projects/{name}": Entry(SHARES, 200, MATCH | {"json": {}}, named="{project}"),
    "DELETE /api/v1/projects/{name}": Entry(SHARES, 409, named="{project}"),
    "GET /api/v1/users": Entry(READS),
    "POST /api/v1/users": Entry(MANAGES, 201, {"json": {"name": "{new}"}}),
    "GET /api/v1/users/{name}": Entry(READS, named="{user}"),
    "PATCH /api/v1/users/{name}": Entry(MANAGES, 200, MATCH | {"json": {}}, named="{user}"),
    "GET /api/v1/tokens": Entry(KNOWN),
    "POST /api/v1/tokens": Entry(all_of("401 ok ok ok ok 401 403"), 201, {"json": {"name": "another"}}),
    "POST /api/v1/tokens/{token_id}/rotate": Entry(
        HOLDS | dict.fromkeys(("team", "joined", "hidden"), "401 404 404 404 404 401 403"), 201, {"json": {}}
    ),
    "DELETE /api/v1/tokens/{token_id}": Entry(HOLDS, 204),
    "GET /api/v1/webhooks": Entry(MAINTAINS),
    "POST /api/v1/webhooks": Entry(TELLS, 201, {"json": {"url": "https://example.org", "project": "{project}"}}),
    "GET /api/v1/webhooks/{webhook_id}": Entry(TELLS),
    "PATCH /api/v1/webhooks/{webhook_id}": Entry(TELLS, 200, MATCH | {"json": {}}),
    "DELETE /api/v1/webhooks/{webhook_id}": Entry(TELLS, 204),
    "POST /api/v1/webhooks/{webhook_id}/test": Entry(TELLS, 201),
    "GET /api/v1/webhooks/{webhook_id}/deliveries": Entry(TELLS),
    "POST /api/v1/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": Entry(TELLS, 409),
    "GET /api/v1/actions": Entry(READS),
    # ---- pages
    "GET /": Entry(OPEN, 303),
    "GET /login": Entry(all_of("ok 303 303 303 303 401 303")),
    "POST /login": Entry(OPEN, 403, {"data": {"token": "x"}}),
    "POST /logout": Entry(KNOWN, 303, {"data": FORM}),
    "GET /jobs": Entry(KNOWN, 200, {"params": {"q": "net"}}),
    "GET /jobs/rows": Entry(KNOWN, 200, {"params": {"ids": "{job}", "newest": "x"}}),
    "GET /slots": Entry(KNOWN),
    "GET /api": Entry(KNOWN),
    "GET /jobs/{name}": Entry(SEES),
    "GET /jobs/{name}/parts/{part}": Entry(SEES),
    "GET /jobs/{name}/curves": Entry(SEES),
    "GET /jobs/{name}/spec.yaml": Entry(SEES),
    "POST /jobs/{name}/{verb}": Entry(CHANGES, 303, {"data": FORM}),
    "GET /presets": Entry(KNOWN),
    "GET /presets/{name}": Entry(KNOWN, named="thesis-4.1"),
    "POST /presets/{name}/run": Entry(SUBMITS, 303, {"data": FORM}, named="thesis-4.1"),
    "GET /new": Entry(KNOWN),
    "POST /new": Entry(
        ENTERS, 303, {"data": {"yaml": "{{dataset: fashion_mnist_sample, model: lenet5, project: {project}}}"}}
    ),
    "POST /new/check": Entry(KNOWN, 200, {"json": {"yaml": "project: {project}"}}, login=False),
}
FILLED = {
    "kind": "project",
    "verb": "cancel",
    "file": "x",
    "figure": "weights",
    "form": "svg",
    "number": "0",
    "part": "header",
}


def routes() -> list[str]:
    """Every route of the OpenAPI document, and every page."""
    pages = FastAPI()
    pages.include_router(views.router)
    paths = site.openapi()["paths"] | pages.openapi()["paths"]
    return [f"{method.upper()} {path}" for path, methods in paths.items() for method in methods]


def test_p21_every_route_and_page_has_an_entry_and_no_entry_is_of_nothing() -> None:
    assert sorted(routes()) == sorted(TABLE)
    assert len(TABLE) > 50


class World:
    """People, projects, and for each request new jobs: nothing that one request does changes what another finds."""

    def __init__(self, session: Session, url: str) -> None:
        self.session, self.http = session, httpx.Client(base_url=url, timeout=30)
        self.hidden = f"hidden-{uuid.uuid4().hex[:8]}"
        roles = {"viewer": "viewer", "member": "member", "maintainer": "maintainer", "admin": "admin"}
        roles |= {"disabled": "admin", "olga": "member"}
        self.ids = {name: tokens.user_named(session, name, role) for name, role in roles.items()}
        self.ids |= {"reader": self.ids["admin"], "anonymous": self.ids["admin"]}
        self.tokens = {name: tokens.issue(session, self.ids[name], "tests") for name in roles}
        self.tokens["reader"] = tokens.issue(session, self.ids["admin"], "looks", scopes=("read",))
        projects.add(session, "open", "team", ())
        projects.add(session, "joined", "private", self.ids.values())
        projects.add(session, self.hidden, "private", (self.ids["olga"],))
        session.flush()
        users.change(session, session.get_one(User, self.ids["disabled"]), "admin", disabled=True)
        self.worker = workers.register(session, "host", 1, [CPU])
        session.commit()

    def job(self, actor: str, relation: str) -> Job:
        owner = self.ids[actor if relation == "own" else "olga"]
        project = {"joined": "joined", "hidden": self.hidden}.get(relation, "open")
        job = queue(self.session, owner, **DETAILS | {"project": project, "name": f"net-of-{project}"})
        self.session.commit()
        return job

    def names(self, actor: str, relation: str) -> dict[str, str]:
        """What is put into braces."""
        owner = self.ids[actor if relation == "own" else "olga"]
        secret = tokens.issue(self.session, owner, "spare")
        job = self.job(actor, relation)
        project = {"joined": "joined", "hidden": self.hidden}.get(relation, "open")
        row = projects.named(self.session, ALL, project)
        webhook = webhooks.add(self.session, owner, row, "https://example.org", ["job.failed"])
        delivery = webhooks.test(self.session, webhook)
        self.session.commit()
        new = f"new-{uuid.uuid4().hex[:12]}"
        found = {"job": job.id, "project": project, "token": secret.split("_")[1], "user": "olga", "new": new}
        found |= {"webhook": webhook.id, "delivery": delivery.id}
        return {name: str(value) for name, value in found.items()}

    def ask(self, line: str, entry: Entry, actor: str, names: dict[str, str], **headers: str) -> httpx.Response:
        method, path = line.split()
        filled = FILLED | {"name": entry.named.format(**names), "token_id": names["token"], "worker_id": self.worker}
        filled |= {f"{kind}_id": names[kind] for kind in ("webhook", "delivery") if kind in names}
        sent = filled_in(entry.sent, names)
        headers = {"accept": "*/*"} | sent.pop("headers", {}) | headers
        if actor != "anonymous":
            headers["authorization"] = f"Bearer {self.tokens[actor]}"
        return self.http.request(method, path.format(**filled), headers=headers, **sent)

    def sees(self, actor: str, relation: str) -> bool:
        return relation != "hidden" or actor in ("admin", "reader")


DETAILS = parse({"dataset": "fashion_mnist_sample", "model": "lenet5", "resources": {"gpus": 0}}).json_dict()


def filled_in(value: Any, names: dict[str, str]) -> Any:
    if isinstance(value, dict):
        return {key: filled_in(inner, names) for key, inner in value.items()}
    if isinstance(value, list):
        return [filled_in(inner, names) for inner in value]
    return value.format(**names) if isinstance(value, str) else value


@pytest.fixture
def world(api_url: str, database: Session) -> Iterator[World]:
    found = World(database, api_url)
    yield found
    found.http.close()


def expected(entry: Entry, actor: str, relation: str) -> str:
    return entry.rule[relation].split()[ACTORS.index(actor)]


@pytest.mark.parametrize("line", routes())
def test_p21_everybody_is_told_what_the_table_says_and_nothing_of_what_is_hidden(world: World, line: str) -> None:
    entry, told, right = TABLE[line], {}, {}
    hidden = world.job("olga", "hidden")
    page = entry.login and not line.split()[1].startswith("/api/v1")
    for relation in entry.relations:
        for actor in ACTORS:
            names = world.names(actor, relation)
            answer = world.ask(line, entry, actor, names)
            wanted = expected(entry, actor, relation)
            if wanted == "401" and actor == "anonymous" and page:
                assert answer.headers["location"].startswith("/login")
                wanted = "303"
            told[relation, actor] = str(answer.status_code)
            right[relation, actor] = str(entry.ok) if wanted == "ok" else wanted
            no_such_thing = any(f"There is no {what}" in answer.text for what in ("job", "project", "token", "webhook"))
            assert no_such_thing == (wanted == "404"), (relation, actor, answer.text[:300])
            if not world.sees(actor, "hidden"):
                asked = names["project"] if relation == "hidden" else ""
                for secret in {str(hidden.id), f"net-of-{world.hidden}", world.hidden} - {asked}:
                    assert secret not in answer.text, (relation, actor, "tells of what is hidden")
    assert told == right


@pytest.mark.parametrize("actor", ACTORS)
def test_p21_the_stream_of_events_is_for_who_sees_the_job(world: World, actor: str) -> None:
    line = "GET /api/v1/jobs/{name}/events"
    for relation in RELATIONS:
        job = world.job(actor, relation)
        jobs.cancel(world.session, job.id)
        world.session.commit()
        feed.announce(job.id)
        names = {"job": str(job.id), "token": "x"}
        answer = world.ask(line, TABLE[line], actor, names, accept="text/event-stream")
        wanted = expected(TABLE[line], actor, relation)
        assert str(answer.status_code) == ("200" if wanted == "ok" else wanted)
        assert ("event: state_changed" in answer.text) == (wanted == "ok")


def test_p21_what_is_hidden_is_answered_to_the_letter_like_what_is_not_there(world: World) -> None:
    hidden, nothing = str(world.job("olga", "hidden").id), str(uuid.uuid4())
    for line, entry in TABLE.items():
        if "{name}" not in line or entry.named != "{job}" or "/api/v1" not in line:
            continue
        texts = []
        for asked in (hidden, nothing):
            answer = world.ask(line, entry, "member", {"job": asked, "token": "x", "new": "x", "project": "open"})
            body = answer.json() | {"request_id": "", "instance": ""}
            texts.append((answer.status_code, str(body).replace(asked, "ID")))
        assert texts[0] == texts[1], line
