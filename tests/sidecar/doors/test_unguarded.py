"""Writes that pass although a watched name stands in them."""

from __future__ import annotations

import pytest

from sidecar.doors.unguarded import SEARCHED, UnguardedWrites
from sidecar.extract.extractor import Extractor
from sidecar.model import Head
from sidecar.observability.telemetry import route_of
from sidecar.profile.loading import find_profile
from sidecar.testing import FakeTelemetry


def noted(method: str, target: str, *pieces: bytes, profile: str = "isa") -> int:
    telemetry = FakeTelemetry()
    shipped = find_profile(profile)
    watch = UnguardedWrites(shipped.session_names, Extractor(shipped).has_rule, telemetry)
    for piece in pieces:
        watch.look(Head(method, target.encode(), []), piece)
    return telemetry.notes.count(("unguarded_write",))


NAMED = b'{"session_id": "s1"}'


@pytest.mark.parametrize(
    ("method", "target", "body", "count"),
    [
        ("POST", "/elsewhere", NAMED, 1),
        ("PUT", "/elsewhere", b"session_id=s1", 1),
        ("PATCH", "/elsewhere?session_id=s1", b"", 1),
        ("POST", "/elsewhere", b'{"message": "hello"}', 0),
        ("GET", "/elsewhere?session_id=s1", b"", 0),
        ("DELETE", "/elsewhere?session_id=s1", b"", 0),
        ("POST", "/api/v1/memories/session/s1/deactivate", NAMED, 0),
    ],
)
def test_only_writes_that_no_rule_speaks_of_are_noted(method: str, target: str, body: bytes, count: int) -> None:
    assert noted(method, target, body) == count


def test_the_names_are_the_profiles() -> None:
    assert find_profile("isa").session_names == {"session_id"}
    assert "run_id" in find_profile("mem0").session_names
    assert noted("POST", "/elsewhere", b'{"run_id": "r"}', profile="mem0") == 1


async def test_only_the_first_piece_of_a_body_is_searched() -> None:
    telemetry = FakeTelemetry()
    watch = UnguardedWrites(["session_id"], lambda _head: False, telemetry)
    pieces = iter([{"body": b"nothing", "more_body": True}, {"body": NAMED}])

    async def receive() -> dict[str, object]:
        return next(pieces)

    looking = watch.looking(Head("POST", b"/x", []), receive)
    assert [(await looking())["body"], (await looking())["body"]] == [b"nothing", NAMED]
    assert telemetry.notes == []


def test_only_the_beginning_of_a_large_piece_is_searched() -> None:
    assert noted("POST", "/x", b" " * SEARCHED + NAMED) == 0


@pytest.mark.parametrize(
    ("path", "route"),
    [
        ("/api/v1/memories", "/api/v1/memories"),
        ("/things/17/edit", "/things/*/edit"),
        ("/s/9f0c6b3e-51a7-4b2c-8d11-0242ac120002", "/s/*"),
        ("/s/abcdefghijklmnopqrstuvwxyz", "/s/*"),
    ],
)
def test_a_route_has_no_ids(path: str, route: str) -> None:
    assert route_of(path) == route
