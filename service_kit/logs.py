"""Every log line of a service in one format on stderr: readable on a terminal, else one JSON object a line.

Lines of libraries, tracebacks among them, come through the standard library's logging and end in the same format.
"""

from __future__ import annotations

import logging
import sys
from typing import Final

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger


def configure_logging(role: str) -> None:
    """Set up the logging of this process; `role` stands in each line."""

    def add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        return {**event, "role": role}

    shared: Final[list[Processor]] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        add_role,
    ]
    ending: list[Processor] = [structlog.stdlib.ProcessorFormatter.remove_processors_meta]
    if sys.stderr.isatty():
        plain = structlog.dev.ConsoleRenderer(exception_formatter=structlog.dev.plain_traceback)
        ending.append(plain)
    else:
        ending += [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    handler = _Stderr()
    handler.setFormatter(structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=ending))
    root = logging.getLogger()
    root.handlers = [handler]
    root.setLevel(logging.WARNING)
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=lambda *_: _OWN,
    )


class _Stderr(logging.Handler):
    """Writes to what stderr is when something is logged."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one line."""
        try:
            print(self.format(record), file=sys.stderr, flush=True)  # noqa: T201 -- this is what a log is
        except Exception:  # noqa: BLE001 -- a log line must not break what it tells of
            self.handleError(record)


_OWN: Final = logging.getLogger("service")
_OWN.setLevel(logging.INFO)
