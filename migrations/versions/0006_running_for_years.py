"""running for years: a place of each event among those of all jobs, writes of attempts that were refused.

Revision 0006, after 0005.
"""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

PLACE = """
WITH placed AS MATERIALIZED (
    SELECT job_id, seq, nextval('events_position') AS position FROM (
        SELECT job_id, seq FROM (
            SELECT job_id, seq, max(created_at) OVER (PARTITION BY job_id ORDER BY seq) AS at FROM events
        ) AS e ORDER BY at, job_id, seq
    ) AS ordered
)
UPDATE events SET position = placed.position FROM placed
WHERE events.job_id = placed.job_id AND events.seq = placed.seq
"""


def upgrade() -> None:
    """Forward: what has happened so far is placed by its time; what an older worker writes is placed when it is found."""
    op.add_column("events", sa.Column("position", sa.BigInteger(), nullable=True))
    op.execute("CREATE SEQUENCE events_position OWNED BY events.position")
    op.execute(PLACE)
    op.create_index("uq_events_position", "events", ["position"], unique=True)
    op.create_index(
        "ix_events_unplaced", "events", ["job_id", "seq"], unique=False, postgresql_where=sa.text("position IS NULL")
    )
    op.add_column("attempts", sa.Column("refused", sa.Integer(), server_default="0", nullable=False))


def downgrade() -> None:
    """Back: positions and counts are forgotten, and the sequence with its column."""
    op.drop_column("attempts", "refused")
    op.drop_index("ix_events_unplaced", table_name="events", postgresql_where=sa.text("position IS NULL"))
    op.drop_index("uq_events_position", table_name="events")
    op.drop_column("events", "position")
