"""History: blocks of samples, what they are of, how many there are, and up to where samples are in them."""

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
NUMBER = sa.Integer()
LARGE = sa.BigInteger()
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def upgrade() -> None:
    """Make the tables; every sample that is there waits to become history."""
    _indexes()
    _series()
    _blocks()
    _accounts()
    op.execute(_counted())


def _indexes() -> None:
    """Samples are read by service, and become history by region and time."""
    op.drop_index("ix_samples_region", "samples")
    op.drop_index("ix_samples_time", "samples")
    op.create_index("ix_samples_place", "samples", ["service", "region", "time"])
    op.create_index("ix_samples_service", "samples", ["service", "sequence"])


def _series() -> None:
    op.create_table(
        "series",
        sa.Column("id", SEQUENCE, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("version", ID, nullable=False),
        sa.Column("signal", ID, nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_series_names", "series", ["service", "region", "version", "signal"], unique=True)


def _blocks() -> None:
    op.create_table(
        "history",
        sa.Column("series", SEQUENCE, nullable=False),
        sa.Column("length_s", NUMBER, nullable=False),
        sa.Column("start", LARGE, nullable=False),
        sa.Column("value", sa.Float(), nullable=False),
        sa.Column("exposure", sa.Float(), nullable=False),
        sa.Column("middle", sa.Float(), nullable=False),
        sa.Column("samples", NUMBER, nullable=False),
        sa.PrimaryKeyConstraint("series", "length_s", "start"),
        sa.ForeignKeyConstraint(["series"], ["series.id"]),
        sqlite_with_rowid=False,
    )


def _accounts() -> None:
    op.create_table(
        "history_days",
        sa.Column("service", ID, nullable=False),
        sa.Column("day", NUMBER, nullable=False),
        sa.Column("length_s", NUMBER, nullable=False),
        sa.Column("blocks", LARGE, nullable=False),
        sa.PrimaryKeyConstraint("service", "day", "length_s"),
    )
    op.create_table(
        "history_marks",
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("samples", LARGE, nullable=False),
        sa.PrimaryKeyConstraint("service", "region"),
    )


def _counted() -> sa.Insert:
    samples = sa.table("samples", sa.column("service", ID), sa.column("region", ID))
    marks = sa.table(
        "history_marks",
        *(sa.column("service", ID), sa.column("region", ID)),
        *(sa.column("until", TIME), sa.column("samples", LARGE)),
    )
    waiting = sa.select(
        samples.c.service, samples.c.region, sa.literal(EPOCH, TIME).label("until"), sa.func.count()
    ).group_by(samples.c.service, samples.c.region)
    return sa.insert(marks).from_select(["service", "region", "until", "samples"], waiting)
