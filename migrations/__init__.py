"""The database's history: `upgrade` brings any past state to the present one."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(url: str) -> None:
    """Bring the database at `url` to the newest revision."""
    config = Config(Path(__file__).parent.parent / "alembic.ini")
    config.attributes["url"] = url
    command.upgrade(config, "head")
