"""the shared queue: dependencies, deadlines, quotas, private projects, scopes of tokens, the log of who did what.

Revision 0003, after 0002.
"""

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Forward: every project is the team's, every token may do all that its user may."""
    op.create_table(
        "actions",
        sa.Column("id", sa.BigInteger(), nullable=False),
        sa.Column("at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("verb", sa.Text(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("object", sa.Text(), nullable=False),
        sa.Column("about", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_actions")),
    )
    op.create_index("ix_actions_object", "actions", ["kind", "object", sa.literal_column("id DESC")], unique=False)
    op.create_table(
        "queues",
        sa.Column("name", sa.Text(), nullable=False),
        sa.Column("state", sa.Text(), nullable=False),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("state IN ('open', 'paused', 'draining')", name=op.f("ck_queues_state")),
        sa.PrimaryKeyConstraint("name", name=op.f("pk_queues")),
    )
    op.create_table(
        "members",
        sa.Column("project_id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=False),
        sa.ForeignKeyConstraint(
            ["project_id"], ["projects.id"], name=op.f("fk_members_project_id"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_members_user_id")),
        sa.PrimaryKeyConstraint("project_id", "user_id", name=op.f("pk_members")),
    )
    op.create_index(op.f("ix_members_user_id"), "members", ["user_id"], unique=False)
    op.create_table(
        "quotas",
        sa.Column("id", sa.Uuid(), nullable=False),
        sa.Column("user_id", sa.Uuid(), nullable=True),
        sa.Column("project_id", sa.Uuid(), nullable=True),
        sa.Column("guarantee", sa.Integer(), server_default="0", nullable=False),
        sa.Column("weight", sa.Float(), server_default="1", nullable=False),
        sa.Column("maximum", sa.Integer(), nullable=True),
        sa.Column("version", sa.Integer(), server_default="1", nullable=False),
        sa.CheckConstraint("(user_id IS NULL) <> (project_id IS NULL)", name=op.f("ck_quotas_subject")),
        sa.CheckConstraint(
            "guarantee >= 0 AND (maximum IS NULL OR maximum >= guarantee)", name=op.f("ck_quotas_limits")
        ),
        sa.CheckConstraint("weight > 0", name=op.f("ck_quotas_weight")),
        sa.ForeignKeyConstraint(["project_id"], ["projects.id"], name=op.f("fk_quotas_project_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["user_id"], ["users.id"], name=op.f("fk_quotas_user_id")),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_quotas")),
        sa.UniqueConstraint("project_id", name=op.f("uq_quotas_project_id")),
        sa.UniqueConstraint("user_id", name=op.f("uq_quotas_user_id")),
    )
    op.create_table(
        "dependencies",
        sa.Column("job_id", sa.Uuid(), nullable=False),
        sa.Column("on_id", sa.Uuid(), nullable=False),
        sa.Column("met", sa.Boolean(), nullable=False),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_dependencies_job_id"), ondelete="CASCADE"),
        sa.ForeignKeyConstraint(["on_id"], ["jobs.id"], name=op.f("fk_dependencies_on_id")),
        sa.PrimaryKeyConstraint("job_id", "on_id", name=op.f("pk_dependencies")),
    )
    op.create_index(op.f("ix_dependencies_on_id"), "dependencies", ["on_id"], unique=False)
    op.add_column("jobs", sa.Column("memory", sa.BigInteger(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("deadline", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("blockers", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("from_phase", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("from_fence", sa.Integer(), server_default="0", nullable=False))
    op.add_column("jobs", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.drop_index(op.f("ix_jobs_waiting"), table_name="jobs", postgresql_where="(state = 'queued'::text)")
    op.create_index(
        "ix_jobs_waiting",
        "jobs",
        ["owner_id", "project_id", sa.literal_column("priority DESC"), "created_at"],
        unique=False,
        postgresql_where=sa.text("state = 'queued' AND blockers = 0"),
    )
    op.create_index(
        "ix_jobs_deadlines",
        "jobs",
        ["deadline"],
        unique=False,
        postgresql_where=sa.text("deadline IS NOT NULL AND state IN ('queued', 'running', 'paused')"),
    )
    op.add_column("projects", sa.Column("visibility", sa.Text(), server_default="team", nullable=False))
    op.create_check_constraint(op.f("ck_projects_visibility"), "projects", "visibility IN ('team', 'private')")
    op.add_column("projects", sa.Column("usage", sa.Float(), server_default="0", nullable=False))
    op.add_column(
        "projects", sa.Column("usage_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False)
    )
    op.add_column("projects", sa.Column("version", sa.Integer(), server_default="1", nullable=False))
    op.add_column(
        "tokens", sa.Column("scopes", sa.ARRAY(sa.Text()), server_default="{read,write,admin}", nullable=False)
    )
    op.add_column("users", sa.Column("disabled_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("users", sa.Column("version", sa.Integer(), server_default="1", nullable=False))


def downgrade() -> None:
    """Back: what a private project holds is seen by all again."""
    op.drop_column("users", "version")
    op.drop_column("users", "disabled_at")
    op.drop_column("tokens", "scopes")
    op.drop_column("projects", "version")
    op.drop_column("projects", "usage_at")
    op.drop_column("projects", "usage")
    op.drop_constraint(op.f("ck_projects_visibility"), "projects")
    op.drop_column("projects", "visibility")
    op.drop_index(
        "ix_jobs_deadlines",
        table_name="jobs",
        postgresql_where=sa.text("deadline IS NOT NULL AND state IN ('queued', 'running', 'paused')"),
    )
    op.drop_index("ix_jobs_waiting", table_name="jobs", postgresql_where=sa.text("state = 'queued' AND blockers = 0"))
    op.create_index(
        op.f("ix_jobs_waiting"),
        "jobs",
        ["owner_id", sa.literal_column("priority DESC"), "created_at"],
        unique=False,
        postgresql_where="(state = 'queued'::text)",
    )
    op.drop_column("jobs", "version")
    op.drop_column("jobs", "from_fence")
    op.drop_column("jobs", "from_phase")
    op.drop_column("jobs", "blockers")
    op.drop_column("jobs", "deadline")
    op.drop_column("jobs", "memory")
    op.drop_index(op.f("ix_dependencies_on_id"), table_name="dependencies")
    op.drop_table("dependencies")
    op.drop_table("quotas")
    op.drop_index(op.f("ix_members_user_id"), table_name="members")
    op.drop_table("members")
    op.drop_table("queues")
    op.drop_index("ix_actions_object", table_name="actions")
    op.drop_table("actions")
