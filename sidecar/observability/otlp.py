"""What the exports of spans and of metrics share: the resource that they name, and an end that holds up no stop."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from concurrent.futures import Future
from typing import Final, TypeVar

from opentelemetry.sdk.resources import SERVICE_NAME, SERVICE_VERSION, Resource

LAST_EXPORT: Final = 1.0
"""Seconds that a stop waits for a collector to take the last spans and figures."""

Result = TypeVar("Result")


def resource_of(version: str) -> Resource:
    """Name the service and its version; what `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` say wins."""
    own = Resource({SERVICE_NAME: "session-sidecar", SERVICE_VERSION: version})
    found = Resource.create().attributes.items()
    return own.merge(Resource({name: value for name, value in found if not str(value).startswith("unknown_service")}))


async def in_daemon_thread(work: Callable[[], Result]) -> Result:
    """Run what blocks in a thread that neither the event loop nor the interpreter waits for when it ends."""
    future: Future[Result] = Future()
    future.set_running_or_notify_cancel()

    def run() -> None:
        try:
            future.set_result(work())
        except Exception as error:  # noqa: BLE001 # raised where the result is awaited
            future.set_exception(error)

    threading.Thread(target=run, daemon=True).start()
    return await asyncio.wrap_future(future)
