"""Bodies are read within limits, held within a budget, and handed on as they came."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Sequence

import pytest
from starlette.types import Message, Receive

from sidecar.doors.body.bounded_body import (
    BodyBudget,
    BodyRefused,
)
from sidecar.http.client.response import ClientGone
from sidecar.model import RETRY_AFTER, Headers, Reason, Refusal

TOO_LARGE = Refusal(Reason.BODY_TOO_LARGE, "The body has more than 10 bytes, the most that is read for a session id.")


def bodies(*, limit: int = 10, total: int = 1000) -> BodyBudget:
    return BodyBudget(limit=limit, total=total)


def sending(*pieces: bytes) -> Receive:
    """A connection that brings these pieces, and then that the client has gone."""
    messages = [
        {"type": "http.request", "body": piece, "more_body": place < len(pieces) - 1}
        for place, piece in enumerate(pieces)
    ]

    async def receive() -> Message:
        return messages.pop(0) if messages else {"type": "http.disconnect"}

    return receive


async def never() -> Message:
    """A connection that brings nothing."""
    return await asyncio.get_running_loop().create_future()


async def untouched() -> Message:
    """A connection that must not be asked."""
    raise AssertionError("nothing should have been received")


async def refusal(budget: BodyBudget, receive: Receive, headers: Headers = ()) -> Refusal:
    with pytest.raises(BodyRefused) as error:
        async with budget.hold(headers, receive):
            raise AssertionError("the body should have been refused")
    return error.value.refuse


@pytest.mark.parametrize(
    "pieces", [[b""], [b"abc"], [b"a", b"b", b"c"], [b"", b"abc", b""], [b"0123456789"], [b"01234", b"56789"]]
)
async def test_a_body_is_read_whole(pieces: Sequence[bytes]) -> None:
    """The pieces of a body are joined."""
    async with bodies().hold([], sending(*pieces)) as body:
        assert body.raw == b"".join(pieces)
        assert body.content == body.raw


async def test_messages_may_leave_out_what_is_empty() -> None:
    """A message without `body` or `more_body` has their defaults."""

    async def receive() -> Message:
        return {"type": "http.request"}

    async with bodies().hold([], receive) as body:
        assert body.raw == b""


async def test_a_declared_length_over_the_limit_is_refused_before_anything_is_received() -> None:
    """A declared length over the limit is refused before the client is told to continue."""
    assert await refusal(bodies(), untouched, [(b"content-length", b"11")]) == TOO_LARGE
    async with bodies().hold([(b"content-length", b"10")], sending(b"x" * 10)) as body:
        assert len(body.raw) == 10


@pytest.mark.parametrize("pieces", [[b"x" * 11], [b"x" * 10, b"x"], [b"x"] * 11])
async def test_a_body_that_grows_over_the_limit_is_refused(pieces: Sequence[bytes]) -> None:
    """A chunked body is refused as soon as it is over the limit."""
    budget = bodies()
    assert await refusal(budget, sending(*pieces)) == TOO_LARGE
    assert budget.held == 0


async def test_a_coding_that_is_not_decoded_is_refused_before_anything_is_received() -> None:
    """A coding that is not decoded is refused before anything is received."""
    found = await refusal(bodies(), untouched, [(b"content-encoding", b"compress")])
    assert found.reason is Reason.UNSUPPORTED_ENCODING


async def test_a_coded_body_is_decoded_for_reading_alone() -> None:
    """A coded body is decoded for the extractor and forwarded as it came; the limit holds for both."""
    coded = gzip.compress(b"a" * 40)
    headers = [(b"content-encoding", b"gzip")]
    async with bodies(limit=40).hold(headers, sending(coded[:5], coded[5:])) as body:
        assert (body.raw, body.content) == (coded, b"a" * 40)
    found = await refusal(bodies(limit=39), sending(coded), headers)
    assert found == Refusal(Reason.BODY_TOO_LARGE, "The body, decoded, has more than 39 bytes.")
    budget = bodies(limit=40)
    found = await refusal(budget, sending(b"junk"), headers)
    assert found.reason is Reason.UNREADABLE_BODY
    assert budget.held == 0


async def test_a_body_that_stops_coming_is_refused() -> None:
    """A body whose next piece does not come in time is refused."""
    budget = bodies()

    async def stopped() -> Message:
        if budget.held:
            raise TimeoutError
        return {"type": "http.request", "body": b"abc", "more_body": True}

    found = await refusal(budget, stopped)
    assert found == Refusal(Reason.BODY_TIMEOUT, "The rest of the request body did not come in time.")
    assert budget.held == 0


async def test_a_client_that_goes_away_is_nobody_to_answer() -> None:
    """A disconnect at the beginning or half way raises, and no answer is given."""
    budget = bodies()

    async def half() -> Message:
        return {"type": "http.request", "body": b"abc", "more_body": True} if not budget.held else gone

    gone: Message = {"type": "http.disconnect"}
    for receive in (sending(), half):
        with pytest.raises(ClientGone):
            async with budget.hold([], receive):
                raise AssertionError("there is no body")
        assert budget.held == 0


async def test_all_bodies_together_have_a_limit() -> None:
    """The bytes that are held count, not those declared, and exactly the limit is still allowed."""
    budget = bodies(total=15)
    async with budget.hold([], sending(b"x" * 10)):
        assert budget.held == 10
        found = await refusal(budget, sending(b"x" * 6))
        assert found == Refusal(
            Reason.OVERLOADED, "Too many request bodies are being read at the moment.", retry_after=RETRY_AFTER
        )
        assert budget.held == 10
        async with budget.hold([(b"content-length", b"5")], sending(b"xx", b"xxx")):
            assert budget.held == 15
        assert budget.held == 10
    assert budget.held == 0


async def test_what_was_held_is_given_back_whatever_happens() -> None:
    """The bytes of a body are given back also where the request fails or is cancelled."""
    budget = bodies(total=100)
    with pytest.raises(ZeroDivisionError):
        async with budget.hold([], sending(b"abc")):
            raise ZeroDivisionError
    assert budget.held == 0

    is_stuck = asyncio.Event()

    async def stuck() -> Message:
        if budget.held == 9:
            is_stuck.set()
            return await never()
        return {"type": "http.request", "body": b"abc", "more_body": True}

    async def hold() -> None:
        async with budget.hold([], stuck):
            raise AssertionError("the body never ends")

    task = asyncio.create_task(hold())
    await is_stuck.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert budget.held == 0


async def test_an_error_of_the_request_itself_is_not_taken_for_a_refusal() -> None:
    """A time-out raised inside the block is passed on as it is."""
    with pytest.raises(TimeoutError):
        async with bodies().hold([], sending(b"abc")):
            raise TimeoutError


async def test_a_body_is_replayed_and_then_the_connection_speaks_again() -> None:
    """The application receives the body in one piece, and after it the client's disconnect."""
    receive = sending(b"a", b"b")
    async with bodies().hold([], receive) as body:
        assert await body.receive() == {"type": "http.request", "body": b"ab", "more_body": False}
        assert await body.receive() == {"type": "http.disconnect"}
