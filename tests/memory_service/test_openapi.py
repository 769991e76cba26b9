"""The published description of the API is complete."""

from __future__ import annotations

import json
from typing import Any

import httpx
import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

CALLS = {
    ("post", "/api/v1/memories/session/store"),
    ("get", "/api/v1/memories/session/{session_id}/context"),
    ("post", "/api/v1/memories/session/{session_id}/summarize"),
    ("post", "/api/v1/memories/session/{session_id}/deactivate"),
    ("post", "/api/v1/memories/{memory_type}/extract"),
    ("post", "/api/v1/memories/working/store"),
    ("get", "/api/v1/memories/working/active"),
    ("get", "/api/v1/memories/factual/search/subject"),
    ("get", "/api/v1/memories/episodic/search/event_type"),
    ("get", "/api/v1/memories/semantic/search/category"),
    ("post", "/api/v1/memories"),
    ("get", "/api/v1/memories"),
    ("get", "/api/v1/memories/search"),
    ("get", "/api/v1/memories/statistics"),
    ("get", "/api/v1/memories/{memory_type}/{memory_id}"),
    ("patch", "/api/v1/memories/{memory_type}/{memory_id}"),
    ("delete", "/api/v1/memories/{memory_type}/{memory_id}"),
    ("get", "/health"),
}


@pytest.fixture(scope="module", params=["sqlite"])
def empty_database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> str:
    """One database is enough to describe an API."""
    return f"sqlite:///{tmp_path_factory.mktemp('database')}/memory.db"


async def described(client: httpx.AsyncClient) -> dict[str, Any]:
    return dict((await client.get("http://service/openapi.json")).json())


async def test_every_call_is_described(client: httpx.AsyncClient) -> None:
    """Nothing is missing and nothing is there that the contract does not know."""
    api = await described(client)
    assert {(method, path) for path, methods in api["paths"].items() for method in methods} == CALLS
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            assert operation.get("description"), (method, path)


async def test_every_error_is_described_in_its_own_shape(client: httpx.AsyncClient) -> None:
    """Clients can rely on detail and reason; the framework's own shape does not occur."""
    api = await described(client)
    assert "HTTPValidationError" not in json.dumps(api)
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            errors = {status: answer for status, answer in operation["responses"].items() if status >= "400"}
            assert "503" in errors, (method, path)
            assert path == "/health" or "422" in errors, (method, path)
            assert ({"400", "413"} & errors.keys() == {"400", "413"}) == ("requestBody" in operation), (method, path)
            for answer in errors.values():
                assert answer["content"].keys() == {"application/problem+json"}


@pytest.mark.parametrize("path", ["", "/search", "/working/active"])
async def test_the_shape_of_a_cursor_is_described(client: httpx.AsyncClient, path: str) -> None:
    """A client can tell what no page gives."""
    operation = (await described(client))["paths"][f"/api/v1/memories{path}"]["get"]
    (cursor,) = [one for one in operation["parameters"] if one["name"] == "cursor"]
    assert cursor["schema"]["anyOf"][0]["pattern"].startswith("^")


async def test_every_answer_is_described(client: httpx.AsyncClient) -> None:
    """Each call names the shape of what it gives."""
    api = await described(client)
    for path, methods in api["paths"].items():
        for method, operation in methods.items():
            (status,) = [status for status in operation["responses"] if status.startswith("2")]
            if status != "204":
                assert "$ref" in operation["responses"][status]["content"]["application/json"]["schema"], (method, path)


async def test_the_pages_are_there(client: httpx.AsyncClient) -> None:
    """The description can be read by people, too, without any other server."""
    page = (await client.get("http://service/docs")).text
    for name in ("docs/swagger-ui-bundle.js", "docs/swagger-ui.css"):
        assert name in page
        assert (await client.get(f"http://service/{name}")).status_code == 200
    assert "https://" not in page
    assert (await client.get("http://service/health")).json() == {"status": "ok"}
