"""Every input is stored as it is or refused with a reason, on both databases."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

pytestmark = pytest.mark.asyncio(loop_scope="module")

ANY_TEXT = st.text(st.characters(exclude_categories=()))
ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | ANY_TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(ANY_TEXT, inner, max_size=4),
    max_leaves=12,
)
FIELDS = st.sampled_from(
    ["user_id", "session_id", "content", "context", "metadata", "importance_score", "ttl_seconds", "role", "extra"]
)
few = settings(
    max_examples=30, deadline=None, database=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)


def is_storable(text: str) -> bool:
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)


async def post(client: httpx.AsyncClient, body: object) -> httpx.Response:
    return await client.post(
        "/memories", content=json.dumps(body).encode(), headers={"content-type": "application/json"}
    )


@few
@given(ANY_TEXT.filter(bool))
@example("\0")
@example("\ud83d")
@example("\u2028\ufeff\x01\x1b\x7f\uffff")
async def test_any_text_comes_back_as_it_was(client: httpx.AsyncClient, user: str, text: str) -> None:
    """Byte for byte, or it is refused for what no database keeps."""
    response = await post(
        client, {"memory_type": "factual", "user_id": user, "content": text, "metadata": {text: text}}
    )
    assert response.status_code == (201 if is_storable(text) else 422)
    if is_storable(text):
        memory = (await client.get(f"/memories/factual/{response.json()['id']}")).json()
        assert memory["content"] == text
        assert memory["metadata"] == {text: text}


@few
@given(ANY_TEXT)
async def test_any_search_is_answered(client: httpx.AsyncClient, user: str, q: str) -> None:
    """Nothing that can be typed is a failure of the service."""
    sent = q.encode("utf-8", "replace").decode()
    assert (await client.get("/memories/search", params={"user_id": user, "q": sent})).status_code in {200, 422}


@few
@given(st.sampled_from(["factual", "working", "session"]), st.dictionaries(FIELDS, ANY_JSON, max_size=4))
async def test_any_json_is_stored_or_refused(
    client: httpx.AsyncClient, user: str, memory_type: str, fields: dict[str, Any]
) -> None:
    """A bad field is told in the one shape of an error."""
    body = {"memory_type": memory_type, "user_id": user, "content": "x", "session_id": "s", **fields}
    response = await post(client, body)
    assert response.status_code in {201, 422}
    if response.status_code == 422:
        assert response.json().keys() == {"type", "title", "status", "detail", "reason"}


@few
@given(ANY_JSON)
async def test_any_body_is_answered(client: httpx.AsyncClient, body: object) -> None:
    """Also what is no object at all."""
    assert (await post(client, body)).status_code == 422
