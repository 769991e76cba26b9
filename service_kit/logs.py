"""How log lines of the three programs look: for a person on a terminal, or one JSON object a line for a machine.

All of them go to stderr. Every line of the process takes this way: structlog's, the standard library's logging
(uvicorn, asyncio), warnings, and exceptions that nothing caught. Only what the interpreter prints while it crashes does
not.
"""

from __future__ import annotations

import io
import json
import logging
import sys
import threading
from collections.abc import Callable
from types import TracebackType
from typing import Literal, TextIO

import orjson
import structlog
from structlog.typing import EventDict, ExcInfo, FilteringBoundLogger, Processor, WrappedLogger

from service_kit.printable import printable, printable_json

LogFormat = Literal["console", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]


def configure_logging(
    style: LogFormat | None,
    role: str,
    *,
    level: LogLevel = "info",
    ids: Processor | None = None,
    stream: TextIO | None = None,
) -> FilteringBoundLogger:
    """Set up every kind of log line of this process, and return its logger.

    Without a `style` lines are for a person on a terminal, and JSON elsewhere. `role` and what structlog's context
    variables hold stand in each line. `ids` replaces session and user ids; without it they are logged as they are.
    Lines of libraries are written from `warning` on, or from `level` if that is higher or `debug`.
    """
    target = stream or sys.stderr
    style = style or ("console" if target.isatty() else "json")
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _with_role(role),
        *([ids] if ids is not None else []),
    ]
    render = _json_renderer() if style == "json" else _console_renderer(colors=target.isatty())
    structlog.configure(
        processors=[*shared, *render],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(target),
        cache_logger_on_first_use=True,
    )
    remove_meta = structlog.stdlib.ProcessorFormatter.remove_processors_meta
    handler = _Handler(target)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(foreign_pre_chain=shared, processors=[remove_meta, _named, *render])
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    threshold = logging.getLevelNamesMapping()[level.upper()]
    root.setLevel(threshold if level == "debug" else max(threshold, logging.WARNING))
    logging.captureWarnings(capture=True)
    logger: FilteringBoundLogger = structlog.get_logger()
    _log_what_nothing_caught(logger)
    return logger


class _Handler(logging.StreamHandler[TextIO]):
    """Writes the records of the standard library's logging."""

    def handleError(self, record: logging.LogRecord) -> None:  # noqa: N802 -- the standard library's name
        """Log that a record's message and arguments do not fit each other; the library prints a traceback."""
        structlog.get_logger().error("a log record could not be written", message=repr(record.msg), logger=record.name)


def _json_renderer() -> list[Processor]:
    return [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(serializer=_to_json)]


def _console_renderer(*, colors: bool) -> list[Processor]:
    return [_escape_control_characters, structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=_traceback)]


def _traceback(stream: TextIO, exc_info: ExcInfo) -> None:
    """Write a traceback in its plain form: structlog's richer ones show variables, and secrets with them."""
    plain = io.StringIO()
    structlog.dev.plain_traceback(plain, exc_info)
    stream.write("\n".join(map(printable, plain.getvalue().split("\n"))))


def _with_role(role: str) -> Processor:
    def add_role(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
        event["role"] = role
        return event

    return add_role


def _named(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Keep a message of the standard library in one piece, of any number of parts."""
    event["event"] = str(event["event"])
    return event


def _escape_control_characters(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    """Escape control characters: a value of a client stays on its line and cannot steer the terminal."""
    for name, value in event.items():
        if isinstance(value, str):
            event[name] = printable(value)
    return event


def _to_json(event: EventDict, **_options: object) -> str:
    try:
        text = orjson.dumps(event, default=str).decode()
    except TypeError:
        # orjson takes neither lone surrogates nor integers beyond 64 bits.
        text = json.dumps(event, default=str)
    return printable_json(text)


def _log_what_nothing_caught(log: FilteringBoundLogger) -> None:
    """Log exceptions that would otherwise be printed by the interpreter: in the main thread, others, and finalizers."""

    def log_exception(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        if issubclass(kind, KeyboardInterrupt):
            log.error("interrupted")
        else:
            log.critical("an exception was not handled", exc_info=(kind, error, trace))

    def log_in_thread(failed: threading.ExceptHookArgs) -> None:
        if failed.exc_value is not None and not issubclass(failed.exc_type, SystemExit):
            log_exception(failed.exc_type, failed.exc_value, failed.exc_traceback)

    sys.excepthook = log_exception
    threading.excepthook = log_in_thread
    sys.unraisablehook = _unraisable_logger(log)


def _unraisable_logger(log: FilteringBoundLogger) -> Callable[[sys.UnraisableHookArgs], None]:
    def log_unraisable(failed: sys.UnraisableHookArgs) -> None:
        message = failed.err_msg or "an exception was ignored"
        error = failed.exc_value or failed.exc_type()
        log.error(message, where=repr(failed.object), exc_info=(failed.exc_type, error, failed.exc_traceback))

    return log_unraisable
