"""Every error has one sentence for a person and one word for a program."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest

from session_service.app import SessionService
from session_service.settings import Settings

pytestmark = pytest.mark.asyncio(loop_scope="module")

UNSAFE = ["", "a b", "a/b", "ä", "a%00", "\x00", ".", "..", "a" * 256, "a\n", "a,b", "你好", "a?b", "a#b", '"']


def encoded(text: str) -> str:
    return "".join(f"%{byte:02X}" for byte in text.encode())


def reason(response: httpx.Response) -> tuple[int, str]:
    body = response.json()
    assert set(body) == {"type", "title", "status", "detail", "reason"}
    assert body["detail"]
    assert body["status"] == response.status_code
    assert response.headers["content-type"] == "application/problem+json"
    return response.status_code, body["reason"]


async def call(client: httpx.AsyncClient, method: str, raw_path: str, **more: object) -> httpx.Response:
    """A request whose path stays as it is written here: httpx would resolve dot segments."""
    url = httpx.URL(str(client.base_url).rstrip("/")).copy_with(raw_path=f"/api/v1/{raw_path}".encode())
    return await client.request(method, url, **more)


@pytest.mark.parametrize("unsafe", UNSAFE)
async def test_an_unsafe_session_id_in_the_path_is_named_as_the_problem(client: httpx.AsyncClient, unsafe: str) -> None:
    """No call takes it for an absent session or for an unknown route."""
    path = f"sessions/{encoded(unsafe)}"
    for method, body in (("PUT", {"user_id": "ann"}), ("GET", None), ("PATCH", {}), ("DELETE", None)):
        assert reason(await call(client, method, path, json=body)) == (422, "invalid_session_id")
    assert reason(await call(client, "POST", f"{path}/end")) == (422, "invalid_session_id")


@pytest.mark.parametrize("unsafe", UNSAFE)
async def test_unsafe_ids_in_a_body_or_query_are_named_as_the_problem(client: httpx.AsyncClient, unsafe: str) -> None:
    """The reason says which of the two ids it is."""
    user = await client.put("/sessions/unsafe", json={"user_id": unsafe})
    assert reason(user) == (422, "invalid_user_id")
    session = await client.post("/sessions", json={"user_id": "ann", "session_id": unsafe})
    assert reason(session) == (422, "invalid_session_id")
    for path in ("/sessions", "/sessions/unsafe"):
        assert reason(await client.get(path, params={"user_id": unsafe})) == (422, "invalid_user_id")


@pytest.mark.parametrize("value", [7, 1.5, True, ["ann"], {"id": "ann"}])
async def test_an_id_that_is_no_string_is_invalid(client: httpx.AsyncClient, value: object) -> None:
    """Numbers are not turned into ids."""
    assert reason(await client.put("/sessions/number", json={"user_id": value})) == (422, "invalid_user_id")
    body = {"user_id": "ann", "session_id": value}
    assert reason(await client.post("/sessions", json=body)) == (422, "invalid_session_id")


@pytest.mark.parametrize("body", [{}, {"user_id": None}])
async def test_a_session_needs_an_owner(client: httpx.AsyncClient, body: dict[str, None]) -> None:
    """An absent or null user id has a reason of its own."""
    assert reason(await client.put("/sessions/nobody", json=body)) == (422, "user_id_required")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"[]",
        b"7",
        b'{"user_id":"ann","metadata":[]}',
        b'{"user_id":"ann","metadata":{"n":NaN}}',
        b'{"user_id":"ann","metadata":{"n":1e999}}',
        b'{"user_id":"ann","metadata":{"s":"\\ud800"}}',
    ],
)
async def test_a_body_that_is_no_such_thing_is_422(client: httpx.AsyncClient, content: bytes) -> None:
    """What cannot be stored as it was sent is refused, never altered and never a 500."""
    response = await client.put("/sessions/body", content=content, headers={"content-type": "application/json"})
    assert reason(response) == (422, "invalid_request")


@pytest.mark.parametrize("content", [b'{"user_id":', b'{"user_id":"\xff"}', b"[" * 200_000])
async def test_a_body_that_no_reader_gets_through_is_400(client: httpx.AsyncClient, content: bytes) -> None:
    """Broken JSON, broken UTF-8 and bottomless nesting end at the parser."""
    response = await client.put("/sessions/body", content=content, headers={"content-type": "application/json"})
    assert reason(response) == (400, "unreadable_body")


async def test_json_is_read_without_a_content_type(client: httpx.AsyncClient) -> None:
    """Not every client names one."""
    assert (await client.put("/sessions/untyped", content=b'{"user_id":"ann"}')).status_code in {200, 201}


async def test_a_body_over_the_bound_is_413(client: httpx.AsyncClient) -> None:
    """The bound holds for declared and undeclared lengths."""

    async def endless() -> AsyncIterator[bytes]:
        for _ in range(11):
            yield b" " * (1 << 20)

    for content in (b" " * ((10 << 20) + 1), endless()):
        response = await client.put("/sessions/big", content=content, headers={"content-type": "application/json"})
        assert reason(response) == (413, "body_too_large")


@pytest.mark.parametrize(
    "query", [{"limit": "0"}, {"limit": "1001"}, {"limit": "x"}, {"cursor": "x"}, {"cursor": "-1"}, {"status": "new"}]
)
async def test_a_bad_query_is_422(client: httpx.AsyncClient, query: dict[str, str]) -> None:
    """The sentence names the parameter."""
    response = await client.get("/sessions", params=query)
    assert reason(response) == (422, "invalid_request")
    assert response.json()["detail"].startswith(next(iter(query)))


async def test_unknown_routes_and_methods_answer_in_the_same_shape(client: httpx.AsyncClient) -> None:
    """The framework's own errors are no exception."""
    assert reason(await client.get("/nowhere")) == (404, "no_such_route")
    assert reason(await client.post("/sessions/x")) == (405, "method_not_allowed")


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "/api/v1/sessions/x", "DELETE, GET, PATCH, PUT"),
        ("OPTIONS", "/api/v1/sessions", "GET, POST"),
        ("GET", "/api/v1/sessions:ensure", "POST"),
        ("POST", "/api/v1/session-events", "GET"),
        ("POST", "/metrics", "GET, HEAD"),
        ("POST", "/docs", "GET"),
        ("POST", "/docs/swagger-ui.css", "GET, HEAD"),
    ],
)
async def test_a_method_that_is_not_allowed_is_answered_with_those_that_are(
    client: httpx.AsyncClient, method: str, path: str, allowed: str
) -> None:
    """RFC 9110, section 15.5.6: all methods of the resource, those of other routes with its path included."""
    response = await client.request(method, f"http://service{path}")
    assert reason(response) == (405, "method_not_allowed")
    assert response.headers["allow"] == allowed


