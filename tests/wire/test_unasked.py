"""Bytes that an upstream sends unasked belong to no response."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import pytest

from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool


@pytest.fixture
async def listener() -> AsyncIterator[socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server


@pytest.mark.parametrize("unasked", [b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b""], ids=["bytes", "end"])
async def test_a_connection_on_which_something_arrived_is_not_used_again(listener, unasked):
    """The connection is not used again, also where the event loop has not told of the bytes yet."""
    pool = Pool(Origin.parse(f"http://127.0.0.1:{listener.getsockname()[1]}"))
    connection = await pool.acquire()
    upstream, _ = await asyncio.to_thread(listener.accept)
    with upstream:
        pool.release(connection)
        assert pool.take() is connection
        pool.release(connection)
        upstream.sendall(unasked) if unasked else upstream.shutdown(socket.SHUT_WR)
        assert pool.take() is None
        assert pool.counts()["active"] == pool.counts()["idle"] == 0
    await pool.close()
