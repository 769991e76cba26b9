"""The command line: `memory-service serve` and `memory-service migrate`."""

from __future__ import annotations

from typing import Final

from memory_service.app import build
from memory_service.report import write_report
from memory_service.settings import VERSION_TABLE, Settings
from service_kit.command_line import Program

main: Final = Program(
    name="memory-service",
    about="Keep memories and find them again, over REST and MCP.",
    package="memory_service",
    version_table=VERSION_TABLE,
    settings=Settings,
    build=build,
    report=write_report,
).commands()

if __name__ == "__main__":
    main(prog_name="memory-service")
