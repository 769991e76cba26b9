"""The state table of the upstream connection holds, row by row, against a real upstream; its `repr` names the state."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.response import ResponseTimeout
from tests.support.eventually import eventually
from tests.support.state_table import state_table

TABLE = state_table("http/client/connection.py")
HEAD = b"POST / HTTP/1.1\r\nHost: upstream\r\nContent-Length: 5\r\n\r\n"
REQUEST = HEAD + b"hello"
RESPONSE_HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
UNTIL_CLOSE = b"HTTP/1.1 200 OK\r\n\r\nok"
INTERIM = b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
SWITCHING = b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: echo\r\nConnection: upgrade\r\n\r\n"

SENT: dict[str, bytes] = {
    "bytes": b"x",
    "response head": RESPONSE_HEAD,
    "whole response": RESPONSE_HEAD + b"ok",
    "response and more": RESPONSE_HEAD + b"okmore",
    "interim response": INTERIM,
    "switching protocols": SWITCHING,
    "rest of the response": b"ok",
}
"""What the upstream sends."""

DONE: dict[str, Callable[[UpstreamConnection], None]] = {
    "rest of the request": lambda connection: (connection.write(b"hello"), connection.finish_request())[0],
    "deadline": lambda connection: connection.fail(ResponseTimeout("late")),
    "abort": UpstreamConnection.abort,
}
"""What the borrower or the pool does."""


async def bring_into(state: str, event: str, connection: UpstreamConnection, upstream, receiver) -> None:
    """Bring a new connection into a state of the table."""
    if state == "idle":
        return
    upgrade = event == "switching protocols"
    if state == "sending":
        connection.start(receiver, HEAD, method="POST", complete=False)
    else:
        connection.start(receiver, REQUEST, method="POST", upgrade=upgrade, complete=True)
    await upstream.accepted[-1][0].readexactly(len(HEAD))
    if state == "receiving":
        upstream.send(UNTIL_CLOSE if event == "end of stream, as framed" else RESPONSE_HEAD)
        await eventually(lambda: receiver.told)
        receiver.told.clear()


@pytest.mark.parametrize("row", TABLE, ids=lambda row: f"{row['state']}, {row['event']}")
async def test_each_row_of_the_state_table_holds(row: dict[str, str], upstream, receiver) -> None:
    """Each event leads to the next state, and the receiver is told what the table says, and no more."""
    pool = upstream.pool()
    connection = await pool.acquire()
    await eventually(lambda: upstream.accepted)
    await bring_into(row["state"], row["event"], connection, upstream, receiver)
    assert connection.state == row["state"]
    event = row["event"]
    if event in SENT:
        upstream.send(SENT[event])
    elif event.startswith("end of stream"):
        upstream.end()
    elif event.startswith("start"):
        whole = event == "start, a whole request"
        connection.start(receiver, REQUEST if whole else HEAD, method="POST", complete=whole)
    else:
        DONE[event](connection)
    told = [row["receiver"]] if row["receiver"] else []
    await eventually(lambda: (connection.state, receiver.told[-1:]) == (row["next"], told))
    if receiver.transport is not None:
        receiver.transport.abort()
    await pool.close()


def test_the_table_names_every_state() -> None:
    """The table has a row for each state that the test brings a connection into."""
    named = {row[column] for row in TABLE for column in ("state", "next")}
    assert named == {"idle", "sending", "awaiting", "receiving", "switched", "closed"}


async def test_its_repr_says_where_it_leads_and_what_it_waits_for(upstream, receiver) -> None:
    pool = upstream.pool(response_timeout=60.0)
    connection = await pool.acquire()
    assert repr(connection) == f"<UpstreamConnection to http://127.0.0.1:{upstream.port} idle, new>"
    connection.start(receiver, REQUEST, method="POST", complete=True)
    assert f"http://127.0.0.1:{upstream.port} awaiting for " in repr(connection)
    assert ", due in " in repr(connection)
    await eventually(lambda: upstream.accepted)
    connection.hold_reading()
    assert "reading held" in repr(connection)
    connection.abort()
    assert "closed" in repr(connection)
    assert "connecting" in repr(UpstreamConnection(pool))
    await pool.close()
