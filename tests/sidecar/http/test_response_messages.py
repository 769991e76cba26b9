"""A response as ASGI messages: what it asks of the upstream connection that it comes from."""

from __future__ import annotations

import asyncio

from sidecar.http.framing import ForwardedHead, Framing
from sidecar.http.response_messages import HIGH_WATER, ResponseMessages

HEAD = ForwardedHead(200, b"OK", [(b"Content-Length", b"%d" % (HIGH_WATER + 1))], Framing(length=HIGH_WATER + 1))


class Line:
    """An upstream connection of which only the reading matters."""

    held = False

    def pause_reading(self) -> None:
        self.held = True

    def resume_reading(self) -> None:
        self.held = False


def client(sent: list[dict]) -> tuple[ResponseMessages, Line]:
    """Give a client whose messages go to `sent`, and the connection that it follows."""

    async def send(message) -> None:
        sent.append(message)

    messages, line = ResponseMessages(None, send), Line()
    messages.follow(line)
    return messages, line


async def test_a_whole_response_does_not_hold_a_connection_that_serves_others():
    """The connection is back in the pool when a whole response comes, however long that is."""
    sent = []
    messages, line = client(sent)
    body = b"x" * (HIGH_WATER + 1)
    messages.whole(HEAD, body)
    assert not line.held
    over = asyncio.get_running_loop().create_future()
    over.set_result(None)
    await messages.pass_on(over)
    assert [message["type"] for message in sent] == ["http.response.start", "http.response.body"]
    assert (sent[1]["body"], sent[1]["more_body"]) == (body, False)


async def test_a_response_in_pieces_holds_its_connection():
    """The upstream is not read while too much waits to be sent."""
    messages, line = client([])
    messages.begin(HEAD)
    messages.piece(b"x" * (HIGH_WATER + 1))
    assert line.held
