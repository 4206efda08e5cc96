"""Commands that change jobs: cancel, pause, resume, requeue, clone."""

from collections.abc import Iterable
from typing import Annotated

import typer

from sparring.client import Client, Job
from sparring.exits import AsJson, exit_codes, out

Names = Annotated[list[str], typer.Argument(help="Jobs, by number or id.")]
WILL = {"cancel": ", will be cancelled", "pause": ", will be paused"}


def cancel(names: Names, as_json: AsJson = False) -> None:
    """Cancel jobs."""
    with exit_codes(), Client() as client:
        told([client.cancel(name) for name in names], as_json)


def pause(names: Names, as_json: AsJson = False) -> None:
    """Hold jobs back; what runs saves and leaves."""
    with exit_codes(), Client() as client:
        told([client.pause(name) for name in names], as_json)


def resume(names: Names, as_json: AsJson = False) -> None:
    """Let paused jobs go on where they were."""
    with exit_codes(), Client() as client:
        told([client.resume(name) for name in names], as_json)


def requeue(
    names: Names,
    phase: Annotated[
        str | None,
        typer.Option("--from", help="Do this phase and those behind it again: train, evaluate, audit, export."),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Queue jobs that have ended or are paused: to go on where they were, or to do phases again."""
    with exit_codes(), Client() as client:
        told([client.requeue(name, phase) for name in names], as_json)


def clone(names: Names, as_json: AsJson = False) -> None:
    """Queue new jobs of the same specifications."""
    with exit_codes(), Client() as client:
        told([client.clone(name) for name in names], as_json)


def told(jobs: Iterable[Job], as_json: bool) -> None:
    """Print what the jobs are now."""
    if as_json:
        out([job.model_dump() for job in jobs])
        return
    for job in jobs:
        print(f"#{job.number}: {job.state}{WILL.get(job.wish, '')}")
