"""Full-text search over HTTP, on both databases."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from memory_service.app import MemoryApp
from memory_service.search import matching, read_query
from memory_service.tables import memories
from service_kit.database import Database, is_sqlite
from tests.support.memories import SCHEMA

pytestmark = pytest.mark.asyncio(loop_scope="module")

CHINESE = "我喜欢在北京吃烤鸭，也喜欢T恤。"


async def remember(client: httpx.AsyncClient, user: str, content: str, memory_type: str = "factual") -> str:
    body = {"memory_type": memory_type, "user_id": user, "content": content, "session_id": "s"}
    response = await client.post("/memories", json=body)
    assert response.status_code == 201
    return str(response.json()["id"])


async def found(client: httpx.AsyncClient, user: str, q: str, **query: Any) -> list[str]:
    response = await client.get("/memories/search", params={"user_id": user, "q": q, **query})
    assert response.status_code == 200, response.text
    return [memory["content"] for memory in response.json()["memories"]]


@pytest.mark.parametrize(
    "q",
    [
        "fox",
        "FOX",
        "foxes",
        "quick fox",
        "fox quick",
        "jumping",
        "lazy dog's",
        "well-known",
        "café",
        "42",
        "known fact",
    ],
)
async def test_english_is_found_by_its_words(client: httpx.AsyncClient, user: str, q: str) -> None:
    """In any order, case and inflection."""
    text = "The quick foxes jumped over 42 lazy dog's heads: a well-known fact from the Café."
    await remember(client, user, text)
    assert await found(client, user, q) == [text]


@pytest.mark.parametrize("q", ["fo", "cat", "fox cat", "known-well", "jum", "OR", "NOT fox", "fox*", "foxes%", "f_x"])
async def test_english_is_not_found_by_what_it_does_not_say(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Every word has to occur, parts of words and the operators of index languages mean nothing."""
    await remember(client, user, "the quick foxes, well-known")
    expected = ["the quick foxes, well-known"] if q in {"fox*", "foxes%"} else []
    assert await found(client, user, q) == expected


async def test_chinese_is_found_by_any_part(client: httpx.AsyncClient, user: str) -> None:
    """Every substring of a run of characters, from one to all of them."""
    await remember(client, user, CHINESE)
    run = "我喜欢在北京吃烤鸭"
    for start in range(len(run)):
        for end in range(start + 1, len(run) + 1):
            assert await found(client, user, run[start:end]) == [CHINESE], run[start:end]


@pytest.mark.parametrize("q", ["T恤", "喜欢T恤", "北京 烤鸭", "烤鸭 北京", "鸭，也", "t"])
async def test_mixed_text_is_found(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Latin words within Chinese text, and parts that stand apart."""
    await remember(client, user, CHINESE)
    assert await found(client, user, q) == [CHINESE]


@pytest.mark.parametrize("q", ["京北", "烤鸡", "北京烤鸭", "我京", "上"])
async def test_chinese_is_not_found_by_what_it_does_not_say(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Characters that occur, but not in this order and together, are no match."""
    await remember(client, user, CHINESE)
    assert await found(client, user, q) == []


@pytest.mark.parametrize(
    "text", ["emoji 🙂 inside", "ひらがな", "ｶﾀｶﾅ", "한국어 문장", "ภาษาไทย", "𠮷野家", "naïve", "Ünïcödé", "مرحبا"]
)
async def test_other_scripts_find_themselves(client: httpx.AsyncClient, user: str, text: str) -> None:
    """A text is found by itself, whatever it is written in."""
    await remember(client, user, text)
    assert await found(client, user, text) == [text]


async def test_search_is_one_users(client: httpx.AsyncClient, user: str) -> None:
    """Nobody finds what another remembers."""
    await remember(client, user, "a secret")
    assert await found(client, f"{user}-other", "secret") == []


async def test_search_may_be_of_some_types_and_a_session(client: httpx.AsyncClient, user: str) -> None:
    """As the list is."""
    for memory_type in ("factual", "semantic", "session"):
        await remember(client, user, f"water is {memory_type}", memory_type)
    assert await found(client, user, "water", types="factual,session") == ["water is session", "water is factual"]
    assert await found(client, user, "water", types=["semantic"]) == ["water is semantic"]
    assert len(await found(client, user, "water", session_id="s")) == 3
    assert await found(client, user, "water", session_id="t") == []


async def test_search_is_newest_first_and_in_pages(client: httpx.AsyncClient, user: str) -> None:
    """The cursor goes on where the page ended."""
    for number in range(5):
        await remember(client, user, f"water {number}")
    first = (await client.get("/memories/search", params={"user_id": user, "q": "water", "limit": 3})).json()
    assert [memory["content"] for memory in first["memories"]] == ["water 4", "water 3", "water 2"]
    cursor = first["next_cursor"]
    assert await found(client, user, "water", limit=3, cursor=cursor) == ["water 1", "water 0"]


async def test_search_follows_changes(client: httpx.AsyncClient, user: str) -> None:
    """What was changed is found by its new words alone, what was deleted by none."""
    memory_id = await remember(client, user, "the old 北京")
    await client.patch(f"/memories/factual/{memory_id}", json={"content": "the new 上海"})
    assert await found(client, user, "old") == await found(client, user, "北京") == []
    assert await found(client, user, "上海 new") == ["the new 上海"]
    await client.patch(f"/memories/factual/{memory_id}", json={"importance_score": 1})
    assert await found(client, user, "上海 new") == ["the new 上海"]
    await client.delete(f"/memories/factual/{memory_id}")
    assert await found(client, user, "上海 new") == []


async def test_words_of_any_length_can_be_stored(client: httpx.AsyncClient, user: str) -> None:
    """An index entry has a largest size; a word without end must not fail because of it."""
    text = "é" * 20_000 + " " + "x" * 20_000
    await remember(client, user, text)
    assert await found(client, user, "é" * 500) == [text]


@pytest.mark.parametrize("text", ["x " * 500, "字" * 1_000, "字 " * 500, "-a" * 500])
async def test_the_longest_query_is_answered(client: httpx.AsyncClient, user: str, text: str) -> None:
    """Neither many parts nor a long one is too much for an index."""
    await remember(client, user, text)
    assert await found(client, user, text) == [text]


async def test_search_goes_by_the_index(app: MemoryApp, database_url: str) -> None:
    """Terms are looked up, not looked for in every row."""
    database = Database(database_url, SCHEMA)
    dialect = database.engine.dialect
    condition = matching(read_query("北京 fox"), memories.c.seq, memories.c.search_terms, dialect)
    query = sa.select(memories.c.id).where(condition).compile(dialect=dialect)
    values = tuple(query.params[name] for name in query.positiontup or ())
    async with database.writing() as connection:
        if is_sqlite(connection):
            plan = await connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values)
        else:
            await connection.exec_driver_sql("SET LOCAL enable_seqscan = off")  # or few rows would just be read
            plan = await connection.exec_driver_sql(f"EXPLAIN {query}", values)
        steps = " ".join(str(row) for row in plan)
    await database.close()
    assert "memory_search VIRTUAL TABLE INDEX" in steps or "Bitmap Index Scan on memories_by_terms" in steps
