"""Starts the sidecar as the environment says, or reports each problem that keeps it from starting in one line.

It does not import the command line's libraries: what a supervisor starts is to be ready soon, and small.
"""

from __future__ import annotations

import sys
from typing import Final

from service_kit.process.optional_imports import not_found
from service_kit.settings import BadSettings
from sidecar.admin.effective_settings import unknown_variables, unused_variables, wants_json_logs
from sidecar.settings import Settings, WrapSettings, load_settings
from sidecar.tools.probe.record import unsafe_create

_UNUSED: Final = ("brotli", "greenlet", "multipart", "python_multipart", "rich", "zstandard")
"""What structlog and Starlette import where it is installed and `serve` never uses or not from the start:
codings, coroutines of another kind, a command line, forms, tables. A sixth of the time to start, and 8 MB."""


def serve() -> int:
    """Run the sidecar alone; gives the exit code."""
    settings = _settings()
    if settings is None:
        return 2
    with not_found(*_UNUSED):
        from sidecar import app  # noqa: PLC0415 # bad settings are reported without it

    return app.run(settings, warnings=unknown_variables())


def wrap(application: str) -> int:
    """Serve the ASGI application that `MODULE:APP` names under the guard; gives the exit code."""
    # The application may want all that structlog and httpx have.
    from sidecar import app  # noqa: PLC0415 # `serve` imports it in another way
    from sidecar.tools.load_application import NoApplication, load_application  # noqa: PLC0415 # brings uvicorn

    settings = _settings(WrapSettings)
    if settings is None:
        return 2
    try:
        hosted = load_application(application)
    except NoApplication as error:
        _report([str(error)])
        return 2
    except BadSettings as bad:
        # Those of the memory service, which reads them when it is imported.
        _report(bad.problems)
        return 2
    return app.run(settings, warnings=unknown_variables() + unused_variables(settings), hosted=hosted)


def _settings(kind: type[Settings] = Settings) -> Settings | None:
    """Read the settings; None where something keeps the sidecar from starting, which is reported."""
    try:
        settings = load_settings(kind)
    except BadSettings as bad:
        _report(bad.problems)
        return None
    if (harm := unsafe_create(settings)) is not None:
        _report([harm])
        return None
    return settings


def _report(problems: list[str]) -> None:
    """Say what keeps the sidecar from starting: for a person, unless the environment wants JSON."""
    if not wants_json_logs():
        sys.stderr.writelines(f"session-sidecar: {problem}\n" for problem in problems)
        return
    from service_kit.logs import configure_logging  # noqa: PLC0415 # brings structlog

    log = configure_logging("json", "sidecar")
    for problem in problems:
        log.error(problem)
