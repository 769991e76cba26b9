"""How log lines look: for a person on a terminal, one JSON object a line for a machine. All of them go to stderr."""

from __future__ import annotations

import sys
from typing import Literal

import orjson
import stamina
import structlog
from structlog.typing import EventDict, FilteringBoundLogger, WrappedLogger

LogFormat = Literal["console", "json"]


def configure_logging(style: LogFormat, role: str) -> FilteringBoundLogger:
    """Set up structured logging for this process and return its logger."""
    shared: list[structlog.typing.Processor] = [
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    render: structlog.typing.Processor
    if style == "json":
        render = structlog.processors.JSONRenderer(serializer=_to_json)
    else:
        render = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
        shared.remove(structlog.processors.format_exc_info)
    structlog.configure(
        processors=[*shared, _with_role(role), render],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(sys.stderr),
        cache_logger_on_first_use=True,
    )
    # Retries are counted as calls; a line for each of them would say nothing that a person can act upon.
    stamina.instrumentation.set_on_retry_hooks(())
    logger: FilteringBoundLogger = structlog.get_logger()
    return logger


def _with_role(role: str) -> structlog.typing.Processor:
    def add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return add_role


def _to_json(event: EventDict, **_options: object) -> str:
    return orjson.dumps(event, default=str).decode()
