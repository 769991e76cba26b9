"""The admin address: three open paths, a token before everything else."""

from __future__ import annotations

import httpx
import pytest
from prometheus_client import CollectorRegistry

from sidecar.doors.admin import admin_app
from sidecar.observability.metrics import Metrics


def client(*, is_ready: bool = True, token: str | None = None, loopback: bool = False) -> httpx.AsyncClient:
    registry = CollectorRegistry()
    registry.register(Metrics())
    app = admin_app(registry, lambda: is_ready, token, loopback=loopback)
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://admin")


async def test_it_is_alive_as_soon_as_it_answers() -> None:
    async with client(is_ready=False) as http:
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_it_is_ready_only_while_it_takes_requests(is_ready: bool, status: int) -> None:
    async with client(is_ready=is_ready) as http:
        assert (await http.get("/readyz")).status_code == status


async def test_metrics_need_no_token_and_are_in_the_exposition_format() -> None:
    async with client(token="secret") as http:
        response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "sidecar_orphan_writes_prevented_total 0.0" in response.text


@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic secret", "secret", "Bearer"])
async def test_anything_else_is_401_without_the_token(authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization}
    async with client(token="secret") as http:
        response = await http.get("/anything", headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


async def test_where_no_token_is_set_nobody_holds_it() -> None:
    async with client() as http:
        assert (await http.get("/anything", headers={"Authorization": "Bearer "})).status_code == 401


async def test_with_the_token_an_unknown_path_is_404() -> None:
    async with client(token="secret") as http:
        assert (await http.get("/anything", headers={"Authorization": "bearer secret"})).status_code == 404


async def test_on_loopback_no_token_is_needed() -> None:
    async with client(token="secret", loopback=True) as http:
        assert (await http.get("/anything")).status_code == 404
