"""The admin address: who may ask for what, and what the cache says of a session."""

from __future__ import annotations

from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

import httpx
import pytest
import structlog
from prometheus_client import CollectorRegistry
from structlog.testing import capture_logs

from service_kit.process.address import Address, Tcp, Unix
from sidecar.admin.access import HostNames
from sidecar.admin.app import Inspected, admin_app
from sidecar.admin.effective_settings import effective
from sidecar.admin.state import DashboardState
from sidecar.cache.session_cache import SessionCache
from sidecar.model import Reason, Reference, Session, SessionKey, SessionStatus
from sidecar.observability.metrics import Metrics
from sidecar.observability.telemetry import LoggedMetrics
from sidecar.settings import Settings

ANYWHERE = Tcp("0.0.0.0", 9901)
LOOPBACK = Tcp("127.0.0.1", 9901)
TOKEN = {"Authorization": "Bearer secret"}


def cache_of(*sessions: tuple[SessionKey, Session]) -> SessionCache:
    known = SessionCache(10, 300, followed=False)
    for key, session in sessions:
        known.remember(key, session, known.ticket())
    return known


def client(
    *,
    is_ready: bool = True,
    token: str | None = "secret",
    bound: Address = ANYWHERE,
    known: SessionCache | None = None,
    scope: tuple[str, ...] = (),
    canonical: Callable[[str], str] = str,
    host: str = "127.0.0.1:9901",
    settings: Settings | None = None,
    metrics: Metrics | None = None,
    telemetry: LoggedMetrics | None = None,
) -> httpx.AsyncClient:
    metrics = metrics or Metrics()
    registry = CollectorRegistry()
    registry.register(metrics)
    recorded = telemetry or LoggedMetrics(metrics, None)  # type: ignore[arg-type] # nothing is logged here
    state = DashboardState(metrics, recorded.recent, {"version": "1"}, upstream=lambda: None)
    shown = effective(settings) if settings else []
    inspected = Inspected(registry, state, shown, lambda: is_ready, known=known, scope=scope, canonical=canonical)
    app = admin_app(inspected, token=token, hosts=HostNames(bound, Tcp("admin.example", 0)))
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url=f"http://{host}")


async def test_it_is_alive_as_soon_as_it_answers() -> None:
    async with client(is_ready=False) as http:
        assert (await http.get("/healthz")).status_code == 200


@pytest.mark.parametrize(("is_ready", "status"), [(True, 200), (False, 503)])
async def test_it_is_ready_only_while_it_takes_requests(is_ready: bool, status: int) -> None:
    async with client(is_ready=is_ready) as http:
        assert (await http.get("/readyz")).status_code == status


async def test_every_response_has_a_date() -> None:
    async with client() as http:
        served, refused = await http.get("/healthz"), await http.get("/config")
    for response in (served, refused):
        assert parsedate_to_datetime(response.headers["date"]).tzinfo is not None


async def test_metrics_need_no_token_and_are_in_the_exposition_format() -> None:
    async with client() as http:
        response = await http.get("/metrics")
    assert response.status_code == 200
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert "sidecar_orphan_writes_prevented_total 0.0" in response.text


PATHS = ["/", "/config", "/dashboard.json", "/known/ada/s1", "/anything"]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Basic secret", "secret", "Bearer", "Bearer ü"])
async def test_reading_from_elsewhere_is_401_without_the_token(path: str, authorization: str | None) -> None:
    headers = {} if authorization is None else {"Authorization": authorization.encode()}
    async with client() as http:
        response = await http.get(path, headers=headers)
    assert response.status_code == 401
    assert response.headers["www-authenticate"] == "Bearer"


@pytest.mark.parametrize("path", PATHS)
async def test_where_no_token_is_set_none_is_right(path: str) -> None:
    async with client(token=None) as http:
        assert (await http.get(path, headers={"Authorization": "Bearer "})).status_code == 401


@pytest.mark.parametrize(("bound", "headers"), [(ANYWHERE, TOKEN), (LOOPBACK, {}), (Unix("/run/admin"), {})])
@pytest.mark.parametrize(("path", "status"), [("/", 200), ("/config", 200), ("/known/a/s", 404), ("/anything", 404)])
async def test_reading_needs_the_token_or_an_address_of_this_machine(
    bound: Address, headers: dict[str, str], path: str, status: int
) -> None:
    async with client(bound=bound) as http:
        assert (await http.get(path, headers=headers)).status_code == status


async def test_a_person_without_the_token_gets_a_page_that_asks_for_it() -> None:
    """The page is the same for each visitor and has no figure in it."""
    async with client() as http:
        refused, shown = await http.get("/"), await http.get("/", headers=TOKEN)
    assert refused.status_code == 401
    assert refused.text == shown.text
    assert 'id="sign-in"' in refused.text


