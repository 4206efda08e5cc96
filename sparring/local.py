"""What the command line does without a service; these functions, and `sparring up`, import the rest of Sparring."""

import inspect
import json
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from sparring import show
from sparring.documents import read_yaml

if TYPE_CHECKING:
    from core.events import Event
    from core.examine import Report

OK, FAILED, FORBIDDEN, INVALID = 0, 1, 3, 4
DATA = Path(".sparring") / "data"
"""Where `sparring up` looks for datasets."""
Told = Callable[["Event"], None]


def run_here(spec: str | dict[str, Any], home: Path, data: Path, device: str, as_json: bool) -> int:
    """Run a job in this process; prints its events, and returns the exit code."""
    from core.errors import InvalidSpec, SparringError
    from core.run import Place, run
    from core.spec import parse

    try:
        job = parse(read_yaml(spec) if isinstance(spec, str) else spec)
        for seed in job.seeds():
            place = Place(home / f"{seed.name}-seed{seed.seed}", data, device, lambda digest: _model(home, digest))
            for event in run(seed, place):
                _print(event.model_dump(mode="json"), as_json)
                _forget(place.work / "checkpoints")
    except InvalidSpec as error:
        return _invalid(error)
    except SparringError as error:
        print(error, file=sys.stderr)
        return FAILED
    return OK


def _forget(checkpoints: Path) -> None:
    """Keep the newest two: the one to go on from, and the one before in case it is damaged."""
    for path in sorted(checkpoints.glob("*.safetensors"), key=lambda path: path.stat().st_mtime_ns)[:-2]:
        path.unlink()


def _model(home: Path, digest: str) -> Path:
    """A network that an earlier run has left below `home`, by the SHA-256 of its file."""
    from core.errors import UnreadableModel
    from core.files import sha256

    found = (path for path in home.rglob("*.safetensors") if sha256(path) == digest)
    if path := next(found, None):
        return path
    raise UnreadableModel(digest, f"no run below {home} has left a file with this SHA-256")


def verify(archive: Path, model: Path, draws: int | None, as_json: bool) -> int:
    """Score an archive again; prints what was checked, and returns the exit code."""
    from core import stored
    from core.errors import Mismatch, UnreadableArchive, UnreadableModel
    from core.verify import verify as score
    from core.witness import Archive

    if missing := [path for path in (archive, model) if not path.is_file()]:
        print(f"There is no file {missing[0]}", file=sys.stderr)
        return FORBIDDEN
    try:
        images, shape = Archive(archive), stored.shape_in(model)
        _, *size = images.x.shape
        classes = max(shape.num_classes, int(images.y.max()) + 1)
        stored.check_images(shape, (size[0], size[1], size[2]), classes, str(archive))
        found = score(images, stored.read(model), draws)
    except (UnreadableArchive, UnreadableModel, Mismatch) as error:
        print(error, file=sys.stderr)
        return INVALID
    print(json.dumps(found._asdict(), indent=2)) if as_json else _verified(images.about, found)
    return FAILED if found.problems else OK


def _verified(about: Any, found: Any) -> None:
    print(f"{about.label} on {about.dataset}, {about.threat.norm} ball of {about.threat.eps}, network {about.network}")
    print(f"{found.images} images, {found.moved} of them moved, the farthest by {found.farthest:.6g}")
    within = f"; {100 * found.allowed:.2f} points apart is within its noise, or its ties" if found.allowed else ""
    print(f"stated {100 * found.stated:.2f} %, found {100 * found.found:.2f} % right{within}")
    for problem in found.problems:
        print(f"does not agree: {problem}")
    if not found.problems:
        print("agrees: ball, box and accuracy")


def _invalid(error: Any) -> int:
    for problem in error.problems:
        print(f"{problem} (got {problem.got!r}; expected {problem.expected})", file=sys.stderr)
    return INVALID


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


