"""Which stored network an evaluation means: its file, and the job that made it, whose dataset and threat it inherits."""

from typing import Any, cast

import torch
from sqlalchemy.orm import Session
from torch import nn

from core import stored
from core.errors import InvalidSpec, Mismatch, Problem, UnreadableModel
from core.exporters.base import Exporter
from core.family import members
from core.spec import EvaluateSpec, Network, parse_network
from store import artifacts, jobs, records
from store.tables import Artifact


def completed(session: Session, document: Any, at: str) -> Any:
    """The document of an evaluation, with what it leaves to the job whose network it is; any other as it is.

    Raises `InvalidSpec` where there is no such job, or it has no such network.
    """
    if not isinstance(document, dict) or document.get("kind") != "evaluate":
        return document
    file = _file(session, parse_network(document.get("network"), f"{at}/network"), f"{at}/network")
    made_by = jobs.find(session, file.job_id)
    assert made_by, "a file has a job"
    inherited = {"dataset": made_by.spec["dataset"], "threat": made_by.spec["threat"]}
    return inherited | document | {"network": {"job": str(file.job_id), "sha256": file.sha256}}


def _file(session: Session, network: Network, at: str) -> Artifact:
    """The file that is meant."""
    if network.job is None:
        found = [one for one in records.holding(session, network.sha256 or "") if _is_network(one)]
        if not found:
            raise _wrong(at, "sha256", "is no network that is stored here", network.sha256, "that of an exported file")
        return found[0]
    if jobs.find(session, network.job) is None:
        raise _wrong(at, "job", "does not exist", str(network.job), "the id of a job with an exported network")
    files = [one for one in records.files(session, network.job) if _is_network(one)]
    if network.sha256:
        found = [one for one in files if one.sha256 == network.sha256]
        expected = ", ".join(one.sha256 for one in files) or "a job that has exported one"
        problem = _wrong(at, "sha256", "is no network of this job", network.sha256, expected)
    else:
        found = [one for one in files if not _exporter(one).lossy]
        lossy = ", ".join(f"{one.name} ({one.sha256})" for one in files)
        expected = f"the sha256 of one of its other files: {lossy}" if lossy else "a job that has exported one"
        problem = _wrong(at, "job", "has no file with its trained network", str(network.job), expected)
    if not found:
        raise problem
    return found[0]


def _is_network(file: Artifact) -> bool:
    return file.about.get("kind") == "export" and file.about.get("exporter") in members("core.exporters")


def _exporter(file: Artifact) -> type[Exporter]:
    return cast(type[Exporter], members("core.exporters")[file.about["exporter"]])


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
        return blueprint.build()
