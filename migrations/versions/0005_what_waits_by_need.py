"""what waits, by need: the best job of each user, project and need is one step along an index.

Revision 0005, after 0004.
"""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None
WAITS = sa.text("state = 'queued' AND blockers = 0")
PRIORITY = sa.text("priority DESC")


def upgrade() -> None:
    """Forward: the index leads through gpus and memory before priority and age."""
    op.drop_index("ix_jobs_waiting", table_name="jobs", postgresql_where=WAITS)
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["owner_id", "project_id", "gpus", "memory", PRIORITY, "created_at", "number"],
        unique=False,
        postgresql_where=WAITS,
    )


def downgrade() -> None:
    """Back."""
    op.drop_index("ix_jobs_waiting", table_name="jobs", postgresql_where=WAITS)
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["owner_id", "project_id", PRIORITY, "created_at"],
        unique=False,
        postgresql_where=WAITS,
    )
