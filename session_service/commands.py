"""The command line: `session-service serve` and `session-service migrate`."""

from __future__ import annotations

from typing import Final

from service_kit.command_line import Program, Served
from session_service.report import write_report
from session_service.settings import VERSION_TABLE, Settings


def _build(settings: Settings) -> Served:
    # Imported when it is served: the frameworks take a second that `migrate` can do without.
    from session_service.app import SessionService  # noqa: PLC0415

    return SessionService(settings)


main: Final = Program(
    name="session-service",
    about="Keep sessions: who owns them, whether they live, and tell others when that changes.",
    package="session_service",
    version_table=VERSION_TABLE,
    settings=Settings,
    build=_build,
    report=write_report,
).commands()