async def test_a_token_guards_the_calls_and_nothing_else(database_url: str) -> None:
    """Only `/api/` asks for it."""
    settings = Settings(SESSION_DATABASE_URL=database_url, SESSION_SERVICE_TOKEN="s3cret")
    service = SessionService(settings)
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for named in (None, "Bearer wrong", "s3cret", "Basic s3cret"):
            headers = {} if named is None else {"Authorization": named}
            response = await client.get("/api/v1/sessions", headers=headers)
            assert reason(response) == (401, "unauthorized")
            assert response.headers["www-authenticate"] == "Bearer"
        for named in ("Bearer s3cret", "bearer s3cret", "BEARER  s3cret"):
            assert (await client.get("/api/v1/sessions", headers={"Authorization": named})).status_code == 200
        for path in ("/health", "/openapi.json", "/docs"):
            assert (await client.get(path)).status_code == 200


async def test_without_a_database_every_call_is_503(tmp_path: Path) -> None:
    """An outage is never taken for an absent session."""
    url = f"postgresql://nobody@/nothing?host={tmp_path}"
    service = SessionService(Settings(SESSION_DATABASE_URL=url))
    transport = httpx.ASGITransport(service.app)
    async with service.running(), httpx.AsyncClient(transport=transport, base_url="http://service") as client:
        for method, path, body in (
            ("GET", "/api/v1/sessions/x", None),
            ("PUT", "/api/v1/sessions/x", {"user_id": "ann"}),
            ("DELETE", "/api/v1/sessions/x", None),
            ("GET", "/api/v1/session-events", None),
            ("GET", "/health", None),
        ):
            response = await client.request(method, path, json=body)
            assert reason(response) == (503, "database_unavailable")
            assert response.headers["retry-after"] == "1"


async def test_the_interface_describes_itself(client: httpx.AsyncClient) -> None:
    """OpenAPI lists every call and the shape of errors."""
    paths = (await client.get("http://service/openapi.json")).json()["paths"]
    assert {path: set(methods) for path, methods in paths.items()} == {
        "/api/v1/sessions": {"get", "post"},
        "/api/v1/sessions:ensure": {"post"},
        "/api/v1/sessions/{session_id}": {"get", "put", "patch", "delete"},
        "/api/v1/sessions/{session_id}/end": {"post"},
        "/api/v1/session-events": {"get"},
        "/health": {"get"},
    }
    for path, methods in paths.items():
        for operation in methods.values():
            assert path == "/health" or {"400", "413", "422", "503"} <= operation["responses"].keys()
    errors = paths["/api/v1/sessions/{session_id}"]["get"]["responses"]
    assert {
        errors[status]["content"]["application/problem+json"]["schema"]["$ref"]
        for status in ("400", "403", "404", "410", "413", "422", "503")
    } == {"#/components/schemas/Problem"}


async def test_the_interface_says_what_a_cursor_looks_like(client: httpx.AsyncClient) -> None:
    """What the pattern leaves out is refused, and nothing else."""
    paths = (await client.get("http://service/openapi.json")).json()["paths"]
    (cursor,) = [one for one in paths["/api/v1/sessions"]["get"]["parameters"] if one["name"] == "cursor"]
    pattern = cursor["schema"]["anyOf"][0]["pattern"]
    for value in ("0", "9" * 18, "9" * 19, "", "-1", "x", "1\n", "\u0663"):
        response = await client.get("/sessions", params={"cursor": value})
        assert (response.status_code == 200) == (re.search(pattern.replace("$", r"\Z"), value) is not None)


