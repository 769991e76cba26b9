"""What `serve` imports: what is off costs neither time at the start nor memory."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.support.platform import FREE_PORTS
from tests.support.processes import Running


@pytest.fixture(scope="module")
def imported(tmp_path_factory: pytest.TempPathFactory) -> set[str]:
    """Every module that a sidecar without Consul imports until it has stopped, as the interpreter reports it."""
    command = [sys.executable, "-X", "importtime", "-m", "sidecar", "serve"]
    process = Running(command, FREE_PORTS, tmp_path_factory.mktemp("imports"))
    try:
        process.wait_ready("sidecar")
        process.stop()
    finally:
        process.close()
    return {line.rpartition("|")[2].strip() for line in process.stderr if line.startswith("import time:")}


@pytest.mark.parametrize(
    "module",
    [
        "consul",  # Consul is not configured
        "requests",
        "service_kit.consul.registration",
        "sidecar.session_client.consul_discovery",
        "sidecar.tools.backfill.command",  # other commands
        "sidecar.tools.explain.command",
        "sidecar.tools.up",
        "opentelemetry",  # no exporter is configured
        "sidecar.observability.tracing",
        "sidecar.observability.otlp_metrics",
        "fastapi",  # the other two programs
        "sqlalchemy",
        "mcp",
        "session_service",
        "memory_service",
        "pytest",
        "click",  # the other commands
        "rich.console",  # tables of other commands; structlog and httpx import it where it is installed
        "pygments",
        "_brotli",  # no request has such a coding
        "zstandard.backend_c",
        "python_multipart.exceptions",  # no form
        "greenlet._greenlet",
        "httpx",  # the sidecar has its own pool
        "httpcore",
        "h2",
        "certifi",
        "uvicorn",  # no hosted application
        "stamina",  # retries of the backfill
        "sqlite3",  # no debts
        "sidecar.outbox.outbox",
    ],
)
def test_serve_does_not_import_what_is_off(imported: set[str], module: str) -> None:
    assert "sidecar.app" in imported, "the interpreter reported nothing"
    assert module not in imported
    assert not any(name.startswith(f"{module}.") for name in imported)


def test_services_without_consul_do_not_import_its_client() -> None:
    """It takes longer to import than the rest of their settings."""
    program = "import sys, service_kit.service_settings; sys.exit('consul' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0
