"""What Alembic runs for every command: `service_kit.sql.migrations` hands over the connection and the options."""

from __future__ import annotations

from typing import Any

from alembic import context

from service_kit.sql.migration_log import migration_log


def _note(ctx: Any, step: Any, heads: Any, run_args: Any) -> None:  # noqa: ARG001 -- Alembic's signature
    direction = "up to" if step.is_upgrade else "down from"
    migration_log().steps.append(f"{direction} {step.up_revision_id}")


context.configure(
    connection=context.config.attributes["connection"],
    version_table=context.config.attributes["version_table"],
    transactional_ddl=True,
    on_version_apply=_note,
)
context.run_migrations()
