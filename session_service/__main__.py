"""The command line: `session-service serve` and `session-service migrate`."""

from __future__ import annotations

from typing import Final

from service_kit.command_line import Program
from session_service.app import SessionService
from session_service.report import write_report
from session_service.settings import VERSION_TABLE, Settings

main: Final = Program(
    name="session-service",
    about="Keep sessions: who owns them, whether they live, and tell others when that changes.",
    package="session_service",
    version_table=VERSION_TABLE,
    settings=Settings,
    build=SessionService,
    report=write_report,
).commands()

if __name__ == "__main__":
    main(prog_name="session-service")
