"""The configurations of deploy/ in the real proxies, before the authoriser: the table of decisions through each.

Ten cases for each proxy run by default where its program is installed, and all of them with --long.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sidecar.doors.refusal import STATUS
from sidecar.model import Reason
from tests.doors.cases import BY_HEAD, CASES, Case
from tests.support.authorizing import Answer, World, ask, authorizing
from tests.support.fronts import FRONTS, Front, fronting

BY_DEFAULT = {
    "a write to a missing session",
    "a session in the path, its user in the query",
    "an urlencoded form",
    "a compressed body",
    "a read",
    "a write outside the guarded prefixes",
    "a session of another user",
    "a body over the limit",
    "a doubled slash in the path",
    "an MCP write to a session of another user",
}

# What the proxy cannot express, or answers itself: (proxy, case) to (status, reason).
UNSEEN = (400, "unreadable_body")
OWN_ANSWERS: dict[tuple[str, str], tuple[int, str | None]] = {
    # Without a body these two ask as a proxy does that keeps bodies to itself.
    ("envoy", "a write without a body"): UNSEEN,
    ("traefik", "a write without a body"): UNSEEN,
    ("nginx", "a NUL in the path"): (400, None),
}


def expected(front: Front, case: Case) -> tuple[int, str | None]:
    """Status and reason: the case's own but for what the proxy keeps back, and never a status that would admit."""
    own = OWN_ANSWERS.get((front.name, case.name))
    if own is not None:
        return own
    if not front.sees_body and case.body and case.name not in BY_HEAD:
        return UNSEEN
    if case.reason is None:
        return 200, None
    return STATUS[Reason(case.reason)] if case.status < 300 else case.status, case.reason


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with authorizing(tmp_path_factory.mktemp("fronted")) as running:
        yield running


@pytest.fixture(scope="module", params=FRONTS, ids=str)
def fronted(request: pytest.FixtureRequest, world: World) -> Iterator[tuple[Front, str]]:
    with fronting(request.param, memories=world.memories_address, authz=world.authz) as address:
        yield request.param, address


def test_the_cases_that_run_by_default_exist() -> None:
    assert {case.name for case in CASES} >= BY_DEFAULT


@pytest.mark.parametrize(
    "case", [case if case.name in BY_DEFAULT else pytest.param(case, marks=pytest.mark.long) for case in CASES], ids=str
)
def test_a_proxy_decides_as_the_authoriser_says(fronted: tuple[Front, str], world: World, case: Case) -> None:
    front, address = fronted
    world.prepare(case)
    sessions, forwarded = world.all_sessions(), len(world.memories.seen)
    answer: Answer = ask(address, case.method, case.target, case.headers, case.body, chunked=case.chunked)
    status, reason = expected(front, case)
    assert (answer.status, answer.reason) == (status, reason), answer.body
    assert len(world.memories.seen) - forwarded == (status == 200)
    after = world.all_sessions()
    assert after - sessions <= set(case.creates)
    if status == 200:
        assert set(case.creates) <= after
    else:
        assert after == sessions
    if reason is not None and case.name != "a notification that is refused":
        assert reason.encode() in answer.body
