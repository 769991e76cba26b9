"""What the service does not take, and how it says so, on both databases."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

from service_kit.web.application import LARGEST_BODY

pytestmark = pytest.mark.asyncio(loop_scope="module")

STORE = "/memories/session/store"
MESSAGE: dict[str, Any] = {"user_id": "u", "session_id": "s", "message_content": "hello"}
MEMORY: dict[str, Any] = {"memory_type": "factual", "user_id": "u", "content": "hello"}
DEEP: list[Any] = []
for _ in range(50):
    DEEP = [DEEP]

BODIES = [
    (STORE, {**MESSAGE, "session_id": "a/b"}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": ".."}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": ""}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": "x" * 256}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": 7}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": None}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": "会话"}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": "a\0b"}, "invalid_session_id"),
    (STORE, {**MESSAGE, "session_id": "a\ud800"}, "invalid_session_id"),
    (STORE, {"user_id": "u", "message_content": "hello"}, "invalid_session_id"),
    (STORE, {**MESSAGE, "user_id": "a b"}, "invalid_user_id"),
    (STORE, {**MESSAGE, "user_id": ["u"]}, "invalid_user_id"),
    (STORE, {**MESSAGE, "user_id": None}, "user_id_required"),
    (STORE, {"session_id": "s", "message_content": "hello"}, "user_id_required"),
    (STORE, {"user_id": "u", "session_id": "s"}, "invalid_request"),
    (STORE, {**MESSAGE, "message_content": ""}, "invalid_request"),
    (STORE, {**MESSAGE, "message_content": "a\0b"}, "invalid_request"),
    (STORE, {**MESSAGE, "message_content": "a\ud800b"}, "invalid_request"),
    (STORE, {**MESSAGE, "message_content": {"text": "a"}}, "invalid_request"),
    (STORE, {**MESSAGE, "role": "r" * 65}, "invalid_request"),
    (STORE, {**MESSAGE, "role": "\udfff"}, "invalid_request"),
    (STORE, {**MESSAGE, "importance_score": 1.01}, "invalid_request"),
    (STORE, {**MESSAGE, "importance_score": float("nan")}, "invalid_request"),
    (STORE, {**MESSAGE, "importance_score": "high"}, "invalid_request"),
    (STORE, {**MESSAGE, "extra": "a\0b"}, "invalid_request"),
    (STORE, {**MESSAGE, "extra": [{"k": "\ud800"}]}, "invalid_request"),
    (STORE, {**MESSAGE, "k\0": 1}, "invalid_request"),
    (STORE, {**MESSAGE, "k\ud800": 1}, "invalid_request"),
    (STORE, {**MESSAGE, "extra": float("inf")}, "invalid_request"),
    (STORE, {**MESSAGE, "extra": DEEP}, "invalid_request"),
    (STORE, [], "invalid_request"),
    (STORE, "text", "invalid_request"),
    (STORE, None, "invalid_request"),
    ("/memories", {**MEMORY, "memory_type": "odd"}, "invalid_request"),
    ("/memories", {"user_id": "u", "content": "hello"}, "invalid_request"),
    ("/memories", {**MEMORY, "context": []}, "invalid_request"),
    ("/memories", {**MEMORY, "metadata": {"a": {"b\0": 1}}}, "invalid_request"),
    ("/memories", {**MEMORY, "metadata": {"a": float("-inf")}}, "invalid_request"),
    ("/memories", {**MEMORY, "context": {"session_id": 7}}, "invalid_session_id"),
    ("/memories", {**MEMORY, "context": {"session_id": "a b"}}, "invalid_session_id"),
    ("/memories", {**MEMORY, "session_id": "a", "context": {"session_id": "b"}}, "invalid_session_id"),
    ("/memories", {**MEMORY, "memory_type": "session"}, "session_id_required"),
    ("/memories", {**MEMORY, "metadata": {"session_id": 7}}, "invalid_session_id"),
    ("/memories", {**MEMORY, "session_id": "a", "metadata": {"session_id": "b"}}, "invalid_session_id"),
    ("/memories", {**MEMORY, "context": {"session_id": "a"}, "metadata": {"session_id": "b"}}, "invalid_session_id"),
    ("/memories/factual/extract", {"user_id": "u"}, "invalid_request"),
    ("/memories/factual/extract", {"dialog_content": "x"}, "user_id_required"),
    ("/memories/working/extract", {"user_id": "u", "dialog_content": "x"}, "invalid_request"),
    ("/memories/working/store", {"user_id": "u", "dialog_content": "x", "ttl_seconds": 0}, "invalid_request"),
    ("/memories/session/s/summarize", {"user_id": "u", "compression_level": "x"}, "invalid_request"),
    ("/memories", {**MEMORY, "ttl_seconds": 5}, "invalid_request"),
    ("/memories", {**MEMORY, "role": "user"}, "invalid_request"),
    ("/memories", {**MEMORY, "memory_type": "working", "ttl_seconds": 0}, "invalid_request"),
    ("/memories", {**MEMORY, "memory_type": "working", "ttl_seconds": 1e30}, "invalid_request"),
    ("/memories/session/s/summarize", {}, "user_id_required"),
    ("/memories/session/s/deactivate", {"user_id": None}, "user_id_required"),
    ("/memories/session/s/deactivate", {"user_id": "a b"}, "invalid_user_id"),
    ("/memories/session/s/deactivate?user_id=v", {"user_id": "u"}, "invalid_user_id"),
    ("/memories/session/a%2Fb/summarize", {"user_id": "u"}, "invalid_session_id"),
    ("/memories/session/a%0Ab/deactivate", {"user_id": "u"}, "invalid_session_id"),
]

RAW = [
    (b"", 422, "invalid_request"),
    (b"{", 400, "unreadable_body"),
    (b'{"a":1}x', 400, "unreadable_body"),
    (b"\xff\xfe\x00", 400, "unreadable_body"),
    (b'"\xed\xa0\x80"', 422, "invalid_request"),
    (b"[" * 100_000, 400, "unreadable_body"),
    (b'{"a":' + b"9" * 5_000 + b"}", 400, "unreadable_body"),
    (b" " * (LARGEST_BODY + 1), 413, "body_too_large"),
]

QUERIES = [
    ("/memories", "user_id_required"),
    ("/memories?user_id=", "invalid_user_id"),
    ("/memories?user_id=a%00b", "invalid_user_id"),
    ("/memories?user_id=u&limit=0", "invalid_request"),
    ("/memories?user_id=u&limit=101", "invalid_request"),
    ("/memories?user_id=u&cursor=x", "invalid_request"),
    ("/memories?user_id=u&cursor=%00", "invalid_request"),
    ("/memories?user_id=u&cursor=-1", "invalid_request"),
    ("/memories?user_id=u&cursor=" + "9" * 19, "invalid_request"),
    ("/memories?user_id=u&memory_type=odd", "invalid_request"),
    ("/memories?user_id=u&session_id=a%2Fb", "invalid_session_id"),
    ("/memories/search?user_id=u", "invalid_request"),
    ("/memories/search?user_id=u&q=", "invalid_request"),
    ("/memories/search?user_id=u&q=%00", "invalid_request"),
    ("/memories/search?user_id=u&q=...", "invalid_request"),
    ("/memories/search?user_id=u&q=" + "x" * 1_001, "invalid_request"),
    ("/memories/search?user_id=u&q=a&types=factual,odd", "invalid_request"),
    ("/memories/search?q=a", "user_id_required"),
    ("/memories/search?user_id=u&q=a&cursor=20", "invalid_request"),
    ("/memories/search?user_id=u&query=", "invalid_request"),
    ("/memories/search?user_id=u&q=a&similarity_threshold=2", "invalid_request"),
    ("/memories/factual/search/subject?user_id=u", "invalid_request"),
    ("/memories/factual/search/subject?user_id=u&subject=...", "invalid_request"),
    ("/memories/working/active", "user_id_required"),
    ("/memories/statistics", "user_id_required"),
    ("/memories/odd/x", "invalid_request"),
    ("/memories/factual/%00", "invalid_request"),
    ("/memories/session/s/context", "user_id_required"),
    ("/memories/session/%00/context?user_id=u", "invalid_session_id"),
    ("/memories/session/a%2Fb/context?user_id=u", "invalid_session_id"),
    ("/memories/session/a%0A/context?user_id=u", "invalid_session_id"),
    ("/memories/session/%2e%2e/context?user_id=u", "invalid_session_id"),
    ("/memories/session/s/context?user_id=u&max_recent_messages=-1", "invalid_request"),
    ("/memories/session/s/context?user_id=u&include_summaries=perhaps", "invalid_request"),
]

CHANGES = [
    ({"content": ""}, "invalid_request"),
    ({"content": "\0"}, "invalid_request"),
    ({"session_id": "a b"}, "invalid_session_id"),
    ({"session_id": "a", "context": {"session_id": "b"}}, "invalid_session_id"),
    ({"ttl_seconds": 5}, "invalid_request"),
    ({"memory_type": "semantic"}, "invalid_request"),
    ({"\ud800": 1}, "invalid_request"),
]


def explained(response: httpx.Response, status: int, reason: str) -> None:
    """The one shape of an error (RFC 9457), with words for a person in it."""
    problem = response.json()
    assert problem.keys() == {"type", "title", "status", "detail", "reason"}
    assert (response.status_code, problem["status"], problem["reason"]) == (status, status, reason)
    assert response.headers["content-type"] == "application/problem+json"
    assert problem["detail"]


def written(body: object) -> bytes:
    """JSON as Python writes it: NUL and lone surrogates as escapes."""
    return json.dumps(body).encode()


@pytest.mark.parametrize(("path", "body", "reason"), BODIES)
async def test_a_bad_body_is_refused(client: httpx.AsyncClient, path: str, body: object, reason: str) -> None:
    """Each with its reason, and never as a failure of the service."""
    response = await client.post(path, content=written(body), headers={"content-type": "application/json"})
    explained(response, 422, reason)


@pytest.mark.parametrize(("body", "status", "reason"), RAW, ids=range(len(RAW)))
async def test_an_unreadable_body_is_refused(client: httpx.AsyncClient, body: bytes, status: int, reason: str) -> None:
    """What is no JSON, or too much of it."""
    for headers in ({"content-type": "application/json"}, {}):
        explained(await client.post(STORE, content=body, headers=headers), status, reason)


@pytest.mark.parametrize(("path", "reason"), QUERIES)
async def test_a_bad_query_is_refused(client: httpx.AsyncClient, path: str, reason: str) -> None:
    """Each with its reason, and never as a failure of the service."""
    explained(await client.get(path), 422, reason)


async def test_a_bad_change_is_refused(client: httpx.AsyncClient) -> None:
    """What may not be stored may not be changed to either, and the memory stays as it is."""
    memory = (await client.post("/memories", json=MEMORY)).json()
    url = f"/memories/factual/{memory['id']}"
    for body, reason in CHANGES:
        response = await client.patch(url, content=written(body), headers={"content-type": "application/json"})
        explained(response, 422, reason)
    assert (await client.get(url)).json() == memory


@pytest.mark.parametrize(
    ("method", "path", "status", "reason"),
    [
        ("GET", "/nothing", 404, "no_such_route"),
        ("POST", "/memories/", 404, "no_such_route"),
        ("PUT", "/memories", 405, "method_not_allowed"),
        ("GET", "/memories/factual/absent", 404, "memory_not_found"),
        ("DELETE", "/memories/factual/absent", 404, "memory_not_found"),
    ],
)
async def test_what_is_not_there_is_said_in_the_same_shape(
    client: httpx.AsyncClient, method: str, path: str, status: int, reason: str
) -> None:
    """The framework's own errors look like the service's."""
    explained(await client.request(method, path), status, reason)


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/api/v1/memories", "GET, POST"),
        ("POST", "/api/v1/memories/factual/a", "DELETE, GET, PATCH"),
        ("PUT", "/api/v1/memories/session/store", "DELETE, GET, PATCH, POST"),
        ("DELETE", "/health", "GET, HEAD"),
        ("PUT", "/docs/favicon-32x32.png", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """RFC 9110, section 15.5.6: all methods of the resource, those of other routes with its path included."""
    response = await client.request(method, f"http://service{path}")
    explained(response, 405, "method_not_allowed")
    assert response.headers["allow"] == allowed


async def test_json_is_read_without_a_content_type(client: httpx.AsyncClient) -> None:
    """A client that names no type means JSON."""
    response = await client.post(STORE, content=written(MESSAGE))
    assert response.status_code == 200
