"""The id of a request: what the client sent where that can be used, else a new one, and never twice the same."""

from __future__ import annotations

import pytest

from sidecar.model import Head
from sidecar.request_context import RequestContext, current_request, enter_request, on_behalf_of

TRACE = b"00-" + b"ab" * 16 + b"-" + b"01" * 8 + b"-01"


def request_with(*headers: tuple[bytes, bytes]) -> RequestContext:
    return RequestContext(Head("POST", b"/a?b", headers))


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ([(b"X-Request-Id", b"one")], "one"),
        ([(b"traceparent", TRACE), (b"x-request-id", b"one")], "one"),
        ([(b"traceparent", TRACE)], "ab" * 16),
    ],
)
def test_the_clients_own_id_is_taken(headers: list[tuple[bytes, bytes]], expected: str) -> None:
    """The request id is taken before the trace id, in any letter case of its field name."""
    assert request_with(*headers).id == expected


@pytest.mark.parametrize(
    "header",
    [
        (b"x-request-id", b""),
        (b"x-request-id", b"a b"),
        (b"x-request-id", b"a\xff"),
        (b"x-request-id", b"a" * 201),
        (b"traceparent", b"00-" + b"0" * 32 + b"-" + b"01" * 8 + b"-01"),
        (b"traceparent", b"00-" + b"ab" * 16 + b"-" + b"0" * 16 + b"-01"),
        (b"traceparent", b"ff-" + b"ab" * 16 + b"-" + b"01" * 8 + b"-01"),
        (b"traceparent", b"nonsense"),
    ],
)
def test_what_no_log_should_hold_is_replaced(header: tuple[bytes, bytes]) -> None:
    """The request keeps the new id."""
    request = request_with(header)
    assert len(request.id) == 32
    assert request.id == request.id
    assert request.id != request_with(header).id


def test_a_call_for_the_request_carries_its_id_and_its_trace() -> None:
    """The call carries no other field of the request."""
    request = request_with((b"Traceparent", TRACE), (b"Tracestate", b"a=b"), (b"Authorization", b"secret"))
    assert request.passed_on() == [
        (b"x-request-id", b"ab" * 16),
        (b"traceparent", TRACE),
        (b"tracestate", b"a=b"),
    ]


async def test_a_request_that_was_begun_goes_on() -> None:
    """A request with the same fields continues the one that was begun."""
    headers = [(b"x-request-id", b"one")]
    assert enter_request(Head("GET", b"/", headers)) is enter_request(Head("GET", b"/", headers))
    assert enter_request(Head("GET", b"/", [(b"x-request-id", b"two")])).id == "two"


def test_a_callback_acts_for_a_request_and_no_longer() -> None:
    """After the callback no request is current."""
    with on_behalf_of(Head("GET", b"/", [])) as request:
        assert current_request() is request
    assert current_request() is None
