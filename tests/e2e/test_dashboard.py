"""The dashboard in a real browser, before real services: what an operator sees, and what other pages do not."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from service_kit.process.address import Tcp
from sidecar.admin.access import HostNames
from sidecar.admin.app import Inspected, admin_app
from sidecar.admin.state import DashboardState
from sidecar.observability.metrics import Metrics
from sidecar.observability.recent import RecentProblems
from tests.support.browser import Page, browser, needs_chromium
from tests.support.built import ROOT
from tests.support.cluster import Cluster, Service
from tests.support.platform import STORE
from tests.support.processes import wait_until
from tests.support.servers import served

pytestmark = needs_chromium

AXE = ROOT / "tests/browser/node_modules/axe-core/axe.min.js"
TOKEN = "the-operator's"
PHONE = 375


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """Three real processes, each of which can be killed, frozen and brought back."""
    folder = tmp_path_factory.mktemp("dashboard")
    cluster = Cluster(folder, f"sqlite:///{folder}/sessions.db", f"sqlite:///{folder}/memories.db")
    cluster.configure_sidecar(
        SIDECAR_UPSTREAM=f"http://127.0.0.1:{cluster.memory_port}",
        SIDECAR_SESSION_SERVICE=f"http://127.0.0.1:{cluster.session_port}",
        SIDECAR_ADMIN_TOKEN=TOKEN,
    )
    with cluster.services_up():
        cluster.sidecar.start()
        yield cluster


@pytest.fixture(scope="module")
def tab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """A browser for which every name is this machine, as DNS rebinding would have it."""
    with browser(tmp_path_factory.mktemp("chromium"), "--host-resolver-rules=MAP *.example 127.0.0.1") as page:
        yield page


@pytest.fixture
def dashboard(cluster: Cluster, tab: Page) -> Page:
    """The dashboard in the light, on a screen."""
    tab.resize(1280, 900)
    tab.prefer("light")
    tab.open(admin(cluster))
    tab.wait_for("document.querySelectorAll('#health li').length", "the first figures")
    return tab


def admin(cluster: Cluster, host: str = "127.0.0.1") -> str:
    return f"http://{host}:{cluster.admin_port}/"


def store(cluster: Cluster, session_id: str, user_id: str | None = "ada") -> httpx.Response:
    body = {"session_id": session_id, "message_content": "Hello", **({"user_id": user_id} if user_id else {})}
    return httpx.post(f"http://127.0.0.1:{cluster.sidecar_port}{STORE}", json=body, trust_env=False, timeout=30)


def is_known(cluster: Cluster, session_id: str, user_id: str = "ada") -> bool:
    return httpx.get(f"{admin(cluster)}known/{user_id}/{session_id}", trust_env=False).status_code == 200


def figure(page: Page, selector: str) -> float:
    return float(page.text(selector).replace(",", "") or "nan")


def keep(page: Page, name: str, folder: Path) -> None:
    """Take a screenshot: for the documentation where scripts/screenshots asks for it, and in any case a valid one."""
    target = Path(os.environ.get("SCREENSHOTS", folder))
    page.screenshot(target / f"dashboard-{name}.png")
    assert (target / f"dashboard-{name}.png").stat().st_size > 10_000


def draw_some_lines(cluster: Cluster, page: Page) -> None:
    """Write until the page has fetched a dozen samples that differ."""
    served = 'dd[data-name="requests since the start"]'
    for sample in range(12):
        before = figure(page, served)
        writes = 4 + 3 * (sample % 4)
        for number in range(writes):
            store(cluster, f"drawn-{sample}-{number % 3}")
        page.wait_for(f"document.querySelector('{served}').innerText.replace(',', '') >= {before + writes:.0f}", "it")


def test_figures_move_under_traffic(cluster: Cluster, dashboard: Page) -> None:
    """Sessions made, requests and known sessions grow by what was sent, and the chart is told about it."""
    made = figure(dashboard, "#prevented")
    served = 'dd[data-name="requests since the start"]'
    served_before = figure(dashboard, served)
    for number in range(5):
        assert store(cluster, f"moves-{number}").status_code == 200
        assert store(cluster, f"moves-{number}").status_code == 200
    dashboard.wait_for(f"document.querySelector('#prevented').innerText == '{made + 5:.0f}'", "five sessions made")
    wait_until(lambda: figure(dashboard, served) == served_before + 10, "ten requests to be counted")
    dashboard.wait_for("!document.querySelector('#rates').ariaLabel.startsWith('known –')", "the rates to be drawn")
    assert dashboard.run("document.querySelectorAll('canvas').length") == 2


def test_a_refusal_appears_with_its_reason_and_what_to_do(cluster: Cluster, dashboard: Page) -> None:
    store(cluster, "hers")
    assert store(cluster, "hers", "bob").status_code == 403
    selector = "article[data-kind=session_owned_by_another_user]"
    dashboard.wait_for(f"document.querySelector('{selector}')", "the refusal to appear")
    assert "belongs to another user" in dashboard.text(selector)
    assert "What to do: Correct the client" in dashboard.text(selector)
    dashboard.run(f"document.querySelector('{selector} summary').click()")
    assert "hers" in dashboard.text(f"{selector} tbody")
    assert "bob" in dashboard.text(f"{selector} tbody")


def test_what_clients_send_is_shown_as_text(cluster: Cluster, dashboard: Page) -> None:
    """Markup in a path or an id is shown as text."""
    markup = "<img src=x onerror=document.title=1>"
    url = f"http://127.0.0.1:{cluster.sidecar_port}/api/v1/memories/{markup}//x"
    assert httpx.post(url, json={"session_id": markup, "user_id": markup}, trust_env=False).status_code in {400, 422}
    dashboard.wait_for("document.querySelector('#problems tbody')?.textContent.includes('onerror')", "the request")
    assert dashboard.run("document.querySelectorAll('#problems img').length") == 0


def state_of(name: str) -> str:
    return f"document.querySelector('li[data-name=\"{name}\"]')?.dataset.state"


STOPS: dict[str, tuple[Callable[[Service], None], Callable[[Service], None]]] = {
    "killed": (Service.kill, Service.start),
    "frozen": (Service.freeze, Service.thaw),
}


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("Session service", "killed"),
        ("Memory service", "frozen"),
        pytest.param("Session service", "frozen", marks=pytest.mark.variant),
        pytest.param("Memory service", "killed", marks=pytest.mark.variant),
    ],
)
def test_a_service_that_stops_shows_and_comes_back(cluster: Cluster, dashboard: Page, name: str, how: str) -> None:
    """The page shows it without traffic, by asking once a second."""
    service = cluster.sessions if name == "Session service" else cluster.memories
    stop, start = STOPS[how]
    dashboard.wait_for(f"{state_of(name)} == 'up'", f"{name} to be up")
    stop(service)
    try:
        dashboard.wait_for(f"{state_of(name)} == 'down'", f"{name} to show as down")
        assert dashboard.text("#connection") == "Live"
    finally:
        start(service)
    dashboard.wait_for(f"{state_of(name)} == 'up'", f"{name} to be up again")


def test_a_lost_event_stream_and_its_return_show(cluster: Cluster, dashboard: Page) -> None:
    dashboard.wait_for(f"{state_of('Event stream')} == 'up'", "the event stream")
    cluster.sessions.kill()
    dashboard.wait_for(f"{state_of('Event stream')} == 'warning'", "the loss of the event stream")
    cluster.sessions.start()
    dashboard.wait_for(f"{state_of('Event stream')} == 'up'", "the event stream again")


def test_it_says_when_the_sidecar_itself_gives_no_answer(cluster: Cluster, dashboard: Page) -> None:
    cluster.sidecar.kill()
    dashboard.wait_for("document.querySelector('#connection').dataset.state == 'down'", "the loss to show")
    assert "the figures are old" in dashboard.text("#connection")
    cluster.sidecar.start()
    dashboard.wait_for("document.querySelector('#connection').dataset.state == 'up'", "the answer to show")


LOOKS = [("light", 1280), ("dark", 1280), ("light", PHONE), ("dark", PHONE)]


def show_everything(cluster: Cluster, page: Page) -> None:
    """Have a problem on the page, opened."""
    store(cluster, "shown")
    store(cluster, "shown", "bob")
    store(cluster, "shown", None)
    page.wait_for("document.querySelectorAll('article').length >= 2", "problems")
    page.run("document.querySelectorAll('details').forEach(details => details.open = true)")


@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_it_fits_a_screen_and_a_phone_in_light_and_dark(
    cluster: Cluster, dashboard: Page, scheme: str, width: int, tmp_path: Path
) -> None:
    """No page is scrolled sideways, and the colours are those that the browser asks for."""
    show_everything(cluster, dashboard)
    dashboard.resize(width, 900, mobile=width == PHONE)
    dashboard.prefer(scheme)
    assert dashboard.run("document.documentElement.scrollWidth") <= width
    shade = dashboard.run("getComputedStyle(document.body).backgroundColor")
    assert (shade == "rgb(20, 24, 29)") is (scheme == "dark")
    dashboard.run("document.querySelectorAll('details').forEach(details => details.open = false)")
    dashboard.wait_for("document.querySelectorAll('#now dd')[0].innerText != '–'", "rates")
    if "SCREENSHOTS" in os.environ:
        draw_some_lines(cluster, dashboard)
    keep(dashboard, f"{'phone' if width == PHONE else 'screen'}-{scheme}", tmp_path)


@pytest.mark.skipif(not AXE.exists(), reason="axe-core is not installed")
@pytest.mark.parametrize(("scheme", "width"), LOOKS)
def test_axe_finds_nothing(cluster: Cluster, dashboard: Page, scheme: str, width: int) -> None:
    """axe-core finds no fault by its rules for WCAG 2.2 A and AA and good practice."""
    show_everything(cluster, dashboard)
    dashboard.resize(width, 900, mobile=width == PHONE)
    dashboard.prefer(scheme)
    dashboard.run(f"{AXE.read_text()}; 0")
    found = json.loads(dashboard.run("axe.run().then(result => JSON.stringify(result.violations))"))
    assert [(rule["id"], [node["html"] for node in rule["nodes"]]) for rule in found] == []


def test_it_asks_for_the_token_where_one_is_needed(tab: Page) -> None:
    """An address that others reach shows nothing before the right token is given."""
    state = DashboardState(Metrics(), RecentProblems(), {"version": "9.9"}, upstream=lambda: None)
    inspected = Inspected(CollectorRegistry(), state, [], lambda: True)
    hosts = HostNames(Tcp("0.0.0.0", 0))  # named, not bound
    with served(admin_app(inspected, token=TOKEN, hosts=hosts)) as url:
        tab.open(url)
        tab.wait_for("!document.querySelector('#sign-in').hidden", "the question for the token")
        assert "9.9" not in tab.text("body")
        for token, shown in (("wrong", "not the one"), (TOKEN, "9.9")):
            tab.run(f"document.querySelector('#token').value = {json.dumps(token)}")
            tab.run("document.querySelector('#sign-in button').click()")
            tab.wait_for(f"document.body.innerText.includes({json.dumps(shown)})", f"the answer to {token}")


# Other pages ---------------------------------------------------------------------------------------------------------

# What a page may try: each gives what it could read of an answer, or why it could not.
ATTEMPTS = """
(async () => {
  const admin = %s, token = %s, secret = {Authorization: `Bearer ${token}`}, read = {};
  const tried = async (name, attempt) => {
    try { read[name] = await attempt(); } catch (error) { read[name] = `${error.name}`; }
  };
  const text = (path, options) => fetch(admin + path, options).then(answer => answer.text());
  for (const path of ["", "dashboard.json", "config", "metrics", "healthz", "known/ada/kept"]) {
    await tried(`fetch ${path}`, () => text(path));
    await tried(`fetch ${path} without cors`, () => text(path, {mode: "no-cors"}));
    await tried(`fetch ${path} with the token`, () => text(path, {headers: secret}));
  }
  for (const method of ["DELETE", "POST", "PUT"])
    for (const headers of [{}, secret])
      await tried(`${method} ${Object.keys(headers)}`, () => text("known/ada/kept", {method, headers}));
  for (const tag of ["script", "img", "iframe"])
    await tried(tag, () => new Promise(done => {
      const node = document.createElement(tag);
      node.onload = () => {
        let body = "loaded";
        try { body = node.contentDocument ? node.contentDocument.body.innerText : body; } catch { body = "hidden"; }
        done(tag === "iframe" ? body : "loaded");
      };
      node.onerror = () => done("error");
      node.src = admin + "dashboard.json";
      document.body.append(node);
    }));
  return JSON.stringify(read);
})()
"""


def attack(page: Page, target: str) -> dict[str, str]:
    return dict(json.loads(page.run(ATTEMPTS % (json.dumps(target), json.dumps(TOKEN)))))


def assert_nothing_was_read(read: dict[str, str]) -> None:
    for name, body in read.items():
        assert not {"sidecar_", "SIDECAR_MODE", "prevented", "ada", "<html", "ok\n"} & set(body.split()), name
        assert "sidecar_" not in body, name
        assert "decisions" not in body, name
        assert "<html" not in body, name


def test_a_page_of_another_origin_reads_and_changes_nothing(cluster: Cluster, tab: Page) -> None:
    """The browser blocks a page of another site and of another port, even with the token."""
    store(cluster, "kept")

    async def page(_request: Request) -> Response:
        return HTMLResponse("<!doctype html><title>elsewhere</title><body>")

    with served(Starlette(routes=[Route("/", page)])) as url:
        port = url.rpartition(":")[2]
        for origin in (f"http://elsewhere.example:{port}/", f"http://127.0.0.1:{port}/", f"http://localhost:{port}/"):
            tab.open(origin)
            read = attack(tab, admin(cluster))
            assert_nothing_was_read(read)
            assert {read["script"], read["img"]} == {"error"}
            assert is_known(cluster, "kept")


def test_a_rebound_name_reads_and_changes_nothing(cluster: Cluster, tab: Page) -> None:
    """A page whose own name resolves to the admin address is refused by its `Host`."""
    store(cluster, "kept")
    rebound = admin(cluster, "rebound.example")
    tab.open(rebound)
    assert "Host does not name this address" in tab.text("body")
    # The attacker's own page, loaded before its name was rebound, would not have our policy.
    tab.call("Page.setBypassCSP", enabled=True)
    try:
        tab.open(rebound)
        read = attack(tab, rebound)
    finally:
        tab.call("Page.setBypassCSP", enabled=False)
    assert_nothing_was_read(read)
    assert "Host does not name" in read["fetch dashboard.json"]
    assert is_known(cluster, "kept")


def test_the_attempts_succeed_where_nothing_forbids_them(cluster: Cluster, tab: Page) -> None:
    """The same attempts from the address itself succeed, so that the other tests show the origin at work."""
    store(cluster, "kept")
    tab.open(admin(cluster))
    read = attack(tab, admin(cluster))
    assert "sidecar_requests_total" in read["fetch metrics"]
    assert "decisions" in read["fetch dashboard.json"]
    assert not is_known(cluster, "kept")
