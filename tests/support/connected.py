"""A server connection without sockets: bytes are put in, and what comes out is kept."""

from __future__ import annotations

import asyncio
import re
from typing import Any

from sidecar.http.server.connection import Timeouts
from sidecar.http.server.protocol import HardenedProtocol
from sidecar.http.server.serving import Shared


class MemoryTransport(asyncio.Transport):
    """Keeps what is written. `ended` says that nothing more will be."""

    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.ended = False
        self.reading = True
        self.aborted = False

    def write(self, data: Any) -> None:
        self.written += data

    def write_eof(self) -> None:
        self.ended = True

    def can_write_eof(self) -> bool:
        return True

    def close(self) -> None:
        self.ended = True

    def abort(self) -> None:
        self.ended = self.aborted = True

    def is_closing(self) -> bool:
        return False

    def pause_reading(self) -> None:
        self.reading = False

    def resume_reading(self) -> None:
        self.reading = True

    def get_extra_info(self, name: str, default: Any = None) -> Any:
        return ("127.0.0.1", 50000) if name.endswith("name") else default


class Connected:
    """One connection to `app`."""

    def __init__(self, app: Any, patience: Timeouts | None = None) -> None:
        self.shared = Shared(app, patience or Timeouts())
        self.transport = MemoryTransport()
        self.protocol = HardenedProtocol(self.shared)
        self.protocol.connection_made(self.transport)

    def receive(self, data: bytes) -> None:
        if not self.transport.aborted:
            self.protocol.data_received(data)

    @property
    def statuses(self) -> tuple[int, ...]:
        return tuple(int(status) for status in re.findall(rb"HTTP/1\.1 (\d+)", self.transport.written))
