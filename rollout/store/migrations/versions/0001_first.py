"""The first schema: every table of the first version."""

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

ID = sa.String().with_variant(sa.String(collation="C"), "postgresql")
SEQUENCE = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
TIME = sa.DateTime(timezone=True)
TEXT = sa.String()
NUMBER = sa.Integer()


def upgrade() -> None:
    """Make everything."""
    _rollouts()
    _history()
    _actions()
    _observation()
    _services()
    _access()


def _where(condition: str) -> dict[str, Any]:
    return {"sqlite_where": sa.text(condition), "postgresql_where": sa.text(condition)}


def _rollouts() -> None:
    op.create_table(
        "rollouts",
        sa.Column("id", ID, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("created_by", TEXT, nullable=False),
        sa.Column("outcome", TEXT, nullable=True),
        sa.Column("finished_at", TIME, nullable=True),
        sa.Column("transitions", NUMBER, nullable=False),
        sa.Column("wakes", NUMBER, nullable=False),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("next_due_at", TIME, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_rollouts_created", "rollouts", ["created_at", "id"])
    op.create_index("ix_rollouts_next_due_at", "rollouts", ["next_due_at"])
    op.create_index("ix_rollouts_phase_created", "rollouts", ["phase", "created_at", "id"])
    op.create_index("ix_rollouts_service_created", "rollouts", ["service", "created_at", "id"])
    op.create_index("ix_rollouts_service_phase", "rollouts", ["service", "phase"])
    op.create_table(
        "rollout_plans",
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("rollout_id"),
    )
    op.create_table(
        "rollout_regions",
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("position", NUMBER, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("claimed", sa.Boolean(), nullable=False),
        sa.Column("phase", TEXT, nullable=False),
        sa.Column("weight", NUMBER, nullable=False),
        sa.Column("touched_at", TIME, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("rollout_id", "region"),
    )
    op.create_index(
        "uq_rollout_regions_claimed",
        "rollout_regions",
        ["service", "region"],
        unique=True,
        **_where("claimed"),
    )
    op.create_table(
        "evidence",
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("rollout_id", "region"),
    )


def _history() -> None:
    op.create_table(
        "transitions",
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("number", NUMBER, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("region", ID, nullable=True),
        sa.Column("from_phase", TEXT, nullable=False),
        sa.Column("to_phase", TEXT, nullable=False),
        sa.Column("trigger", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("uq_transitions_number", "transitions", ["rollout_id", "number"], unique=True)
    op.create_table(
        "intents",
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("id", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("actor", TEXT, nullable=False),
        sa.Column("at", TIME, nullable=False),
        sa.Column("done", sa.Boolean(), nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("id"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_intents_open", "intents", ["rollout_id"], **_where("NOT done"))
    op.create_table(
        "obligations",
        sa.Column("id", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("since", TIME, nullable=False),
        sa.Column("until", TIME, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("id"),
    )
    op.create_index("ix_obligations_rollout", "obligations", ["rollout_id", "since"])


def _actions() -> None:
    op.create_table(
        "actions",
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("key", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.Column("kind", TEXT, nullable=False),
        sa.Column("recorded_at", TIME, nullable=False),
        sa.Column("due_at", TIME, nullable=False),
        sa.Column("after", ID, nullable=True),
        sa.Column("waits_until", TIME, nullable=True),
        sa.Column("state", TEXT, nullable=False),
        sa.Column("attempts", NUMBER, nullable=False),
        sa.Column("ended_at", TIME, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.UniqueConstraint("key"),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.ForeignKeyConstraint(["after"], ["actions.key"], initially="DEFERRED", deferrable=True),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_actions_pending", "actions", ["due_at"], **_where("state = 'pending'"))
    op.create_index("ix_actions_rollout", "actions", ["rollout_id", "sequence"])


def _observation() -> None:
    op.create_table(
        "observed",
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("collected_at", TIME, nullable=True),
        sa.Column("error", TEXT, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("service", "region"),
    )
    op.create_table(
        "samples",
        sa.Column("sequence", SEQUENCE, nullable=False),
        sa.Column("service", ID, nullable=False),
        sa.Column("time", TIME, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("version", TEXT, nullable=False),
        sa.Column("signal", TEXT, nullable=False),
        sa.Column("value", sa.Float(), nullable=True),
        sa.Column("exposure", sa.Float(), nullable=True),
        sa.Column("duration_s", sa.Float(), nullable=True),
        sa.Column("instance", TEXT, nullable=False),
        sa.PrimaryKeyConstraint("sequence"),
        sqlite_autoincrement=True,
    )
    op.create_index("ix_samples_region", "samples", ["service", "region", "sequence"])
    op.create_index("ix_samples_time", "samples", ["time"])


def _services() -> None:
    op.create_table(
        "services",
        sa.Column("name", ID, nullable=False),
        sa.Column("policy", TEXT, nullable=False),
        sa.Column("stopped_by", ID, nullable=True),
        sa.Column("stopped_at", TIME, nullable=True),
        sa.Column("version", NUMBER, nullable=False),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("name"),
    )
    op.create_table(
        "service_regions",
        sa.Column("service", ID, nullable=False),
        sa.Column("region", ID, nullable=False),
        sa.Column("generation", NUMBER, nullable=False),
        sa.Column("running_at", TIME, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("service", "region"),
    )
    op.create_table(
        "rolled_back_versions",
        sa.Column("service", ID, nullable=False),
        sa.Column("version", ID, nullable=False),
        sa.Column("rollout_id", ID, nullable=False),
        sa.ForeignKeyConstraint(["rollout_id"], ["rollouts.id"]),
        sa.PrimaryKeyConstraint("service", "version"),
    )


def _access() -> None:
    op.create_table(
        "tokens",
        sa.Column("id", ID, nullable=False),
        sa.Column("secret_hash", TEXT, nullable=False),
        sa.Column("name", TEXT, nullable=False),
        sa.Column("role", TEXT, nullable=False),
        sa.Column("created_at", TIME, nullable=False),
        sa.Column("expires_at", TIME, nullable=True),
        sa.Column("revoked_at", TIME, nullable=True),
        sa.Column("body", sa.Text(), nullable=False),
        sa.PrimaryKeyConstraint("id"),
        sa.UniqueConstraint("secret_hash"),
    )
    op.create_table(
        "sessions",
        sa.Column("session_hash", TEXT, nullable=False),
        sa.Column("token_id", ID, nullable=False),
        sa.Column("csrf", TEXT, nullable=False),
        sa.Column("expires_at", TIME, nullable=False),
        sa.ForeignKeyConstraint(["token_id"], ["tokens.id"]),
        sa.PrimaryKeyConstraint("session_hash"),
    )
