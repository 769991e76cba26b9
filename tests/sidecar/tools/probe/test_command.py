"""`session-sidecar probe`: which harm it finds in session services that do it, and what `serve` makes of that."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

import sidecar.tools.probe.run
from sidecar.command_line import commands
from tests.support.probed import PROFILE, WITH_VARIABLE, Service
from tests.support.servers import served


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The stand-in's clock is a counter, so that no time has to pass between a create and its repetition."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tried.toml").write_text(PROFILE)
    init = sidecar.tools.probe.run.Probe.__init__
    monkeypatch.setattr(sidecar.tools.probe.run.Probe, "__init__", lambda *a, **k: init(*a, **{**k, "pause": 0.0}))


def run(service: Service, *arguments: str, command: str = "probe", **env: str) -> Result:
    with served(service.app) as url:
        return probe_at(url, *arguments, command=command, **env)


def probe_at(url: str, *arguments: str, command: str = "probe", **env: str) -> Result:
    options = ["--yes-create", *arguments] if command == "probe" else list(arguments)
    settings = {"SIDECAR_PROFILE": "tried.toml", "SIDECAR_SESSION_SERVICE": url, **env}
    return CliRunner().invoke(commands, [command, *options], env=settings)


def codes(result: Result) -> set[str]:
    return {line.split()[0] for line in result.output.splitlines() if line.startswith("P1")}


def test_a_service_that_behaves_is_safe() -> None:
    """A service without faults gets one finding, that it keeps no trace of deletions, and keeps no probe session."""
    service = Service("hides")
    result = run(service)
    assert (result.exit_code, codes(result)) == (0, {"P108"}), result.output
    assert "0 errors, 1 warning, safe to create at" in result.output
    assert service.sessions == {}
    assert service.asked_for
    assert all(one.startswith("probe-") for one in service.asked_for)


@pytest.mark.parametrize(
    ("habit", "code", "exit_code"),
    [
        ("finds-all", "P101", 1),
        ("mints", "P102", 1),
        ("wipes", "P103", 1),
        ("gives-away", "P104", 1),
        ("flatters", "P105", 1),
        ("fails", "P106", 0),
        ("folds", "P107", 0),
        ("keeps", "P110", 0),
        ("touches", "P111", 0),
        ("wipes", "P112", 1),
    ],
)
def test_each_harm_has_its_code_and_its_remedy(habit: str, code: str, exit_code: int) -> None:
    """Each fault has its code and remedy; an error makes the exit code 1, a warning does not."""
    result = run(Service(habit))
    assert code in codes(result), result.output
    assert result.exit_code == exit_code
    found = result.output.splitlines()
    assert found[[line[:4] for line in found].index(code) + 1].startswith("     ")


def test_a_service_that_wants_uuids_gets_uuids() -> None:
    """After a refused id the probe goes on with UUIDs."""
    result = run(Service("hides", "wants-uuids"))
    assert (result.exit_code, codes(result)) == (0, {"P108"}), result.output


def test_a_service_that_takes_no_unknown_fields_is_tried_without_a_mark() -> None:
    """After a refused metadata field the probe goes on without it."""
    result = run(Service("hides", "takes-no-metadata"))
    assert (result.exit_code, codes(result)) == (0, {"P108"}), result.output


def test_a_wrong_token_that_is_accepted_is_a_warning() -> None:
    """A service that accepts a wrong token gets a warning, where a token is configured."""
    assert "P109" in codes(run(Service("hides"), "--token", "right"))
    assert "P109" not in codes(run(Service("hides", "secret"), "--token", "right"))


def test_a_service_that_does_not_answer_is_one_finding() -> None:
    """A service that does not answer gets one finding, and no record for `serve`."""
    result = probe_at("http://127.0.0.1:9")
    assert (result.exit_code, codes(result)) == (1, {"P100"})
    assert not Path("data/probe.json").exists()


def test_what_a_service_answers_has_no_power_over_the_terminal() -> None:
    """Control characters in the name of a field are escaped, line breaks included."""
    service = Service("wipes", field="\x1b[2J\x9bm\nP100")
    result = run(service)
    assert r"\x1b[2J\x9bm\nP100" in result.output
    assert all(line.isprintable() for line in result.output.splitlines())


def test_a_reader_of_the_record_never_meets_half_of_it() -> None:
    """The record is replaced as a whole: what was opened before stays what it was."""
    run(Service("wipes"))
    with Path("data/probe.json").open("rb") as before:
        run(Service("wipes"))
        after = Path("data/probe.json").read_bytes()
        first = before.read()
    assert len(json.loads(first)) == 1
    assert len(json.loads(after)) == 2
    assert [path.name for path in Path("data").iterdir()] == ["probe.json"]


def test_nothing_is_created_without_leave() -> None:
    """Without `--yes-create` the probe creates nothing, exits with 2 and names the option."""
    service = Service()
    with served(service.app) as url:
        env = {"SIDECAR_PROFILE": "tried.toml", "SIDECAR_SESSION_SERVICE": url}
        result = CliRunner().invoke(commands, ["probe"], env=env)
    assert result.exit_code == 2
    assert "--yes-create" in result.output
    assert service.asked_for == set()


@pytest.mark.parametrize("arguments", [["--user", "ann"], ["--user", "ann", "--user", "ann"], ["--with", "app=x"]])
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """`--with` accepts the names of the profile alone."""
    assert probe_at("http://127.0.0.1:9", *arguments).exit_code == 2


def test_a_value_that_a_call_needs_is_asked_for() -> None:
    """A profile may have variables without a default; without a value the call cannot be written."""
    Path("tried.toml").write_text(WITH_VARIABLE)
    result = run(Service())
    assert (result.exit_code, result.stdout) == (2, "")
    (line,) = result.stderr.splitlines()
    assert "tenant" in line
    assert "--with NAME=VALUE" in line
    assert run(Service(), "--with", "tenant=one").exit_code == 0


def test_serve_refuses_a_profile_whose_create_was_found_unsafe() -> None:
    """`serve` names the profile, the codes and the setting that overrides the refusal."""
    service = Service("wipes")
    with served(service.app) as url:
        probe_at(url)
        refused = probe_at(url, command="serve")
    assert refused.exit_code == 2
    assert "profile tried: probe found its create call unsafe" in refused.output
    assert "P103" in refused.output
    assert "SIDECAR_UNSAFE_CREATE=tried" in refused.output


def test_a_clean_probe_takes_the_refusal_back() -> None:
    """After a clean probe `serve` starts again."""
    service = Service("wipes", "hides")
    with served(service.app) as url:
        probe_at(url)
        service.habits = ("hides",)
        assert probe_at(url).exit_code == 0
        # The upstream address is the sidecar's own, so that serve ends at once for that reason.
        refused = probe_at(url, command="serve", SIDECAR_UPSTREAM="http://127.0.0.1:8080")
    assert "probe found" not in refused.output


def test_the_override_names_the_profile() -> None:
    """The override counts for the profile that it names, and for no other."""
    from sidecar.settings import Settings
    from sidecar.tools.probe.record import record, unsafe_create

    settings = Settings(profile="tried.toml")
    record(settings, ["P103"])
    assert unsafe_create(settings) is not None
    assert unsafe_create(settings.model_copy(update={"unsafe_create": "other"})) is not None
    assert unsafe_create(settings.model_copy(update={"unsafe_create": "tried"})) is None


def test_the_service_is_found_through_consul() -> None:
    """The instance that Consul names is probed, and not the address that is not in use."""
    service = Service("hides")

    async def health(_request: Request) -> JSONResponse:
        host, _, port = url.removeprefix("http://").rpartition(":")
        found = [{"Service": {"Address": host, "Port": int(port)}, "Node": {"Address": host}}]
        return JSONResponse(found, headers={"X-Consul-Index": "7"})

    consul = Starlette(routes=[Route("/v1/health/service/session_service", health)])
    with served(service.app) as url, served(consul) as agent:
        result = probe_at("http://127.0.0.1:9", CONSUL_HTTP_ADDR=agent)
    assert (result.exit_code, codes(result)) == (0, {"P108"}), result.output
    assert f"profile tried at session_service in Consul at {agent}: 0 errors" in result.output
    assert service.asked_for
