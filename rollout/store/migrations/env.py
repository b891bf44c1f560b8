"""Runs migrations in the transaction that `upgrade` has begun; Alembic loads this file."""

from alembic import context

from rollout.store.tables import metadata

context.configure(
    connection=context.config.attributes["connection"], target_metadata=metadata, render_as_batch=True
)
with context.begin_transaction():
    context.run_migrations()
