"""What replicas and versions side by side share: revisions of policies, emergencies, the floor."""

import sqlalchemy as sa
from alembic import op

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

kind = "expand"  # or "contract", which raises the floor: docs/decisions/0016

ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; the first program that reads the floor is the oldest that may write."""
    op.create_table(
        "policy_revisions",
        sa.Column("policy", ID, nullable=False),
        sa.Column("digest", ID, nullable=False),
        sa.Column("revision", sa.Integer(), nullable=False),
        sa.PrimaryKeyConstraint("policy", "digest"),
    )
    op.create_index("uq_policy_revisions", "policy_revisions", ["policy", "revision"], unique=True)
    op.create_table(
        "emergencies",
        sa.Column("key", ID, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("state", sa.String(), nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("key"),
    )
    op.create_table(
        "schema_floor",
        sa.Column("floor", ID, nullable=False),
        sa.PrimaryKeyConstraint("floor"),
    )
    op.execute("INSERT INTO schema_floor (floor) VALUES ('0006')")
