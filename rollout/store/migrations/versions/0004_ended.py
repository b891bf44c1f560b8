"""Ended rollouts may be deleted: that a version was rolled back stays known without its rollout."""

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")


def upgrade() -> None:
    """Make the table anew, since SQLite takes no reference away from one that is there."""
    if op.get_bind().dialect.name == "postgresql":
        op.drop_constraint("rolled_back_versions_rollout_id_fkey", "rolled_back_versions")
        return
    op.rename_table("rolled_back_versions", "rolled_back_before")
    op.create_table(
        "rolled_back_versions",
        sa.Column("service", ID, nullable=False),
        sa.Column("version", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.PrimaryKeyConstraint("service", "version"),
    )
    op.execute(
        "INSERT INTO rolled_back_versions (service, version, rollout_id) "
        "SELECT service, version, rollout_id FROM rolled_back_before"
    )
    op.drop_table("rolled_back_before")