@pytest.mark.parametrize("bound", [ANYWHERE, LOOPBACK, Unix("/run/admin")])
async def test_forgetting_needs_the_token_everywhere(bound: Address) -> None:
    known = cache_of(("s1", Session("ada", SessionStatus.ACTIVE)))
    async with client(bound=bound, known=known) as http:
        refused = await http.delete("/known/ada/s1")
        assert (refused.status_code, len(known)) == (401, 1)
        assert (await http.delete("/known/ada/s1", headers=TOKEN)).status_code == 204
    assert len(known) == 0


@pytest.mark.parametrize(
    ("bound", "host", "status"),
    [
        (LOOPBACK, "127.0.0.1:9901", 200),
        (LOOPBACK, "localhost:9901", 200),
        (LOOPBACK, "LOCALHOST.:4711", 200),
        (LOOPBACK, "[::1]:9901", 200),
        (LOOPBACK, "admin.example", 200),
        (LOOPBACK, "evil.example:9901", 421),
        (LOOPBACK, "127.0.0.1.evil.example", 421),
        (LOOPBACK, "localhost.evil.example", 421),
        (LOOPBACK, "rebound", 421),
        (LOOPBACK, "10.0.0.1:9901", 421),
        (LOOPBACK, "", 421),
        (ANYWHERE, "10.0.0.1:9901", 200),
        (ANYWHERE, "[fd00::1]:9901", 200),
        (ANYWHERE, "sidecar:9901", 200),
        (ANYWHERE, "admin.example:9901", 200),
        (ANYWHERE, "evil.example:9901", 421),
        (ANYWHERE, "evil.example.:9901", 421),
        (ANYWHERE, "", 421),
        (Unix("/run/admin"), "evil.example", 200),
    ],
)
@pytest.mark.parametrize("path", ["/metrics", "/healthz", "/"])
async def test_host_must_name_the_address(bound: Address, host: str, status: int, path: str) -> None:
    async with client(bound=bound) as http:
        assert (await http.get(path, headers={"Host": host, **TOKEN})).status_code == status


async def test_two_hosts_name_nothing() -> None:
    hosts = [("Host", "127.0.0.1"), ("Host", "evil.example")]
    async with client(bound=LOOPBACK) as http:
        request = http.build_request("GET", "/metrics")
        request.headers = httpx.Headers(hosts)
        assert (await http.send(request)).status_code == 421


