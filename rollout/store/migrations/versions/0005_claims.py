"""Several replicas on one database: their leases, and which of them works on which service."""

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")
TIME = sa.DateTime(timezone=True)


def upgrade() -> None:
    """Make the tables; every service belongs to nobody yet."""
    op.create_table(
        "replicas",
        sa.Column("id", ID, nullable=False),
        sa.Column("incarnation", sa.String(), nullable=False),
        sa.Column("about", sa.String(), nullable=False),
        sa.Column("started_at", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_table(
        "claims",
        sa.Column("service", ID, nullable=False),
        sa.Column("owner", ID, nullable=False),
        sa.Column("epoch", sa.BigInteger(), nullable=False),
        sa.PrimaryKeyConstraint("service"),
    )
    op.create_index("ix_claims_owner", "claims", ["owner"])
    op.execute("INSERT INTO claims (service, owner, epoch) SELECT name, '', 0 FROM services")
