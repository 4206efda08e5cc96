"""results of exported files: an accuracy is that of a network, the trained one or what a lossy export has written.

Revision 0002, after 0001.
"""

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward: every result so far is of the trained network."""
    op.add_column("results", sa.Column("network", sa.Text(), server_default="trained", nullable=False))
    op.drop_constraint(op.f("pk_results"), "results")
    op.create_primary_key(op.f("pk_results"), "results", ["job_id", "network", "protocol", "label"])


def downgrade() -> None:
    """Back: the results of other networks have no place there."""
    op.execute("DELETE FROM results WHERE network <> 'trained'")
    op.drop_constraint(op.f("pk_results"), "results")
    op.create_primary_key(op.f("pk_results"), "results", ["job_id", "protocol", "label"])
    op.drop_column("results", "network")
