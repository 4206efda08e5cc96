"""The database's history: `upgrade` brings any past state to the present one."""

from pathlib import Path

from alembic import command
from alembic.config import Config


def upgrade(url: str, revision: str = "head") -> None:
    """Bring the database at `url` to a revision; to the newest, unless another is named."""
    config = Config(Path(__file__).parent.parent / "alembic.ini")
    config.attributes["url"] = url
    command.upgrade(config, revision)
