"""outcomes of images: what became of each image stands in a column of its own, so that lists read past it.

Revision 0004, after 0003.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

MOVE = """
UPDATE results
SET outcomes = coalesce(
        (SELECT jsonb_object_agg(key, value) FROM jsonb_each(body)
         WHERE key IN ('survived', 'predicted', 'distance', 'queries')),
        '{}'
    ),
    body = body - ARRAY['survived', 'predicted', 'distance', 'queries']
"""


def upgrade() -> None:
    """Forward: results so far say which images survived, and that moves over."""
    op.add_column("results", sa.Column("outcomes", JSONB(), server_default="{}", nullable=False))
    op.execute(MOVE)


def downgrade() -> None:
    """Back: into the body again."""
    op.execute("UPDATE results SET body = body || outcomes")
    op.drop_column("results", "outcomes")
