"""What the command line does without a service; these functions, and `sparring up`, import the rest of Sparring."""

import inspect
import json
import sys
from pathlib import Path
from typing import Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sparring import show
from sparring.documents import read_yaml

OK, FAILED, FORBIDDEN, INVALID = 0, 1, 3, 4


def run_here(spec: str | dict[str, Any], home: Path, data: Path, device: str, as_json: bool) -> int:
    """Run a job in this process; prints its events, and returns the exit code."""
    from core.errors import InvalidSpec, SparringError
    from core.run import Place, run
    from core.spec import parse

    try:
        job = parse(read_yaml(spec) if isinstance(spec, str) else spec)
        for seed in job.seeds():
            place = Place(home / f"{seed.name}-seed{seed.seed}", data, device)
            for event in run(seed, place):
                _print(event.model_dump(mode="json"), as_json)
    except InvalidSpec as error:
        for problem in error.problems:
            print(f"{problem} (got {problem.got!r}; expected {problem.expected})", file=sys.stderr)
        return INVALID
    except SparringError as error:
        print(error, file=sys.stderr)
        return FAILED
    return OK


def _print(event: dict[str, Any], as_json: bool) -> None:
    if as_json:
        print(json.dumps(event), flush=True)
    elif event["kind"] == "progress":
        eta = f", about {show.span(event['eta'])} left" if event["eta"] is not None else ""
        print(f"  {event['phase']}: {event['text']}{eta}", end="\r" if sys.stdout.isatty() else "\n", flush=True)
    elif event["kind"] == "exported":
        print(f"{show.sentence(event)}: {event['path']}")
    elif line := show.sentence(event):
        print(line, flush=True)


def datasets() -> dict[str, str]:
    """The datasets with the first line of their documentation."""
    from core.family import members

    found = members("core.datasets").items()
    return {name: (inspect.getdoc(member) or "").partition("\n")[0] for name, member in found}


def fetch(name: str, root: Path, mirror: str | None) -> int:
    """Download a dataset, with a bar for each file."""
    from core.errors import DatasetUnavailable

    dataset = _dataset(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=show.console) as bar:
            tasks: dict[str, Any] = {}
            for file, done, size in dataset.fetch(root, mirror):
                task = tasks.setdefault(file, None) or bar.add_task(file, total=size or None)
                tasks[file] = task
                bar.update(task, completed=done)
    except DatasetUnavailable as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{name} is in {root}")
    return OK


def check(name: str, root: Path) -> int:
    """Check the files of a dataset."""
    from core.errors import DatasetUnavailable

    try:
        dataset = _dataset(name)
        dataset.check(dataset.place(root))
    except DatasetUnavailable as error:
        print(error, file=sys.stderr)
        return FAILED
    print(f"{name} is whole")
    return OK


def _dataset(name: str) -> Any:
    from core.family import members

    found = members("core.datasets")
    if name not in found:
        print(f"There is no dataset {name}; there are {', '.join(found)}", file=sys.stderr)
        raise SystemExit(FORBIDDEN)
    return found[name].model_validate({})
