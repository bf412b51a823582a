"""Run by alembic: applies migrations on the connection that `database.migrate` hands over."""

from __future__ import annotations

from alembic import context

from insource.ledger.schema import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    transactional_ddl=True,
    render_as_batch=True,
)
with context.begin_transaction():
    context.run_migrations()
