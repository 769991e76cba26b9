"""The `SessionService` port: the fake, and the HTTP adapter over a real session service, keep the same promises."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

import httpx
import pytest

from sidecar.guard.ports import SessionService
from sidecar.guard.verdicts import Absent, Conflict, Created, Found, Gone
from sidecar.model import Reference, Session, SessionStatus
from sidecar.profile.session_api import DEFAULT_API
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.discovery import FixedAddress
from sidecar.session_client.transport import Transport
from sidecar.testing import FakeSessionService, FakeTelemetry
from tests.support.processes import run_to_end, running

_numbers = itertools.count()


class World(Protocol):
    """A session service, and the power to change what it holds."""

    service: SessionService

    async def end(self, session_id: str) -> None: ...

    async def delete(self, session_id: str) -> None: ...


class Fake:
    def __init__(self) -> None:
        self.service = FakeSessionService()

    async def end(self, session_id: str) -> None:
        owner = self.service.sessions[session_id].owner
        self.service.add(session_id, owner, SessionStatus.ENDED)

    async def delete(self, session_id: str) -> None:
        self.service.add(session_id, None, SessionStatus.DELETED)


@dataclass
class Real:
    service: HttpSessionService
    client: httpx.AsyncClient

    async def end(self, session_id: str) -> None:
        (await self.client.post(f"/api/v1/sessions/{session_id}/end")).raise_for_status()

    async def delete(self, session_id: str) -> None:
        (await self.client.delete(f"/api/v1/sessions/{session_id}")).raise_for_status()


@pytest.fixture(scope="module")
def real_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The base URL of a session service in a process of its own."""
    home: Path = tmp_path_factory.mktemp("session-service")
    env = {
        "SESSION_DATABASE_URL": f"sqlite:///{home}/sessions.db",
        "SESSION_SERVICE_LISTEN": "127.0.0.1:0",
        "SESSION_SERVICE_TOKEN": "secret",
    }
    run_to_end("session_service", "migrate", env=env, cwd=home)
    with running("session_service", "serve", role="session-service", env=env, cwd=home) as process:
        yield process.url()


@pytest.fixture(params=["fake", "real"])
async def world(request: pytest.FixtureRequest) -> AsyncIterator[World]:
    if request.param == "fake":
        yield Fake()
        return
    url: str = request.getfixturevalue("real_service")
    transport = Transport()
    discovery = FixedAddress(url)
    service = HttpSessionService(transport, discovery, FakeTelemetry(), DEFAULT_API, token="secret", timeout=30.0)
    headers = {"authorization": "Bearer secret"}
    async with httpx.AsyncClient(base_url=url, headers=headers, trust_env=False, timeout=30.0) as client:
        yield Real(service, client)
    await transport.aclose()


@pytest.fixture
def ann() -> Reference:
    """A session that was never named before."""
    return Reference(f"s-{next(_numbers)}", "ann")


@pytest.fixture
def bob(ann: Reference) -> Reference:
    """The same session, named by another user."""
    return Reference(ann.session_id, "bob")


ANNS = Session("ann", SessionStatus.ACTIVE)


async def test_what_nobody_created_is_absent(world, ann):
    """A session that was never created is absent, and stays so after a look."""
    assert await world.service.look(ann) == Absent()
    assert await world.service.look(ann) == Absent()


async def test_ensure_creates_what_is_missing_and_finds_what_is_there(world, ann):
    """`ensure` creates a missing session and finds an existing one."""
    assert await world.service.ensure(ann) == Created(ANNS)
    assert await world.service.ensure(ann) == Found(ANNS)
    assert await world.service.look(ann) == Found(ANNS)


async def test_another_users_session_is_a_conflict(world, ann, bob):
    """Another user's session is a conflict to a look and to `ensure`, and keeps its owner."""
    await world.service.ensure(ann)
    assert await world.service.look(bob) == Conflict()
    assert await world.service.ensure(bob) == Conflict()
    assert await world.service.look(ann) == Found(ANNS)


async def test_an_ended_session_stays_ended(world, ann):
    """`ensure` finds an ended session and leaves it ended."""
    await world.service.ensure(ann)
    await world.end(ann.session_id)
    assert await world.service.look(ann) == Found(Session("ann", SessionStatus.ENDED))
    assert await world.service.ensure(ann) == Found(Session("ann", SessionStatus.ENDED))


async def test_a_deleted_session_is_gone_for_everybody(world, ann, bob):
    """A deleted session is gone to each user, and `ensure` does not bring it back."""
    await world.service.ensure(ann)
    await world.delete(ann.session_id)
    for reference in (ann, bob):
        assert await world.service.look(reference) == Gone()
        assert await world.service.ensure(reference) == Gone()


async def test_many_at_the_same_instant_create_one_session(world, ann):
    """Of many `ensure` calls at one instant one creates the session, and the others find it."""
    answers = await asyncio.gather(*(world.service.ensure(ann) for _ in range(20)))
    assert answers.count(Created(ANNS)) == 1
    assert answers.count(Found(ANNS)) == 19


async def test_two_users_at_the_same_instant_leave_one_owner(world, ann, bob):
    """Of two users at one instant one creates the session, and the other conflicts."""
    answers = await asyncio.gather(world.service.ensure(ann), world.service.ensure(bob))
    assert {type(answer) for answer in answers} == {Created, Conflict}


async def test_every_safe_character_is_an_id_like_any_other(world, ann):
    """An id of any safe characters comes back byte for byte."""
    odd = Reference(f"{ann.session_id}.~_:@|+=-Az9", "a.~_:@|+=-Az9")
    assert await world.service.ensure(odd) == Created(Session(odd.user_id, SessionStatus.ACTIVE))
    assert await world.service.look(odd) == Found(Session(odd.user_id, SessionStatus.ACTIVE))
