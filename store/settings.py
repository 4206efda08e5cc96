"""Where Sparring runs: environment variables, each documented here, all checked at start."""

from functools import cache
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

Seconds = Annotated[float, Field(gt=0, le=86_400)]
Days = Annotated[float, Field(gt=0, le=36_500)]


SECRETS = Path("/run/secrets")


def _listed(value: Any) -> Any:
    """What stands between the commas."""
    return [part.strip() for part in value.split(",") if part.strip()] if isinstance(value, str) else value


class StoreSettings(BaseSettings):
    """Read from variables that start with SPARRING_, or from files of the same names in /run/secrets."""

    model_config = SettingsConfigDict(
        env_prefix="SPARRING_",
        secrets_dir=SECRETS if SECRETS.is_dir() else None,
        use_attribute_docstrings=True,
        frozen=True,
        extra="ignore",
        hide_input_in_errors=True,  # which may be an address with its password
    )

    database_url: Annotated[str, Field(pattern=r"^postgresql\+psycopg://", repr=False)]
    """Postgres, as postgresql+psycopg://user:password@host/database."""
    broker_url: Annotated[str, Field(pattern=r"^(redis|rediss|redis\+socket)://", repr=False)]
    """Redis or Valkey, as redis://host:6379/0 or redis+socket:///path: bells and doorbells only, nothing is kept there."""
    files: Path
    """Folder of checkpoints, models and other artifacts, shared by all machines."""
    data: Path
    """Folder of the datasets."""
    work: Path
    """Folder for running attempts, local to a machine."""
    lease_seconds: Seconds = 30
    """A worker that is silent for so long has lost its jobs."""
    heartbeat_seconds: Seconds = 2
    """Time between two signs of life; also how soon a wish (cancel) is seen."""
    grace_seconds: Seconds = 20
    """Time that an attempt has to save and leave before it is killed."""
    reaper_seconds: Seconds = 1
    """Time between two looks for lost leases, unheard bells and deliveries that are due."""
    silence_seconds: Seconds = 600
    """A supervisor that cannot reach the database for so long stops its attempt."""
    hung_seconds: Seconds = 600
    """An attempt whose run says nothing for so long hangs, and is killed."""
    cpu_slots: Annotated[int, Field(ge=0, le=1024)] = 1
    """Jobs without a GPU that a worker runs at once."""
    gpu_slots: Annotated[int, Field(ge=1, le=64)] = 1
    """Jobs that share a GPU; each may use that part of its memory."""
    max_attempts: Annotated[int, Field(ge=1, le=100)] = 3
    """Attempts of a job that may die or fail before the job has failed."""
    max_losses: Annotated[int, Field(ge=1, le=1000)] = 10
    """Workers that a job may lose before the job has failed."""
    body_limit: Annotated[int, Field(ge=1024, le=2**30)] = 1_000_000
    """Largest request body, in bytes."""
    receive_seconds: Seconds = 20
    """A request that has not arrived whole after so long is given up, and its connection closed."""
    requests_per_minute: Annotated[int, Field(ge=1, le=10**9)] = 6000
    """Requests of a user that each api process answers in a minute; more get 429. A minute's worth may come at once."""
    failures_per_minute: Annotated[int, Field(ge=1, le=10**9)] = 30
    """Failed log-ins of an address that each api process looks at in a minute; more get 429."""
    log_format: Literal["text", "json"] = "text"
    """Lines for people, or one JSON object an event."""
    checkpoint_days: Days = 30
    """Checkpoints of jobs that ended longer ago are removed by `python -m store.retention`."""
    dead_days: Days = 90
    """So long after their end expired and revoked tokens are removed, and after their last sign of life unused workers."""
    orphan_days: Days = 1
    """Files that no row names, and folders of attempts that do not run, are removed when they are older."""
    webhooks: bool = False
    """Whether the api sends webhooks, over https, to addresses that maintainers register."""
    webhook_networks: Annotated[tuple[IPv4Network | IPv6Network, ...], NoDecode, BeforeValidator(_listed)] = ()
    """Networks inside which webhooks may go all the same, as 10.1.0.0/16,fd00::/8; to no other private or reserved address."""
    delivery_days: Days = 30
    """Deliveries of webhooks are removed when they are older."""
    url: str = "http://127.0.0.1:8000"
    """The address that people open; whether cookies are Secure follows from it."""

    @model_validator(mode="after")
    def _the_heart_beats_within_a_lease(self) -> Self:
        if self.heartbeat_seconds >= self.lease_seconds:
            raise ValueError("heartbeat_seconds must be shorter than lease_seconds, or every running job is lost")
        return self


@cache
def settings() -> StoreSettings:
    """The settings of this process."""
    return StoreSettings()