OTHER_PAGES: list[dict[str, str]] = [
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"},
    {"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"},
    {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"},
    {"Origin": "http://evil.example"},
    {"Origin": "http://127.0.0.1:3000"},
    {"Origin": "null"},
]


@pytest.mark.parametrize("path", ["/metrics", "/dashboard.json", "/config", "/"])
@pytest.mark.parametrize("headers", OTHER_PAGES)
async def test_a_page_of_another_origin_gets_nothing(path: str, headers: dict[str, str]) -> None:
    async with client(bound=LOOPBACK) as http:
        response = await http.get(path, headers={**headers, **TOKEN})
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_preflight_is_not_answered_as_one() -> None:
    headers = {"Origin": "http://evil.example", "Access-Control-Request-Method": "DELETE"}
    async with client(bound=LOOPBACK) as http:
        response = await http.options("/known/ada/s1", headers=headers)
    assert response.status_code == 403
    assert not [name for name in response.headers if name.startswith("access-control-")]


async def test_a_link_elsewhere_may_lead_to_the_dashboard() -> None:
    followed = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    async with client(bound=LOOPBACK) as http:
        assert (await http.get("/", headers=followed)).status_code == 200
        assert (await http.get("/config", headers=followed)).status_code == 403


async def test_the_pages_own_requests_are_answered() -> None:
    own = {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors", "Origin": "http://127.0.0.1:9901"}
    async with client(bound=LOOPBACK) as http:
        assert (await http.get("/dashboard.json", headers=own)).status_code == 200


async def test_no_response_may_be_framed_sniffed_or_kept() -> None:
    async with client(bound=LOOPBACK) as http:
        responses = [await http.get(path) for path in ("/", "/config", "/metrics", "/nothing")]
    for response in responses:
        assert response.headers["x-content-type-options"] == "nosniff"
        assert response.headers["cache-control"] == "no-store"
        assert "frame-ancestors 'none'" in response.headers["content-security-policy"]


async def test_the_dashboard_loads_nothing() -> None:
    """The page holds all that it needs, and its policy allows nothing else."""
    async with client(bound=LOOPBACK) as http:
        response = await http.get("/")
    policy = response.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "unsafe" not in policy
    assert " src=" not in response.text
    assert "/*script*/" not in response.text


def secret_settings(monkeypatch: pytest.MonkeyPatch) -> Settings:
    monkeypatch.setenv("SIDECAR_ADMIN_TOKEN", "secret")
    monkeypatch.setenv("SIDECAR_SESSION_SERVICE_TOKEN", "hidden")
    return Settings()


async def test_settings_are_shown_with_secrets_masked(monkeypatch: pytest.MonkeyPatch) -> None:
    async with client(bound=LOOPBACK, settings=secret_settings(monkeypatch)) as http:
        response = await http.get("/config")
    assert response.json()["SIDECAR_MODE"] == "enforce"
    assert response.json()["SIDECAR_ADMIN_TOKEN"] == "**********"
    assert "secret" not in response.text
    assert "hidden" not in response.text


ADA = Session("ada", SessionStatus.ACTIVE)


async def test_a_known_session_is_shown() -> None:
    async with client(bound=LOOPBACK, known=cache_of(("a:b@c", ADA))) as http:
        response = await http.get("/known/ada/a%3Ab%40c")
    assert response.json() == {"session_id": "a:b@c", "user_id": "ada", "status": "active"}


async def test_looking_counts_neither_as_hit_nor_as_miss() -> None:
    known = cache_of(("s1", ADA))
    async with client(bound=LOOPBACK, known=known) as http:
        await http.get("/known/ada/s1")
        await http.get("/known/ada/s2")
    assert (known.hits, known.misses) == (0, 0)


async def test_a_deleted_session_is_shown_as_such() -> None:
    known = cache_of()
    known.deleted("s1")
    async with client(bound=LOOPBACK, known=known) as http:
        response = await http.get("/known/ada/s1")
    assert response.json()["status"] == "deleted"


@pytest.mark.parametrize(("path", "why"), [("/known/ada/other", "nothing"), ("/known/bob/s1", "another user's")])
async def test_what_is_not_known_for_that_user_is_404(path: str, why: str) -> None:
    async with client(bound=LOOPBACK, known=cache_of(("s1", ADA))) as http:
        response = await http.get(path)
    assert response.status_code == 404
    assert why in response.json()["detail"]
    assert "ada" not in response.json()["detail"]


async def test_a_session_is_not_forgotten_in_the_name_of_another_user() -> None:
    known = cache_of(("s1", ADA))
    async with client(known=known) as http:
        assert (await http.delete("/known/bob/s1", headers=TOKEN)).status_code == 404
    assert len(known) == 1


async def test_an_answer_that_is_under_way_when_its_session_is_forgotten_is_dropped() -> None:
    known = cache_of()
    ticket = known.ticket()
    async with client(known=known) as http:
        assert (await http.delete("/known/ada/s1", headers=TOKEN)).status_code == 204
    assert not known.remember("s1", ADA, ticket)


async def test_a_profile_that_scopes_sessions_needs_the_scope_in_the_query() -> None:
    known = cache_of((("app", "s1"), ADA))
    async with client(bound=LOOPBACK, known=known, scope=("app_name",)) as http:
        assert "app_name" in (await http.get("/known/ada/s1")).json()["detail"]
        assert (await http.get("/known/ada/s1?app_name=app")).json()["status"] == "active"


async def test_a_session_is_found_under_every_spelling_of_its_id() -> None:
    known = cache_of(("s1", ADA))
    async with client(bound=LOOPBACK, known=known, canonical=str.lower) as http:
        assert (await http.get("/known/ada/S1")).json()["session_id"] == "S1"
    async with client(known=known, canonical=str.lower) as http:
        assert (await http.delete("/known/ada/S1", headers=TOKEN)).status_code == 204
    assert len(known) == 0


def problem(document: dict[str, Any], kind: str) -> dict[str, Any]:
    (found,) = [problem for problem in document["problems"] if problem["kind"] == kind]
    return dict(found)


async def test_the_last_refusals_of_each_reason_come_with_what_to_do() -> None:
    """A flood of one reason leaves the others in place."""
    with capture_logs():
        metrics = Metrics()
        telemetry = LoggedMetrics(metrics, structlog.get_logger())
        telemetry.decided("refused", Reason.SESSION_GONE, Reference("s1", "ada"), "the session was deleted")
        for _ in range(1_000):
            telemetry.decided("refused", Reason.USER_ID_REQUIRED, None, "no user")
    async with client(bound=LOOPBACK, metrics=metrics, telemetry=telemetry) as http:
        document = (await http.get("/dashboard.json")).json()
    gone, flood = problem(document, "session_gone"), problem(document, "user_id_required")
    assert document["refusals"] == {"session_gone": 1, "user_id_required": 1_000}
    assert (gone["count"], gone["last"][0]["session_id"]) == (1, "s1")
    assert "new session" in gone["do"]
    assert (flood["count"], len(flood["last"])) == (1_000, 10)
