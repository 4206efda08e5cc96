"""Datasets: what they are, what is on disk of them in the service's data folder, and fetching them there.

A fetch runs in a thread of this process and outlives the request; one that ends with the process is begun again by asking
once more, and what had arrived whole is kept.
"""

import logging
import threading
import time
from collections.abc import Generator
from pathlib import Path

from fastapi import APIRouter, Response

from api.dependencies import Database, Known, Writer
from api.errors import not_found
from api.routes.catalogues import described
from api.schemas import DatasetOut, Datasets, Printable
from core.datasets.base import Dataset
from core.errors import DatasetUnavailable
from core.family import members
from core.fetching import OnDisk, fetch, on_disk, take
from store import actions
from store.settings import settings

log = logging.getLogger(__name__)
router = APIRouter(prefix="/datasets", tags=["catalogues"])
SECONDS_BETWEEN_LOOKS = 0.05


def known() -> dict[str, Dataset]:
    """The datasets with their defaults, by name."""
    return {name: member.model_validate({"name": name}) for name, member in members("core.datasets").items()}  # type: ignore[misc]


@router.get("", summary="The datasets there are")
def datasets(who: Known) -> Datasets:
    """The datasets, with what is on disk of each."""
    root = settings().data
    return Datasets(
        items=[DatasetOut(**described(type(one)).model_dump(), on_disk=on_disk(one, root)) for one in known().values()]
    )


@router.post("/{name}/fetch", status_code=202)
def begin(name: Printable, who: Writer, session: Database, response: Response) -> OnDisk:
    """Download a dataset from its official place into the service's data folder, unless it is there, whole (200).

    Answers how it goes; look at `/datasets` for more. While a fetch runs, asking again answers how that one goes.
    """
    dataset, root = known().get(name), settings().data
    if dataset is None:
        raise not_found("dataset", name[:80])
    session.commit()  # hashing takes its time, and no transaction should be open meanwhile
    steps = _ours(dataset, root)
    if steps is None:
        return on_disk(dataset, root)
    now = next(steps)
    if now.state == "present":
        steps.close()
        response.status_code = 200
        return now
    actions.note(session, who.name, "fetch", "dataset", name)
    session.commit()
    threading.Thread(target=_to_the_end, args=(name, steps), name=f"fetch {name}", daemon=True).start()
    return now


def _ours(dataset: Dataset, root: Path) -> Generator[OnDisk] | None:
    """A fetch that nobody else does meanwhile; None where one is under way."""
    while (held := take(dataset, root)) is None:
        if on_disk(dataset, root).state == "fetching":
            return None
        time.sleep(SECONDS_BETWEEN_LOOKS)  # somebody checks the files, or looks whether the lock is free
    return fetch(dataset, root, held)


def _to_the_end(name: str, steps: Generator[OnDisk]) -> None:
    try:
        for _ in steps:
            pass
    except DatasetUnavailable as error:
        log.warning("%s", error)
    except Exception:
        log.exception("fetching %s failed", name)
