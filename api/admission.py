"""From a document to a job that can be queued here: valid, with what it leaves out filled in, and waiting for nothing unknown."""

import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, TypeVar

from sqlalchemy.orm import Session

from api import networks
from api.dependencies import job_for
from api.errors import Refused
from api.permissions import Caller
from core import spec
from core.errors import InvalidSpec, Problem
from store import workers

AnyJob = TypeVar("AnyJob", bound=spec.Spec)


class Admission:
    """Reads the documents of one request; what several ask for is looked up once."""

    def __init__(self, session: Session, who: Caller) -> None:
        self.session, self.who = session, who
        self.seen: dict[uuid.UUID, bool] = {}

    def job(self, document: Any, at: str = "") -> spec.AnySpec:
        """The resolved job that a document asks for, here; `InvalidSpec` says everything that is wrong with it."""
        job = self.with_gpus(spec.parse(networks.completed(self.session, self.who.eyes, document, at), at))
        networks.sources(self.session, self.who.eyes, job, at)
        if isinstance(job, spec.EvaluateSpec):
            networks.shape(job, at)
        if found := tuple(self._out_of_order(job, at)):
            raise InvalidSpec(found)
        return job

    def with_gpus(self, job: AnyJob) -> AnyJob:
        """Write the number of GPUs out: one where the team has any."""
        if job.resources.gpus is not None:
            return job
        resources = job.resources.model_copy(update={"gpus": self._gpus})
        return job.model_copy(update={"resources": resources})

    @cached_property
    def _gpus(self) -> int:
        return int(workers.have_gpu(self.session))

    def _out_of_order(self, job: spec.Spec, at: str) -> Iterator[Problem]:
        """What is wrong with when it is to run."""
        for number, on in enumerate(job.after):
            if not self._sees(on):
                yield Problem(f"{at}/after/{number}", "is no job here", str(on), "the id of a job that you can see")
        deadline = job.resources.deadline
        if deadline and deadline <= datetime.now(UTC):
            yield Problem(f"{at}/resources/deadline", "has passed", deadline.isoformat(), "a time to come")

    def _sees(self, job_id: uuid.UUID) -> bool:
        if job_id not in self.seen:
            try:
                self.seen[job_id] = bool(job_for(self.session, self.who, str(job_id), "see"))
            except Refused:
                self.seen[job_id] = False
        return self.seen[job_id]
