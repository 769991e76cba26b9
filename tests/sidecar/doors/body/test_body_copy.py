"""A copy of a request body that is taken while the body passes."""

from __future__ import annotations

import pytest
from starlette.types import Message

from sidecar.doors.body.body_copy import BodyCopy
from sidecar.doors.body.bounded_body import BodyBudget

PIECES = (b"a" * 60, b"b" * 60, b"c" * 10)


async def copy_of(pieces: tuple[bytes, ...], budget: BodyBudget, *, room_after: int | None = None) -> BodyCopy:
    """Pass a body on. What others hold of the budget is given back after so many pieces."""
    messages = [{"type": "http.request", "body": piece, "more_body": True} for piece in pieces]
    messages[-1]["more_body"] = False

    async def receive() -> Message:
        return messages.pop(0)

    with budget.lease() as lease, budget.lease() as others:
        others.take(50)
        copy = BodyCopy([], receive, lease, budget.limit)
        for place in range(len(pieces)):
            if place == room_after:
                others.close()
            await copy.receive()
    return copy


async def test_a_copy_that_fits_is_whole() -> None:
    copy = await copy_of(PIECES, BodyBudget(limit=1000, total=1000))
    assert (copy.is_whole, b"".join(copy.pieces)) == (True, b"".join(PIECES))


@pytest.mark.parametrize("total", [100, 150])
@pytest.mark.parametrize("room_after", [None, 2])
async def test_a_copy_that_found_no_room_is_not_whole(total: int, room_after: int | None) -> None:
    """Nor does it become whole with the last piece, whether there is room again by then or not."""
    copy = await copy_of(PIECES, BodyBudget(limit=100, total=total), room_after=room_after)
    assert not copy.is_whole
