"""The pool against a real upstream: bounds, turns, ages, and what its `repr` says."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.http.client.connection import UpstreamConnection
from sidecar.http.client.origin import Origin
from sidecar.http.client.pool import LEAST_PLACES_TO_WAIT, Pool
from sidecar.http.client.response import ConnectFailed, ConnectionLost, NoFreeConnection, ResponseTimeout
from tests.support.eventually import eventually
from tests.support.ports import free_ports

REQUEST = b"GET / HTTP/1.1\r\nHost: upstream\r\n\r\n"
RESPONSE = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
EVENT_STREAM = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"


@pytest.mark.parametrize(
    ("url", "origin", "authority"),
    [
        ("http://memory", Origin("memory", 80), "memory"),
        ("http://memory:8080/path", Origin("memory", 8080), "memory:8080"),
        ("https://memory", Origin("memory", 443, tls=True), "memory"),
        ("http://[::1]:80", Origin("::1", 80), "[::1]"),
        ("unix:/run/memory.sock", Origin("localhost", 0, unix="/run/memory.sock"), "localhost"),
    ],
)
def test_an_origin_is_read_from_a_url(url: str, origin: Origin, authority: str) -> None:
    assert Origin.parse(url) == origin
    assert origin.authority == authority


@pytest.mark.parametrize("url", ["ftp://memory", "memory:80", "http://"])
def test_other_urls_are_no_origin(url: str) -> None:
    with pytest.raises(ValueError, match="is no upstream"):
        Origin.parse(url)


async def test_a_released_connection_is_the_next_one_taken(upstream) -> None:
    """The connection that was used last is taken first."""
    pool = upstream.pool()
    first, second = await pool.acquire(), await pool.acquire()
    assert pool.take() is None
    pool.release(first)
    pool.release(second)
    assert [pool.take(), pool.take(), pool.take()] == [second, first, None]
    await pool.close()


async def test_a_response_that_ends_releases_its_connection(upstream, receiver) -> None:
    pool = upstream.pool()
    connection = await pool.acquire()
    connection.start(receiver, REQUEST, method="GET", complete=True)
    await eventually(lambda: upstream.accepted)
    upstream.send(RESPONSE)
    await eventually(lambda: receiver.told[-1:] == ["end"])
    assert pool.take() is connection
    await pool.close()


async def test_requests_beyond_the_limit_get_connections_in_the_order_they_came(upstream) -> None:
    pool = upstream.pool(connections=1)
    connection = await pool.acquire()
    order: list[str] = []

    async def wait(name: str) -> None:
        got = await pool.acquire()
        order.append(name)
        pool.release(got)

    waiting = []
    for position, name in enumerate("abc", start=1):
        waiting.append(asyncio.create_task(wait(name)))
        await eventually(lambda count=position: pool.counts()["waiting"] == count)
    pool.release(connection)
    await asyncio.gather(*waiting)
    assert (order, len(upstream.accepted)) == (["a", "b", "c"], 1)
    await pool.close()


async def test_a_closed_connection_makes_room_for_a_new_one(upstream) -> None:
    """A request that waits for a connection opens one once another is closed."""
    pool = upstream.pool(connections=1)
    connection = await pool.acquire()
    waiting = asyncio.create_task(pool.acquire())
    await eventually(lambda: pool.counts()["waiting"])
    connection.abort()
    assert await waiting is not connection
    await pool.close()


async def test_a_request_that_gives_up_leaves_its_turn_to_the_next(upstream) -> None:
    """A request that gives up passes its turn on, also where it was given a connection at that moment."""
    pool = upstream.pool(connections=1)
    connection = await pool.acquire()
    leaving, staying = asyncio.create_task(pool.acquire()), asyncio.create_task(pool.acquire())
    await eventually(lambda: pool.counts()["waiting"] == 2)
    pool.release(connection)
    leaving.cancel()
    assert await staying is connection
    await pool.close()


async def test_a_connection_that_closed_on_its_way_to_a_request_that_gave_up_costs_no_place(upstream) -> None:
    pool = upstream.pool(connections=1)
    connection = await pool.acquire()
    leaving = asyncio.create_task(pool.acquire())
    await eventually(lambda: pool.counts()["waiting"])
    pool.release(connection)
    connection.abort()
    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    assert await pool.acquire() is not connection
    assert pool.counts() == {"idle": 0, "active": 1, "streaming": 0, "waiting": 0}
    await pool.close()


async def test_waiting_ends_at_the_connect_timeout(upstream) -> None:
    pool = upstream.pool(connections=1, connect_timeout=0.05)
    await pool.acquire()
    with pytest.raises(NoFreeConnection, match="came free in time"):
        await pool.acquire()
    assert pool.counts()["waiting"] == 0
    await pool.close()


async def test_only_so_many_requests_may_wait(upstream) -> None:
    pool = upstream.pool(connections=1)
    await pool.acquire()
    waiting = [asyncio.create_task(pool.acquire()) for _ in range(LEAST_PLACES_TO_WAIT)]
    await eventually(lambda: pool.counts()["waiting"] == LEAST_PLACES_TO_WAIT)
    with pytest.raises(NoFreeConnection, match="too many requests"):
        await pool.acquire()
    await pool.close()
    ends = await asyncio.gather(*waiting, return_exceptions=True)
    assert {type(end) for end in ends} == {NoFreeConnection}
    assert pool.counts()["active"] == 0


async def test_a_fresh_connection_takes_the_place_of_an_idle_one(upstream) -> None:
    """A repeated request gets a fresh connection, and an idle one is closed for it."""
    pool = upstream.pool(connections=1)
    old = await pool.acquire()
    pool.release(old)
    fresh = await pool.acquire(fresh=True)
    assert (fresh is not old, old.state) == (True, "closed")
    await pool.close()


async def test_an_event_stream_leaves_the_count(upstream, receiver) -> None:
    """An event stream leaves the count of ordinary connections."""
    pool = upstream.pool(connections=1)
    streaming = await pool.acquire()
    streaming.start(receiver, REQUEST, method="GET", complete=True)
    await eventually(lambda: upstream.accepted)
    upstream.send(EVENT_STREAM)
    await eventually(lambda: receiver.told == ["head"])
    assert pool.counts() == {"idle": 0, "active": 0, "streaming": 1, "waiting": 0}
    assert await pool.acquire() is not streaming
    await pool.close()


async def test_an_idle_connection_is_closed_after_its_time(upstream) -> None:
    pool = upstream.pool(idle=0.05)
    connection = await pool.acquire()
    pool.release(connection)
    await eventually(lambda: connection.state == "closed")
    assert pool.take() is None
    await pool.close()


async def test_a_pool_without_connections_wakes_nothing(upstream) -> None:
    """An instance that is gone for good leaves no timer behind, and one that comes back is watched anew."""
    pool = upstream.pool(idle=0.05)
    for _ in range(2):
        connection = await pool.acquire()
        assert pool._sweeper is not None
        pool.release(connection)
        await eventually(lambda: pool._sweeper is None)
        assert connection.state == "closed"
    await pool.close()


async def test_a_response_that_does_not_begin_in_time_fails(upstream, receiver) -> None:
    pool = upstream.pool(response_timeout=0.05)
    connection = await pool.acquire()
    connection.start(receiver, REQUEST, method="GET", complete=True)
    await eventually(lambda: receiver.told == ["failed"])
    assert isinstance(receiver.failure, ResponseTimeout)
    await pool.close()


async def test_an_upstream_that_does_not_listen_costs_no_place() -> None:
    (port,) = free_ports(1)
    pool = Pool(Origin("127.0.0.1", port), connections=1)
    for _ in range(3):
        with pytest.raises(ConnectFailed, match="cannot be reached"):
            await pool.acquire()
    assert pool.counts()["active"] == 0
    await pool.close()


async def test_a_host_that_is_no_name_fails_like_one_that_cannot_be_reached() -> None:
    """An empty label, or one of over 63 characters (RFC 1035, section 2.3.4): a registry may hold anything."""
    for host in ("sessions..internal", f"{'a' * 64}.internal"):
        pool = Pool(Origin(host, 80), connections=1)
        with pytest.raises(ConnectFailed, match="cannot be reached"):
            await pool.acquire()
        assert pool.counts()["active"] == 0
        await pool.close()


async def test_closing_fails_what_is_under_way(upstream, receiver) -> None:
    pool = upstream.pool()
    connection = await pool.acquire()
    connection.start(receiver, REQUEST, method="GET", complete=True)
    await pool.close()
    assert isinstance(receiver.failure, ConnectionLost)
    assert pool.counts() == {"idle": 0, "active": 0, "streaming": 0, "waiting": 0}


async def test_its_repr_says_where_it_leads_and_how_full_it_is(upstream) -> None:
    pool = upstream.pool(connections=8)
    connections: list[UpstreamConnection] = [await pool.acquire() for _ in range(3)]
    pool.release(connections[0])
    assert repr(pool) == (
        f"<Pool to http://127.0.0.1:{upstream.port}: 1 idle, 2 active, 0 streaming, 0 waiting; at most 8>"
    )
    await pool.close()


@pytest.mark.parametrize("url", ["http://memory:80", "https://[::1]:443", "unix:/run/memory.sock"])
def test_an_origin_is_written_as_its_url(url: str) -> None:
    assert str(Origin.parse(url)) == url
