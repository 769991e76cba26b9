"""A response as ASGI messages: what it asks of the upstream connection that it comes from."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.http.asgi_wire import AsgiWire
from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import Pool
from sidecar.http.framing import ForwardedHead, Framing
from sidecar.http.response_messages import HIGH_WATER, ResponseMessages
from tests.support.wire import raw_upstream

HEAD = ForwardedHead(200, b"OK", [(b"Content-Length", b"%d" % (HIGH_WATER + 1))], Framing(length=HIGH_WATER + 1))


@pytest.fixture
async def line():
    """An upstream connection."""
    async with raw_upstream() as upstream:
        pool = Pool(Origin.parse(upstream.url))
        yield await pool.acquire()
        await pool.close()


def client(sent: list[dict], line: UpstreamConnection) -> ResponseMessages:
    """Give a client whose messages go to `sent`, and which follows `line`."""

    async def send(message) -> None:
        sent.append(message)

    async def receive():
        raise AssertionError("nothing is received")

    wire = AsgiWire({"method": "GET", "path": "/", "headers": []}, receive, send)
    messages = ResponseMessages(wire, send)
    messages.follow(line)
    return messages


async def test_a_whole_response_does_not_hold_a_connection_that_serves_others(line):
    """The connection is back in the pool when a whole response comes, however long that is."""
    sent = []
    messages = client(sent, line)
    body = b"x" * (HIGH_WATER + 1)
    messages.whole(HEAD, body)
    assert "reading held" not in repr(line)
    over = asyncio.get_running_loop().create_future()
    over.set_result(None)
    await messages.pass_on(over)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[1]["body"], sent[1]["more_body"]) == (body, False)


async def test_a_response_in_pieces_holds_its_connection(line):
    """The upstream is not read while too much waits to be sent."""
    messages = client([], line)
    messages.begin(HEAD)
    messages.piece(b"x" * (HIGH_WATER + 1))
    assert "reading held" in repr(line)
