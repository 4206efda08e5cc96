"""Files of a job: models, logs. Files are always sent as attachments, with their digest."""

from pathlib import Path
from typing import Annotated

from fastapi import APIRouter
from fastapi import Path as InPath
from fastapi.responses import FileResponse, PlainTextResponse

from api.dependencies import Database, SeenJob
from api.errors import Refused, not_found
from api.schemas import ArtifactOut, Artifacts
from store import records
from store.settings import settings
from store.tables import Job

router = APIRouter(prefix="/jobs", tags=["artifacts"])
MOST_OF_A_LOG = 1_000_000
FileName = Annotated[str, InPath(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")]


@router.get("/{name}/artifacts")
def artifacts(job: SeenJob, session: Database) -> Artifacts:
    """The files that a job has made."""
    return Artifacts(items=[ArtifactOut.of(one) for one in records.files(session, job.id)])


@router.get("/{name}/logs", response_class=PlainTextResponse)
def logs(job: SeenJob, session: Database) -> PlainTextResponse:
    """What the process of the newest attempt has printed: the kept end of it, or of a running one if it runs on this machine."""
    path = _running(job) if job.state == "running" else records.log(session, job.id)
    if path is None or not path.is_file():
        elsewhere = f"Attempt {job.fence} runs on another machine; its log is kept when it ends."
        detail = elsewhere if job.state == "running" else f"No attempt of job {job.number} has left a log."
        raise Refused(404, "no_log", detail)
    return PlainTextResponse(path.read_bytes()[-MOST_OF_A_LOG:].decode(errors="replace"))


def _running(job: Job) -> Path:
    """Where the running attempt prints, if this is its machine."""
    return settings().work / f"{job.id}-{job.fence}" / f"attempt-{job.fence}.log"


@router.get("/{name}/artifacts/{file}", response_class=FileResponse)
def download(job: SeenJob, file: FileName, session: Database) -> FileResponse:
    """A file, by its name. `Range` is understood; `ETag` is its SHA-256."""
    found = records.file(session, job.id, file)
    if found is None or not found[0].is_file():
        raise not_found("file", file)
    path, about = found
    headers = {"etag": f'"{about.sha256}"', "digest": f"sha-256={about.sha256}"}
    return FileResponse(path, media_type="application/octet-stream", filename=file, headers=headers)
