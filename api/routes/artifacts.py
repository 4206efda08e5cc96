"""Files of a job: models, logs. Always sent as attachments, with their digest."""

from typing import Annotated

from fastapi import APIRouter, Path
from fastapi.responses import FileResponse

from api.dependencies import Database, SeenJob
from api.errors import not_found
from api.schemas import ArtifactOut, Artifacts
from store import records

router = APIRouter(prefix="/jobs", tags=["artifacts"])
FileName = Annotated[str, Path(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,159}$")]


@router.get("/{name}/artifacts")
def artifacts(job: SeenJob, session: Database) -> Artifacts:
    """The files that a job has made."""
    return Artifacts(items=[ArtifactOut.of(one) for one in records.files(session, job.id)])


@router.get("/{name}/artifacts/{file}", response_class=FileResponse)
def download(job: SeenJob, file: FileName, session: Database) -> FileResponse:
    """A file, by its name. `Range` is understood; `ETag` is its SHA-256."""
    found = records.file(session, job.id, file)
    if found is None or not found[0].is_file():
        raise not_found("file", file)
    path, about = found
    headers = {"etag": f'"{about.sha256}"', "digest": f"sha-256={about.sha256}"}
    return FileResponse(path, media_type="application/octet-stream", filename=file, headers=headers)
