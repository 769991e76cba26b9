"""Messages of sessions over HTTP, on both databases."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Sequence

import httpx
import pytest

from memory_service import session_memories
from memory_service.model import Compression
from memory_service.summary import Spoken, summarize
from tests.support.memories import Clock

pytestmark = pytest.mark.asyncio(loop_scope="module")


async def store(client: httpx.AsyncClient, user: str, session: str, text: str, **fields: object) -> httpx.Response:
    body = {"user_id": user, "session_id": session, "message_content": text, **fields}
    return await client.post("/memories/session/store", json=body)


async def context(client: httpx.AsyncClient, user: str, session: str, **query: object) -> dict[str, object]:
    response = await client.get(f"/memories/session/{session}/context", params={"user_id": user, **query})
    assert response.status_code == 200
    return dict(response.json())


async def texts(client: httpx.AsyncClient, user: str, session: str, **query: object) -> list[str]:
    found = await context(client, user, session, **query)
    return [message["message_content"] for message in found["recent_messages"]]  # type: ignore[attr-defined]


async def test_a_message_is_stored_under_any_session(client: httpx.AsyncClient, user: str, session: str) -> None:
    """A session need not be known before."""
    response = await store(client, user, session, "hello")
    assert response.status_code == 200
    stored = response.json()
    assert stored == {
        "success": True,
        "memory_id": stored["id"],
        "id": stored["id"],
        "memory_type": "session",
        "session_id": session,
        "operation": "store_session_message",
        "message": "The message is stored.",
        "created_at": "2026-01-02T03:04:05.678901Z",
    }


async def test_context_shows_what_was_stored(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Defaults and given fields come back as they were understood."""
    first = (await store(client, user, session, "hello")).json()
    second = (
        await store(client, user, session, "你好 \t\n", message_type="ai", role="assistant", importance_score=0.9)
    ).json()
    assert await context(client, user, session) == {
        "session_found": True,
        "session_id": session,
        "user_id": user,
        "total_messages": 2,
        "recent_messages": [
            {
                "id": first["id"],
                "message_content": "hello",
                "message_type": "human",
                "role": "user",
                "importance_score": 0.5,
                "created_at": "2026-01-02T03:04:05.678901Z",
            },
            {
                "id": second["id"],
                "message_content": "你好 \t\n",
                "message_type": "ai",
                "role": "assistant",
                "importance_score": 0.9,
                "created_at": "2026-01-02T03:04:05.678901Z",
            },
        ],
        "summary": None,
    }


async def test_context_of_an_unknown_session_is_empty(client: httpx.AsyncClient, user: str, session: str) -> None:
    """An unknown session is an answer, not an error."""
    assert await context(client, user, session) == {
        "session_found": False,
        "session_id": session,
        "user_id": user,
        "total_messages": 0,
        "recent_messages": [],
        "summary": None,
    }


