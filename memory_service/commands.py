"""The command line: `memory-service serve` and `memory-service migrate`."""

from __future__ import annotations

from typing import Final

from memory_service.report import write_report
from memory_service.settings import VERSION_TABLE, Settings
from service_kit.command_line import Program, Served


def _build(settings: Settings) -> Served:
    # Imported when it is served: the frameworks take a second that `migrate` can do without.
    from memory_service.app import build  # noqa: PLC0415

    return build(settings)


main: Final = Program(
    name="memory-service",
    about="Keep memories and find them again, over REST and MCP.",
    package="memory_service",
    version_table=VERSION_TABLE,
    settings=Settings,
    build=_build,
    report=write_report,
).commands()
