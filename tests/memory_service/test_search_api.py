"""Full-text search over HTTP, on both databases."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
import sqlalchemy as sa

from memory_service.app import MemoryApp
from memory_service.search import ranked, read_query
from memory_service.tables import memories
from service_kit.sql.database import Database
from service_kit.sql.engine import is_sqlite
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


@pytest.mark.parametrize("q", ["fo", "cat", "jum", "OR", "NOT cat", "fox*", "foxes%", "f_x"])
async def test_english_is_not_found_by_what_it_does_not_say(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Parts of words and the operators of index languages mean nothing."""
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


@pytest.mark.parametrize("q", ["京北", "烤鸡", "我京", "上"])
async def test_chinese_is_not_found_by_what_it_does_not_say(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Characters that occur, but not in this order and together, are no match."""
    await remember(client, user, CHINESE)
    assert await found(client, user, q) == []


@pytest.mark.parametrize(
    "text", ["emoji 🙂 inside", "ひらがな", "ｶﾀｶﾅ", "한국어 문장", "ภาษาไทย", "𠮷野家", "naïve", "Ünïcödé", "مرحبا"]
)
async def test_other_scripts_find_themselves(client: httpx.AsyncClient, user: str, text: str) -> None:
    """A text in any script is found by itself."""
    await remember(client, user, text)
    assert await found(client, user, text) == [text]


async def test_search_is_one_users(client: httpx.AsyncClient, user: str) -> None:
    """No user finds the memories of another."""
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


async def test_search_gives_the_best_first_in_pages(client: httpx.AsyncClient, user: str) -> None:
    """Of equal ones the newest; the cursor goes on where the page ended."""
    for number in range(5):
        await remember(client, user, f"water {number}")
    await remember(client, user, "water, and a great deal else that has nothing to do with it")
    first = (await client.get("/memories/search", params={"user_id": user, "q": "water", "limit": 3})).json()
    assert [memory["content"] for memory in first["memories"]] == ["water 4", "water 3", "water 2"]
    cursor = first["next_cursor"]
    assert await found(client, user, "water", limit=3, cursor=cursor) == [
        "water 1",
        "water 0",
        "water, and a great deal else that has nothing to do with it",
    ]


@pytest.mark.parametrize(
    ("question", "answer", "others"),
    [
        ("Where does Ada live?", "Ada lives in Berlin", ["Ada likes tea", "Where is the shop?", "They live well"]),
        ("艾达住在哪里？", "艾达住在柏林", ["艾达喜欢喝茶", "商店在哪儿"]),
        ("fox cat", "the fox sleeps", ["the dog sleeps"]),
        ("known-well", "a well-known fact", ["nothing"]),
        ("北京烤鸭", "我在北京吃烤鸭", ["我在上海"]),
    ],
)
async def test_a_question_finds_its_answer(
    client: httpx.AsyncClient, user: str, question: str, answer: str, others: list[str]
) -> None:
    """Where no memory has all words, those that have any are found, the one with most of them first."""
    for text in (*others[:1], answer, *others[1:]):
        await remember(client, user, text)
    assert (await found(client, user, question))[0] == answer


async def test_all_words_are_better_than_any(client: httpx.AsyncClient, user: str) -> None:
    """As long as a memory has all words, one that has only some is not given."""
    await remember(client, user, "the red fox")
    await remember(client, user, "the red house")
    assert await found(client, user, "red fox") == ["the red fox"]


async def test_common_words_find_nothing_beside_others(client: httpx.AsyncClient, user: str) -> None:
    """Words that stand in every text do not make one an answer, but may be searched for by themselves."""
    await remember(client, user, "what is it")
    assert await found(client, user, "what is the elephant") == []
    assert await found(client, user, "what was it") == ["what is it"]


async def test_any_words_come_in_pages_too(client: httpx.AsyncClient, user: str) -> None:
    """The cursor remembers that the page was of any words."""
    for number in range(5):
        await remember(client, user, f"fox {number}")
    seen, cursor = [], None
    while cursor is not None or not seen:
        query = {"user_id": user, "q": "fox cat", "limit": 2, **({"cursor": cursor} if cursor else {})}
        page = (await client.get("/memories/search", params=query)).json()
        seen += [memory["content"] for memory in page["memories"]]
        cursor = page["next_cursor"]
    assert seen == ["fox 4", "fox 3", "fox 2", "fox 1", "fox 0"]


async def test_more_of_the_words_is_better(client: httpx.AsyncClient, user: str) -> None:
    """Relevance decides, not age."""
    await remember(client, user, "boiler repair invoice")
    await remember(client, user, "boiler noise")
    await remember(client, user, "weather")
    assert await found(client, user, "invoice boiler repair wrong") == ["boiler repair invoice", "boiler noise"]


@pytest.mark.parametrize(
    ("memory_type", "path", "label"),
    [
        ("factual", "factual/search/subject", "subject"),
        ("episodic", "episodic/search/event_type", "event_type"),
        ("semantic", "semantic/search/category", "category"),
    ],
)
async def test_memories_are_found_by_their_label(
    client: httpx.AsyncClient, user: str, memory_type: str, path: str, label: str
) -> None:
    """Those that bear it come first, then those that speak of it; no other type and no other user's."""

    async def store(content: str, of: str = memory_type, owner: str = user, **more: Any) -> None:
        body = {"memory_type": of, "user_id": owner, "content": content, **more}
        assert (await client.post("/memories", json=body)).status_code == 201

    await store("likes tea", **{label: "Ada Lovelace"})
    await store("Ada is tall")
    await store("Bob is small", **{label: "Bob"})
    await store("odd", **{label: {"Ada": 1}})
    await store("Ada is another type", of="procedural")
    await store("Ada is another user's", owner=f"{user}-other")
    response = await client.get(f"/memories/{path}", params={"user_id": user, label: "ada"})
    assert response.status_code == 200, response.text
    contents = [memory["content"] for memory in response.json()["memories"]]
    assert contents[-2:] == ["likes tea", "Ada is tall"]
    assert set(contents) <= {"odd", "likes tea", "Ada is tall"}
    assert response.json()["count"] == len(contents)


@pytest.mark.parametrize("label", ["Ünal Öz", "ΑΘΗΝΑ", "100%_sure", "北京 Ж"])
async def test_a_label_is_found_as_it_was_given(client: httpx.AsyncClient, user: str, label: str) -> None:
    """In any script: a database that folds the case of ASCII alone still compares what is the same."""
    body = {"memory_type": "factual", "user_id": user, "content": "something", "subject": label}
    assert (await client.post("/memories", json=body)).status_code == 201
    response = await client.get("/memories/factual/search/subject", params={"user_id": user, "subject": label})
    assert [memory["content"] for memory in response.json()["memories"]] == ["something"]


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


@pytest.mark.parametrize("every", [True, False])
async def test_search_goes_by_the_index(app: MemoryApp, database_url: str, every: bool) -> None:
    """Terms are looked up, not looked for in every row."""
    database = Database(database_url, SCHEMA)
    dialect = database.engine.dialect
    wanted = read_query("北京 fox") if every else read_query("北京 fox").loosened()
    query = ranked(sa.select(memories.c.id), wanted, memories, dialect).compile(dialect=dialect)
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
