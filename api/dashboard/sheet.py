"""What the parts of the job page are drawn from: each reads only the rows it needs, once, so that a part can come alone."""

from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy.orm import Session

from api import evaluations
from api.dashboard import headline, jobpage, lines, listing, robustness, specfile, titles
from api.figures import absent, captions
from api.permissions import Caller, may_change
from api.routes.evaluations import of_job
from store import feed, lookup, records
from store.tables import ENDED, Artifact, Epoch, Job

PARTS = (
    "header", "phases", "heads", "spec", "group", "attacks", "strict", "audit", "layers", "weights", "log", "files",
)  # fmt: skip
LATER = ("pictures",)
"""Parts that read large files: the page asks for them when it stands."""
LOG_LINES = 500


class Sheet:
    """A job for its page. Each of PARTS is a method that gives its template's values."""

    def __init__(self, session: Session, job: Job, who: Caller, epoch: int | None = None) -> None:
        self.session, self.job, self.who, self.epoch = session, job, who, epoch
        self.now = datetime.now(UTC)

    def part(self, name: str) -> dict[str, Any]:
        """The values of one part; `oob` asks its template for what it changes elsewhere on the page."""
        values: dict[str, Any] = getattr(self, name)()
        return self.common() | values | {"oob": True}

    def all(self) -> dict[str, Any]:
        """The values of the whole page."""
        found = self.common() | {"oob": False, "series": records.series_names(self.session, self.job.id)}
        for name in PARTS:
            found |= getattr(self, name)()
        return found | self.reproduce()

    def common(self) -> dict[str, Any]:
        """What every part may name."""
        return {"job": self.job, "now": self.now, "ended": self.job.state in ENDED, "called": self.called}

    # ---- rows, each read once

    @cached_property
    def results(self) -> list[dict[str, Any]]:
        """What each attack left."""
        return records.scores(self.session, [self.job.id]).get(self.job.id, [])

    @cached_property
    def checked(self) -> list[dict[str, Any]]:
        """What the audit found."""
        return records.checks(self.session, self.job.id)

    @cached_property
    def called(self) -> object:
        """What the command line calls the job: its number, if no other project has it too."""
        return (
            self.job.number if len(lookup.numbered(self.session, self.who.eyes, self.job.number)) == 1 else self.job.id
        )

    @cached_property
    def kept(self) -> list[Artifact]:
        """The files."""
        return records.files(self.session, self.job.id)

    @cached_property
    def described(self) -> Epoch | None:
        """The epoch whose network the headline describes."""
        return records.one_epoch(self.session, self.job.id, jobpage.shown_epoch(self.job))

    # ---- the parts

    def header(self) -> dict[str, Any]:
        """State, badge, the command, the button."""
        project, owner = lookup.names(self.session, self.job)
        return {
            "project": project,
            "owner": owner,
            "about": jobpage.about(self.job),
            "verbs": jobpage.verbs(self.job) if may_change(self.who, self.job) else [],
            "checked": len(self.checked),
        }

    def phases(self) -> dict[str, Any]:
        """The strip, the times, and why the job is not running."""
        running = listing.seconds(self.job, self.job.ended_at or self.now)
        return {"phases": jobpage.phases(self.job), "running_for": running, "eta": self.job.progress.get("eta")}

    def heads(self) -> dict[str, Any]:
        """The headline numbers."""
        last, spec = self.job.last, self.job.spec
        worst = headline.strict(self.results)
        return {
            "robust": worst or headline.robust(self.results, last, spec),
            "clean": headline.clean(self.results, last, spec, "strict" if worst else "paper"),
            "sizes": jobpage.sizes(self.job, self.described),
            "overfit": jobpage.overfit(self.job),
        }

    def spec(self) -> dict[str, Any]:
        """The specification in short, and where it ran."""
        tried = lookup.attempts(self.session, self.job.id)
        return {
            "short": jobpage.short(self.job.spec),
            "attempts": tried,
            "tries": jobpage.tries(tried),
            "used": jobpage.used(tried, self.now),
        }

    def group(self) -> dict[str, Any]:
        """The seeds of the submission."""
        members = lookup.group(self.session, self.job.group_id)
        scored = records.scores(self.session, [job.id for job in members])
        return {"group": listing.Group(tuple(listing.line((job, "", ""), scored) for job in members))}

    def attacks(self) -> dict[str, Any]:
        """The attack table of the paper's protocol."""
        rows = jobpage.attacks(self.results)
        asked = len(self.job.spec["evaluate"]["paper"]["attacks"]) + 1
        return {"attacks": rows, "axis": jobpage.scale([row.accuracy for row in rows]), "asked": asked}

    def strict(self) -> dict[str, Any]:
        """The attack table of the strict protocol, and accuracy against the radius."""
        asked, threat = self.job.spec["evaluate"].get("strict"), self.job.spec["threat"]
        rows = robustness.strict(self.results, self.kept, threat)
        return {
            "strict": rows,
            "strict_axis": jobpage.scale([row.attack.accuracy for row in rows]),
            "asked_strict": asked,
            "threat": titles.threat(threat),
            "random": robustness.is_random(self.results),
            "radii": {name: robustness.drawn(evaluations.curves(self.results), name) for name in jobpage.PROTOCOLS},
        }

    def pictures(self) -> dict[str, Any]:
        """A few images that an attack broke."""
        draws = max((one["draws"] for one in self.results if one["protocol"] == "strict"), default=1)
        shown = robustness.pictures(of_job(self.session, self.job), self.job.spec["threat"], draws)
        return {"pictures": shown, "threat": titles.threat(self.job.spec["threat"])}

    def audit(self) -> dict[str, Any]:
        """The checks."""
        verdict = jobpage.verdict(self.checked, self.job.trust)
        return {
            "checks": jobpage.checks(self.checked),
            "verdict": verdict,
            "asked_audit": self.job.spec["evaluate"]["audit"],
        }

    def layers(self) -> dict[str, Any]:
        """The living channels of each layer, at the epoch asked for or the one described."""
        asked = self.epoch if self.epoch is not None else jobpage.shown_epoch(self.job)
        newest = int(self.job.last.get("epoch") or 0)
        found = records.one_epoch(self.session, self.job.id, asked)
        return {"layered": found, "newest": newest, "asked_epoch": self.epoch}

    def weights(self) -> dict[str, Any]:
        """The figures of the selected network's weights, which their addresses draw."""
        dissected = self.job.last.get("dissected")
        drawn = {one.figure: one for one in captions(dissected)} if dissected else {}
        return {"drawn": drawn, "absent": absent(self.job.last, self.job.state in ENDED)}

    def log(self) -> dict[str, Any]:
        """The newest events as lines."""
        after = max(0, self.job.last_seq - LOG_LINES)
        return {"log": lines.lines(feed.read(self.session, self.job.id, after, LOG_LINES)), "unseen": after}

    def files(self) -> dict[str, Any]:
        """The artifacts, and the accuracy of those that hold another network."""
        scored = records.exported(self.session, self.job.id)
        rows = {name: jobpage.exported(scored, self.results, name) for name in jobpage.PROTOCOLS}
        axes = {name: jobpage.scale([row.attack.accuracy for row in some]) for name, some in rows.items()}
        return {"files": self.kept, "exported": rows, "exported_axes": axes}

    def reproduce(self) -> dict[str, Any]:
        """The specification as a file."""
        machine = next((one.machine for one in reversed(lookup.attempts(self.session, self.job.id)) if one.machine), {})
        return {"yaml": specfile.as_yaml(self.job.spec), "machine": machine}
