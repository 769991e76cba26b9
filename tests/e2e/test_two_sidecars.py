"""Two sidecars before the same services agree, without knowing of each other."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from tests.support.callers import OverPool
from tests.support.platform import FREE_PORTS, STORE, both_services, metric, new_id, wrapped_memories
from tests.support.processes import Running, running

COUNT = 1000


class Pair:
    """Both sidecars and what stands behind them."""

    def __init__(self, sessions: Running, memories: Running, sidecars: list[Running]) -> None:
        self.sessions, self.memories, self.sidecars = sessions, memories, sidecars

    async def write_all(self, session: str, users: list[str]) -> Counter[tuple[str, int]]:
        """Write once for each user, all at the same time, by turns through either sidecar."""
        # httpx's own pool takes minutes over a thousand waiting requests.
        async with httpx.AsyncClient(transport=OverPool(200), timeout=60) as http:

            async def write(number: int, user: str) -> tuple[str, int]:
                body = {"user_id": user, "session_id": session, "message_content": str(number)}
                response = await http.post(self.sidecars[number % 2].url() + STORE, json=body)
                return user, response.status_code

            return Counter(await asyncio.gather(*(write(number, user) for number, user in enumerate(users))))

    def ensured(self) -> list[float]:
        """How often each sidecar asked for a session to be made."""
        texts = [httpx.get(sidecar.url("admin") + "/metrics", trust_env=False).text for sidecar in self.sidecars]
        return [metric(text, "sidecar_session_calls_total", operation="ensure") for text in texts]

    def stored(self, user: str, session: str) -> list[str]:
        """The messages that were stored for the user."""
        path = f"{self.memories.url()}/api/v1/memories/session/{session}/context"
        found = httpx.get(path, params={"user_id": user, "max_recent_messages": 1000}, trust_env=False).json()
        return [message["message_content"] for message in found["recent_messages"]]

    def owner(self, session: str) -> str:
        """Whom the session service has as the owner."""
        return str(httpx.get(f"{self.sessions.url()}/api/v1/sessions/{session}", trust_env=False).json()["user_id"])


@pytest.fixture(scope="module", params=["serve", "wrap"])
def pair(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    directory: Path = tmp_path_factory.mktemp("pair")
    with both_services(directory) as (sessions, memories):
        if request.param == "wrap":
            with wrapped_memories(directory, sessions) as first, wrapped_memories(directory, sessions) as second:
                yield Pair(sessions, memories, [first, second])
            return
        env = {
            **FREE_PORTS,
            "SIDECAR_UPSTREAM": memories.url(),
            "SIDECAR_SESSION_SERVICE": sessions.url(),
        }
        with (
            running("sidecar", "serve", role="sidecar", env=env, cwd=directory) as first,
            running("sidecar", "serve", role="sidecar", env=env, cwd=directory) as second,
        ):
            yield Pair(sessions, memories, [first, second])


async def test_a_thousand_first_writes_of_one_id_are_one_question_a_sidecar_and_one_session(pair: Pair) -> None:
    """Every one is stored, none twice."""
    user, session = new_id("user"), new_id("session")
    before = pair.ensured()
    assert await pair.write_all(session, [user] * COUNT) == {(user, 200): COUNT}
    assert [after - earlier for after, earlier in zip(pair.ensured(), before, strict=True)] == [1, 1]
    assert sorted(pair.stored(user, session), key=int) == [str(number) for number in range(COUNT)]
    assert pair.owner(session) == user


async def test_two_users_racing_for_one_new_id_through_two_sidecars_leave_one_owner(pair: Pair) -> None:
    """All writes of one go through, all of the other are refused, and only the owner's are stored."""
    users, session = [new_id("ann"), new_id("bob")], new_id("session")
    # Each user writes through both sidecars: the order of users has another rhythm than that of sidecars.
    outcome = await pair.write_all(session, [users[number // 2 % 2] for number in range(100)])
    owner = pair.owner(session)
    (loser,) = set(users) - {owner}
    assert outcome == {(owner, 200): 50, (loser, 403): 50}
    assert len(pair.stored(owner, session)) == 50
    assert pair.stored(loser, session) == []
