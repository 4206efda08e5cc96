"""Which stored network an evaluation means: its file, and the job that made it, whose dataset and threat it inherits."""

from typing import Any, cast

import torch
from sqlalchemy.orm import Session
from torch import nn

from core import stored
from core.errors import InvalidSpec, Mismatch, Problem, UnreadableModel
from core.exporters.base import Exporter
from core.family import members
from core.noise import stochastic_layers
from core.spec import AnySpec, EvaluateSpec, Network, parse_network
from store import artifacts, jobs, records, sight
from store.sight import Eyes
from store.tables import Artifact

READ = ("safetensors", "int8")
"""The exporters whose files are read back as networks."""


def completed(session: Session, eyes: Eyes, document: Any, at: str) -> Any:
    """The document of an evaluation, with what it leaves to the job whose network it is; any other as it is.

    Raises `InvalidSpec` where these eyes see no such job, or it has no such network.
    """
    if not isinstance(document, dict) or document.get("kind") != "evaluate":
        return document
    file = _file(session, eyes, parse_network(document.get("network"), f"{at}/network"), f"{at}/network")
    made_by = jobs.find(session, file.job_id)
    assert made_by, "a file has a job"
    inherited = {"dataset": made_by.spec["dataset"], "threat": made_by.spec["threat"]}
    return inherited | document | {"network": {"job": str(file.job_id), "sha256": file.sha256}}


def _file(session: Session, eyes: Eyes, network: Network, at: str) -> Artifact:
    """The file that is meant."""
    if network.job is None:
        found = [one for one in records.holding(session, eyes, network.sha256 or "") if _is_network(one)]
        if not found:
            raise _wrong(at, "sha256", "is no network that is stored here", network.sha256, "that of an exported file")
        return found[0]
    job = jobs.find(session, network.job)
    if job is None or not sight.sees(session, eyes, job.project_id):
        raise _wrong(at, "job", "does not exist", str(network.job), "the id of a job with an exported network")
    files = [one for one in records.files(session, network.job) if _is_network(one)]
    if network.sha256:
        found = [one for one in files if one.sha256 == network.sha256]
        expected = ", ".join(one.sha256 for one in files) or "a job that has exported one"
        problem = _wrong(at, "sha256", "is no network of this job", network.sha256, expected)
    else:
        found = [one for one in files if not exporter_of(one).lossy]
        lossy = ", ".join(f"{one.name} ({one.sha256})" for one in files)
        expected = f"the sha256 of one of its other files: {lossy}" if lossy else "a job that has exported one"
        problem = _wrong(at, "job", "has no file with its trained network", str(network.job), expected)
    if not found:
        raise problem
    return found[0]


def _is_network(file: Artifact) -> bool:
    return file.about.get("kind") == "export" and file.about.get("exporter") in READ


def exporter_of(file: Artifact) -> type[Exporter]:
    """Who wrote a file that holds a network."""
    return cast(type[Exporter], members("core.exporters")[file.about["exporter"]])


def sources(session: Session, eyes: Eyes, job: AnySpec, at: str) -> None:
    """Raise `InvalidSpec` where an attack is to be made against a network that is not stored, or takes other images."""
    for here, attack in job.attacks(at):
        if attack.source_sha256:
            _source(session, eyes, job, attack.source_sha256, here)


def _source(session: Session, eyes: Eyes, job: AnySpec, sha256: str, at: str) -> None:
    if not any(_is_network(one) for one in records.holding(session, eyes, sha256)):
        raise _wrong(at, "from", "is no network that is stored here", sha256, "the SHA-256 of an exported file")
    data = job.dataset
    try:
        stored.check_images(stored.shape_in(artifacts.place(sha256)), data.shape, data.num_classes, data.name)
    except (UnreadableModel, Mismatch) as error:
        raise _wrong(at, "from", "cannot be used", sha256, str(error)) from None


def _wrong(at: str, key: str, message: str, got: Any, expected: str) -> InvalidSpec:
    return InvalidSpec((Problem(f"{at}/{key}", message, got, expected),))


def shape(job: EvaluateSpec, at: str = "") -> nn.Module:
    """The network without storage, on torch's meta device; raises `InvalidSpec` where it does not take the job's images."""
    assert job.network.sha256, "a completed evaluation names its file"
    data = job.dataset
    try:
        blueprint = stored.shape_in(artifacts.place(job.network.sha256))
        stored.check_images(blueprint, data.shape, data.num_classes, data.name)
    except UnreadableModel as error:
        raise _wrong(at, "network", "cannot be read", job.network.sha256, str(error.problem)) from None
    except Mismatch as error:
        raise _wrong(at, "dataset", "does not fit the network", error.wants, error.has) from None
    with torch.device("meta"):
        net = blueprint.build()
    job.check_noise(bool(stochastic_layers(net)), at)
    return net