async def test_with_a_token_the_interface_says_how_it_is_named(database_url: str) -> None:
    """OpenAPI has the security scheme and the 401 of every call that asks for the token, and of no other."""
    service = SessionService(Settings(SESSION_DATABASE_URL=database_url, SESSION_SERVICE_TOKEN="s3cret"))
    described = service.app.openapi()
    assert described["components"]["securitySchemes"] == {"token": {"type": "http", "scheme": "bearer"}}
    for path, operations in described["paths"].items():
        for operation in operations.values():
            guarded = path.startswith("/api/")
            assert ("401" in operation["responses"]) == guarded
            assert operation.get("security") == ([{"token": []}] if guarded else None)


async def test_the_page_of_calls_needs_no_other_server(client: httpx.AsyncClient) -> None:
    """Every file that `/docs` names comes from the service itself."""
    page = (await client.get("http://service/docs")).text
    named = re.findall(r"""(?:src|href)="([^"]+)\"""", page)
    assert {name.rpartition("/")[2] for name in named} >= {"swagger-ui-bundle.js", "swagger-ui.css"}
    for name in named:
        assert "//" not in name
        assert (await client.get(f"http://service/{name}")).status_code == 200
    assert "//" not in page.replace("// ", "")


@pytest.mark.parametrize(
    ("method", "path", "body", "field"),
    [
        ("PUT", "/sessions/unknown", {"user_id": "ann", "sesion_id": "x"}, "sesion_id"),
        ("PUT", "/sessions/unknown", {"user_id": "ann", "session_id": "x"}, "session_id"),
        ("POST", "/sessions", {"user_id": "ann", "meta": {}}, "meta"),
        ("PATCH", "/sessions/unknown", {"status": "ended"}, "status"),
        ("POST", "/sessions:ensure", {"sessions": [{"user_id": "a", "session_id": "b", "metadata": {}}]}, "metadata"),
        ("GET", "/sessions?page=2", None, "page"),
        ("GET", "/sessions/unknown?user=ann", None, "user"),
        ("DELETE", "/sessions/unknown?user=ann", None, "user"),
        ("POST", "/sessions/unknown/end?user=ann", None, "user"),
        ("GET", "/session-events?from=7", None, "from"),
        ("GET", "/sessions/unknown?user_id=ann&user_id=bob", None, "user_id"),
        ("POST", "/sessions/unknown/end", {"user_id": "bob"}, "user_id"),
        ("DELETE", "/sessions/unknown", {"user_id": "bob"}, "user_id"),
        ("GET", "/sessions/unknown", {"user_id": "bob"}, "user_id"),
        ("GET", "/sessions", {"status": "ended"}, "status"),
        ("GET", "/session-events", {"after": 7}, "after"),
        ("POST", "/sessions/unknown/end", ["user_id"], "body"),
    ],
)
async def test_nothing_unknown_is_ignored(
    client: httpx.AsyncClient, method: str, path: str, body: object, field: str
) -> None:
    """An unknown field or parameter is named; so is one that is given twice."""
    response = await client.request(method, path, json=body)
    assert reason(response) == (422, "invalid_request")
    assert field in response.json()["detail"].partition(":")[0]


@pytest.mark.parametrize(
    ("method", "path", "body", "key"),
    [
        ("PUT", "/sessions/unknown", '{"user_id": "ann", "user_id": "bob"}', "user_id"),
        ("PUT", "/sessions/unknown", '{"user_id": "ann", "user\\u005fid": "ann"}', "user_id"),
        ("POST", "/sessions", '{"user_id": "ann", "metadata": {"tags": {"a": 1, "a": 2}}}', "a"),
        ("PATCH", "/sessions/unknown", '{"metadata": {}, "metadata": null}', "metadata"),
        ("POST", "/sessions:ensure", '{"sessions": [{"session_id": "b", "session_id": "c"}]}', "session_id"),
        ("POST", "/sessions/unknown/end", '{"a": 1, "a": 2}', "a"),
    ],
)
async def test_a_key_that_stands_twice_is_named(
    client: httpx.AsyncClient, method: str, path: str, body: str, key: str
) -> None:
    """Readers disagree about which of the two counts, and neither is ignored."""
    response = await client.request(method, path, content=body, headers={"Content-Type": "application/json"})
    assert reason(response) == (422, "invalid_request")
    assert response.json()["detail"] == f"{key}: given more than once"


@pytest.mark.parametrize(("method", "path"), [("POST", "/sessions/unknown/end"), ("DELETE", "/sessions/unknown")])
async def test_a_call_that_reads_no_body_takes_an_empty_object_and_no_other_text(
    client: httpx.AsyncClient, method: str, path: str
) -> None:
    """What some clients send for nothing says nothing; what is no JSON might say anything."""
    for nothing in (b"", b"{}", b"null"):
        assert reason(await client.request(method, path, content=nothing)) == (404, "session_not_found")
    assert reason(await client.request(method, path, content=b"user_id=bob")) == (400, "unreadable_body")