async def test_context_is_one_users(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Two users of one session id do not see each other's messages."""
    await store(client, user, session, "mine")
    await store(client, f"{user}-other", session, "theirs")
    assert await texts(client, user, session) == ["mine"]


async def test_ids_are_compared_byte_for_byte(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Case matters, and every character of the safe grammar and the full length is kept."""
    longest = "aA0._~:@|+=-".ljust(255, "x")
    await store(client, user, longest, "long")
    await store(client, user, session, "lower")
    await store(client, user, session.upper(), "upper")
    assert await texts(client, user, longest) == ["long"]
    assert await texts(client, user, session) == ["lower"]
    assert await texts(client, user.upper(), session) == []


async def test_recent_messages_are_the_latest_oldest_first(
    client: httpx.AsyncClient, user: str, session: str, clock: Clock
) -> None:
    """Order is the order of storing, even if the clock stands still or runs backwards."""
    for number in range(7):
        await store(client, user, session, f"m{number}")
        clock.pass_seconds((-60, 0)[number % 2])
    assert await texts(client, user, session) == [f"m{number}" for number in range(7)]
    assert await texts(client, user, session, max_recent_messages=3) == ["m4", "m5", "m6"]
    found = await context(client, user, session, max_recent_messages=0)
    assert found["session_found"] is True
    assert found["total_messages"] == 7
    assert found["recent_messages"] == []


async def test_concurrent_messages_are_all_stored_once(client: httpx.AsyncClient, user: str, session: str) -> None:
    """200 at once: none is lost, none doubled, none refused."""
    sent = [f"message {number}" for number in range(200)]
    responses = await asyncio.gather(*(store(client, user, session, text) for text in sent))
    assert {response.status_code for response in responses} == {200}
    assert sorted(await texts(client, user, session, max_recent_messages=1_000)) == sorted(sent)


async def test_a_summary_is_made_and_kept(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Summarizing answers with sentences of the session, and the context shows them unless asked not to."""
    await store(client, user, session, "The invoice is wrong. 发票有错。")
    response = await client.post(f"/memories/session/{session}/summarize", json={"user_id": user, "anything": 1})
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "session_found": True,
        "session_id": session,
        "user_id": user,
        "summary": "user: The invoice is wrong.\nuser: 发票有错。",
        "compression_level": "medium",
        "updated": True,
        "created_at": "2026-01-02T03:04:05.678901Z",
        "total_messages": 1,
    }
    assert (await context(client, user, session))["summary"] == response.json()["summary"]
    assert (await context(client, user, session, include_summaries=False))["summary"] is None


async def test_a_new_summary_replaces_the_old_one(client: httpx.AsyncClient, user: str, session: str) -> None:
    """The context shows the latest."""
    await store(client, user, session, "First.")
    await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    await store(client, user, session, "Second.")
    await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    assert (await context(client, user, session))["summary"] == "user: First.\nuser: Second."


async def test_a_summary_does_not_outlive_what_it_quotes(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Deleting or changing a message takes the summary with it."""
    stored = (await store(client, user, session, "A secret.")).json()
    await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    await client.patch(f"/memories/session/{stored['id']}", json={"content": "Nothing."})
    assert (await context(client, user, session))["summary"] is None
    await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    await client.delete(f"/memories/session/{stored['id']}")
    assert (await context(client, user, session))["summary"] is None


@pytest.mark.parametrize("method", ["PATCH", "DELETE", "deactivate"])
async def test_a_summary_of_messages_that_change_while_it_is_made_is_not_kept(
    client: httpx.AsyncClient, user: str, clock: Clock, monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """It would quote what is not there any more. While it is made, in a thread, other calls are served."""
    session = user
    stored = (await store(client, user, session, "A secret.")).json()
    loop = asyncio.get_running_loop()

    async def change() -> None:
        clock.pass_seconds(1)
        if method == "deactivate":
            await client.post(f"/memories/session/{session}/deactivate", json={"user_id": user})
        else:
            body = {"content": "Nothing."} if method == "PATCH" else None
            await client.request(method, f"/memories/session/{stored['id']}", json=body)

    def summarize_slowly(messages: Sequence[Spoken], compression: Compression) -> str | None:
        asyncio.run_coroutine_threadsafe(change(), loop).result(60)
        return summarize(messages, compression)

    monkeypatch.setattr(session_memories, "summarize", summarize_slowly)
    made = await client.post(f"/memories/session/{session}/summarize", json={"user_id": user})
    assert made.json()["summary"] == "user: A secret."
    assert (await context(client, user, session))["summary"] is None


async def test_a_summary_that_is_still_good_is_kept(
    client: httpx.AsyncClient, user: str, session: str, clock: Clock
) -> None:
    """It is made again when it is forced, when a message came, and at another compression; not otherwise."""

    async def made(**options: object) -> tuple[bool, str]:
        clock.pass_seconds(1)
        body = {"user_id": user, **options}
        summary = (await client.post(f"/memories/session/{session}/summarize", json=body)).json()
        return summary["updated"], summary["created_at"][17:19]

    await store(client, user, session, "First.")
    assert await made() == (True, "06")
    assert await made() == (False, "06")
    assert await made(force_update=True) == (True, "08")
    assert await made(force_update=False) == (False, "08")
    assert await made(compression_level="high") == (True, "10")
    assert await made(compression_level="high") == (False, "10")
    await store(client, user, session, "Second.")
    assert await made(compression_level="high") == (True, "12")


async def test_a_higher_compression_keeps_fewer_sentences(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Low, medium and high are told apart by what they leave out."""
    for number in range(20):
        await store(client, user, session, f"Sentence {number} is about topic{number}.")
    lines = {}
    for level in ("low", "medium", "high"):
        body = {"user_id": user, "compression_level": level}
        summary = (await client.post(f"/memories/session/{session}/summarize", json=body)).json()
        assert summary["compression_level"] == level
        lines[level] = len(summary["summary"].splitlines())
    assert lines == {"low": 12, "medium": 5, "high": 2}


async def test_an_unknown_compression_is_refused(client: httpx.AsyncClient, user: str, session: str) -> None:
    """The answer says what is allowed."""
    body = {"user_id": user, "compression_level": "extreme"}
    response = await client.post(f"/memories/session/{session}/summarize", json=body)
    assert response.status_code == 422
    assert "'low', 'medium' or 'high'" in response.json()["detail"]


async def test_nothing_to_summarize_is_no_error(client: httpx.AsyncClient, user: str, session: str) -> None:
    """An unknown session has no summary."""
    response = await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    assert response.status_code == 200
    assert response.json()["session_found"] is False
    assert response.json()["summary"] is None


async def test_a_deactivated_session_comes_up_no_more(client: httpx.AsyncClient, user: str, session: str) -> None:
    """Its messages leave the context, the list and the search, but can still be read one by one."""
    stored = (await store(client, user, session, "remember the elephant")).json()
    await client.post(f"/memories/session/{session}/summarize", params={"user_id": user})
    response = await client.post(f"/memories/session/{session}/deactivate", params={"user_id": user})
    assert response.status_code == 200
    assert response.json() == {
        "success": True,
        "session_found": True,
        "session_id": session,
        "user_id": user,
        "deactivated": 1,
    }
    found = await context(client, user, session)
    assert (found["session_found"], found["total_messages"], found["summary"]) == (False, 0, None)
    assert (await client.get("/memories", params={"user_id": user})).json()["memories"] == []
    assert (await client.get("/memories/search", params={"user_id": user, "q": "elephant"})).json()["memories"] == []
    assert (await client.get(f"/memories/session/{stored['id']}")).json()["active"] is False


async def test_a_deactivated_session_can_begin_anew(client: httpx.AsyncClient, user: str, session: str) -> None:
    """A later message shows up alone; deactivating again counts only that one."""
    await store(client, user, session, "old")
    await client.post(f"/memories/session/{session}/deactivate", json={"user_id": user})
    await store(client, user, session, "new")
    assert await texts(client, user, session) == ["new"]
    again = await client.post(f"/memories/session/{session}/deactivate", json={"user_id": user})
    assert again.json()["deactivated"] == 1
    last = await client.post(f"/memories/session/{session}/deactivate", json={"user_id": user})
    assert (last.status_code, last.json()["deactivated"], last.json()["session_found"]) == (200, 0, False)


async def test_fields_of_the_clients_own_are_kept(client: httpx.AsyncClient, user: str, session: str) -> None:
    """What the service has no word for ends up in the metadata."""
    stored = (await store(client, user, session, "hello", trace={"id": 7}, 语言="中文")).json()
    memory = (await client.get(f"/memories/session/{stored['id']}")).json()
    assert memory["metadata"] == {"trace": {"id": 7}, "语言": "中文"}


async def test_times_are_rfc_3339_in_utc(client: httpx.AsyncClient, user: str, session: str, clock: Clock) -> None:
    """Clients see UTC for every zone of the clock."""
    clock.now = dt.datetime(2026, 7, 1, 2, 0, tzinfo=dt.timezone(dt.timedelta(hours=5)))
    stored = (await store(client, user, session, "hello")).json()
    assert (await client.get(f"/memories/session/{stored['id']}")).json()["created_at"] == "2026-06-30T21:00:00Z"


async def test_a_large_message_is_kept_whole(client: httpx.AsyncClient, user: str, session: str) -> None:
    """A text of megabytes comes back as it was."""
    text = "大" * 1_000_000 + "x"
    assert (await store(client, user, session, text)).status_code == 200
    assert await texts(client, user, session) == [text]
