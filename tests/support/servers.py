"""ASGI applications served by a real server in a thread, for tests that need a peer they can script."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from typing import Any, Literal

import uvicorn

from service_kit.process.address import Tcp, bind, bound_address
from tests.support.processes import wait_until


@contextlib.contextmanager
def served(app: Any, lifespan: Literal["on", "off"] = "off") -> Iterator[str]:
    """Serve the application on a free loopback port until the block ends; gives its base URL."""
    listener = bind(Tcp("127.0.0.1", 0))
    config = uvicorn.Config(app, log_level="critical", lifespan=lifespan, ws="none", timeout_graceful_shutdown=1)
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
    thread.start()
    try:
        wait_until(lambda: server.started, "the test server")
        yield f"http://{bound_address(listener)}"
    finally:
        server.should_exit = True
        thread.join()
        listener.close()
