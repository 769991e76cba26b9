"""Options and collection rules of the whole suite."""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Iterator
from pathlib import Path
from ssl import SSLContext
from typing import Any

import httpx._transports.default
import pytest
from hypothesis import settings

from sidecar.observability.metrics import is_compiled
from tests.support.consul import consul_agent  # noqa: F401 # a fixture, found here by every test

INTEROP = Path(__file__).parent / "interop"
WITH_LONG = ("long", "variant")
ALLOWED_SKIPS = Path(__file__).parent.parent / ".ci" / "allowed-skips"

# A machine that does other work besides must not fail an example for its time.
settings.register_profile("patient", deadline=None)
settings.load_profile("patient")


@pytest.fixture
def heeding_hangups() -> Iterator[None]:
    """Start processes with SIGHUP as a terminal does: under nohup they inherit that it is ignored."""
    before = signal.signal(signal.SIGHUP, signal.SIG_DFL)
    yield
    signal.signal(signal.SIGHUP, before)


@functools.cache
def _tls_context(_files: tuple[str | None, ...], **options: Any) -> SSLContext:
    return _new_tls_context(**options)


def _shared_tls_context(**options: Any) -> SSLContext:
    """Give every client of httpx with the same options one context: to read the certificates takes 20 ms a client."""
    return _tls_context((os.environ.get("SSL_CERT_FILE"), os.environ.get("SSL_CERT_DIR")), **options)


_new_tls_context = httpx._transports.default.create_ssl_context
httpx._transports.default.create_ssl_context = _shared_tls_context


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--long", action="store_true", help="also run what takes minutes, and all variants")
    parser.addoption("--interop", action="store_true", help="run the tests with the servers of others, and no others")
    parser.addoption("--compiled", action="store_true", help="the compiled wheel is under test: fail if it is not")
    parser.addoption(
        "--fail-on-unlisted-skip",
        action="store_true",
        help="fail the run if a test is skipped for a reason that .ci/allowed-skips does not list",
    )


def pytest_configure(config: pytest.Config) -> None:
    if config.getoption("--compiled") and not is_compiled():
        raise pytest.UsageError("--compiled: sidecar was imported from its sources; run scripts/test --compiled")
    if config.getoption("--fail-on-unlisted-skip") and not hasattr(config, "workerinput"):
        config.pluginmanager.register(SkipAccountant(config), "skip-accountant")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What is not wanted is deselected, not skipped: a skip means that something is missing here."""
    interop, long = config.getoption("--interop"), config.getoption("--long")

    def is_wanted(item: pytest.Item) -> bool:
        return (
            INTEROP in item.path.parents
            if interop
            else (INTEROP not in item.path.parents and (long or not any(map(item.get_closest_marker, WITH_LONG))))
        )

    unwanted = [item for item in items if not is_wanted(item)]
    if unwanted:
        config.hook.pytest_deselected(items=unwanted)
        items[:] = [item for item in items if is_wanted(item)]


class SkipAccountant:
    """Turns a skip that nobody agreed to into a failed run."""

    def __init__(self, config: pytest.Config) -> None:
        lines = ALLOWED_SKIPS.read_text().splitlines()
        self._allowed = [line for line in lines if line and not line.startswith("#")]
        self._unlisted: list[str] = []

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        if report.skipped and not hasattr(report, "wasxfail"):
            reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)
            if not any(allowed in reason for allowed in self._allowed):
                self._unlisted.append(f"{report.nodeid}: {reason}")

    def pytest_collectreport(self, report: pytest.CollectReport) -> None:
        if report.skipped:
            self._unlisted.append(f"{report.nodeid}: {report.longrepr}")

    def pytest_sessionfinish(self, session: pytest.Session) -> None:
        if self._unlisted and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter: pytest.TerminalReporter) -> None:
        for line in self._unlisted:
            terminalreporter.write_line(f"skipped for an unlisted reason: {line}", red=True)