def evaluate(
    network: Any,
    *,
    data: str | dict[str, Any],
    eps: Any = "8/255",
    norm: str = "linf",
    attacks: list[Any] | None = None,
    images: int = 1000,
    audit: str = "quick",
    model: Any = None,
    root: str | Path = DATA,
    seed: int = 1,
    batch_size: int = 128,
    device: str = "cpu",
    keep: str | Path | None = None,
    told: "Told | None" = None,
) -> "Report":
    """Judge a network on the first `images` test images of a dataset, under the protocol `strict`.

    `network`: an nn.Module; a function of pixels (B, C, H, W) in [0, 1] that returns logits (B, classes); a function without
    arguments that returns either; or a name: "mymodel.py:net", "net.safetensors" (with `model` where the file does not say
    what it holds), "net.onnx". `eps`: radius in pixels of [0, 1], such as "8/255". `attacks`: members of core.attacks, by
    name or with settings. `audit`: "off", "quick" or "full". `root`: the data folder. `keep`: a folder for the adversarial
    images, which `core.verify` scores again. `told` sees each event as it comes.

    Returns a `core.examine.Report`: `clean`, `robust`, `scores` by attack, `checks`, `verdict`, `words`. Raises the errors of
    `core.errors`: `NetworkMissing`, `NetworkUnfit`, `NoGradients`, `InvalidSpec`, `DatasetUnavailable`.
    """

    from core.device import is_there
    from core.errors import InvalidSpec, Problem
    from core.examine import USUAL_ATTACKS, Report, examine, opened, without_gradients
    from core.spec import parse_examination

    strict = {"images": images, "attacks": USUAL_ATTACKS if attacks is None else attacks}
    judged = {"batch_size": batch_size, "images": images, "audit": audit, "strict": strict}
    spec = parse_examination({"dataset": data, "threat": {"norm": norm, "eps": eps}, "evaluate": judged, "seed": seed})
    if not is_there(device):
        raise InvalidSpec((Problem("/device", "is not there", device, "cpu"),))
    splits = spec.dataset.load(Path(root)).to(device)
    admitted = opened(network, spec, splits.test, model)
    if admitted.black_box and attacks is None:
        spec = without_gradients(spec)
    events = []
    with TemporaryDirectory() as passing:
        for event in examine(spec, admitted, splits, Path(keep or passing)):
            events.append(event)
            if told:
                told(event)
    return Report.of(spec, admitted, events)


def audit_here(network: str, as_json: bool, **asked: Any) -> int:
    """`evaluate`, printed: line by line as it comes, or the whole report as JSON. Returns the exit code."""
    from core.errors import DatasetUnavailable, InvalidSpec, NetworkMissing, SparringError

    try:
        report = evaluate(network, told=None if as_json else _tell, **asked)
    except InvalidSpec as error:
        return _invalid(error)
    except SparringError as error:
        print(error, file=sys.stderr)
        return FORBIDDEN if isinstance(error, NetworkMissing | DatasetUnavailable) else INVALID
    print(report.model_dump_json(indent=2) if as_json else f"verdict: {report.verdict}. {report.words}")
    return OK if report.badge else FAILED


def _tell(event: "Event") -> None:
    """One line an event; progress only where a line can be written over."""
    if event.kind != "progress" or sys.stdout.isatty():
        _print(event.model_dump(mode="json"), as_json=False)


def datasets() -> dict[str, str]:
    """The datasets with the first line of their documentation."""
    from core.family import members

    found = members("core.datasets").items()
    return {name: (inspect.getdoc(member) or "").partition("\n")[0] for name, member in found}


def fetch(name: str, root: Path, mirror: str | None) -> int:
    """Download a dataset, with a bar for each file; behind another fetch of it into the same folder."""
    from core import fetching
    from core.errors import DatasetUnavailable

    dataset = _dataset(name)
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    try:
        with Progress(*columns, console=show.console) as bar:
            tasks: dict[str, Any] = {}
            for now in fetching.fetch(dataset, root, fetching.wait_for(dataset, root), mirror):
                if now.file and now.file not in tasks:
                    tasks[now.file] = bar.add_task(now.file, total=now.total)
                if now.file:
                    bar.update(tasks[now.file], completed=now.bytes)
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
