"""`session-sidecar explain`: the rule, the places, the ids, the decision, and why nothing is guarded."""

from __future__ import annotations

import gzip
import json
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sidecar.command_line import commands
from sidecar.profile.profile import Places
from tests.support.probed import PROFILE, Service
from tests.support.processes import run_to_end
from tests.support.servers import served

WRITE = '{"session_id": "s-1", "user_id": "ann"}'
STORE = "http://127.0.0.1:8080/api/v1/memories/session/store"


@pytest.fixture(autouse=True)
def _clean(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)


def run(*arguments: str, text: bytes | None = None, **env: str) -> Result:
    return CliRunner().invoke(commands, ["explain", *arguments], env=env, input=text)


def last(result: Result) -> str:
    return str(result.output.splitlines()[-1])


def as_json(*arguments: str, **env: str) -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(run("--json", *arguments, **env).stdout)
    return loaded


def test_an_admitted_write_names_rule_line_places_and_ids() -> None:
    """The rule that matched is marked, and has its line in the profile."""
    result = run("-d", WRITE, STORE)
    assert result.exit_code == 0
    assert "* isa.toml:" in result.output
    assert 'session_id in JSON session_id: "s-1"' in result.output
    assert "session_id in JSON context.session_id: nothing" in result.output
    assert "names session_id=s-1, user_id=ann" in result.output
    assert last(result).startswith("admitted: forwarded once the session exists")


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        (["/health"], {}, "passes: the path is under no prefix of the profile (/api/v1/memories, /mcp)"),
        (["-X", "PUT", "/threads/t/runs"], {"SIDECAR_PROFILE": "langgraph"}, "passes: no rule for PUT"),
        (["-d", "{}", "/threads/t/history"], {"SIDECAR_PROFILE": "langgraph"}, "passes: no rule for this path"),
        (["-d", "{}", "/api/v1/memories/session/s/deactivate"], {}, "passes: rule isa.toml:26 lets it pass"),
        (["-d", '{"run_id": "r"}', STORE], {}, "a similar name `run_id` is there"),
        (["-d", '{"a": [{"thread": 1}], "chatId": 2}', STORE], {}, "similar names `a[].thread`, `chatId` are there"),
    ],
)
def test_why_a_request_is_not_guarded(arguments: list[str], env: dict[str, str], expected: str) -> None:
    """A request that passes has exit code 0 and the reason why no rule guards it."""
    result = run(*arguments, **env)
    assert result.exit_code == 0
    assert last(result).endswith(expected)


@pytest.mark.parametrize(
    ("arguments", "expected"),
    [
        (["-d", '{"session_id": "s"}', STORE], "refused 422 user_id_required"),
        (["-d", '{"session_id": "s", "user_id": "a", "session_id": "t"}', STORE], "refused 400 ambiguous_session"),
        (["-d", "no json", "-H", "content-type: application/json", STORE], "refused 400 unreadable_body"),
        (["-d", WRITE, "/api/v1/memories/session%2Fstore"], "refused 400 ambiguous_path"),
        (["-d", '{"session_id": "../s", "user_id": "a"}', STORE], "refused 422 invalid_session_id"),
    ],
)
def test_a_refused_request_has_exit_code_1_and_its_reason(arguments: list[str], expected: str) -> None:
    """The status and the code are those that the client would get."""
    result = run(*arguments)
    assert result.exit_code == 1
    assert expected in last(result)


def test_a_request_that_is_forwarded_at_once_says_what_the_answer_does() -> None:
    """For a rule of kind `recover`, the output says what happens on the answer."""
    body = '{"appName": "app", "userId": "ann", "sessionId": "s 1"}'
    result = run("-d", body, "/run", SIDECAR_PROFILE="adk")
    assert last(result).startswith("passes: forwarded at once; if the answer says that the session is missing")
    assert "names session_id=s 1, user_id=ann, app=app" in result.output


def test_the_calls_of_an_mcp_batch_are_explained_each() -> None:
    """Each call of a batch has its outcome, and the rule of its own tool is marked."""
    calls = [
        {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": name, "arguments": json.loads(WRITE)}}
        for name in ("store_memory", "get_session_context")
    ]
    found = as_json("-d", json.dumps(calls), "/mcp")
    assert [outcome["outcome"] for outcome in found["outcomes"]] == ["admitted", "passed"]
    assert [rule["why"] for rule in found["rules"] if rule["matched"]] == [
        "the first that matches get_session_context",
        "the first that matches store_memory",
    ]


def test_the_places_of_each_call_of_a_batch_are_shown() -> None:
    """Every message has places of its own."""
    arguments = [{}, {"session_id": "s-2", "user_id": "ann"}]
    calls = [{"method": "tools/call", "params": {"name": "store_memory", "arguments": each}} for each in arguments]
    places = as_json("-d", json.dumps(calls), "/mcp")["places"]
    found = {place["where"]: place["found"] for place in places if place["name"] == "session_id"}
    assert found["message 1, JSON session_id"] is None
    assert found["message 2, JSON session_id"] == "s-2"


@pytest.mark.parametrize("wrapped", [False, True])
def test_ids_in_arguments_that_are_written_as_a_string_are_shown(wrapped: bool) -> None:
    """Where an MCP server takes an object written as a string, the sidecar finds ids in it."""
    arguments = {"tool_name": "store_memory", "parameters": WRITE} if wrapped else json.loads(WRITE)
    params = {"name": "call_tool" if wrapped else "store_memory", "arguments": json.dumps(arguments)}
    found = as_json("-d", json.dumps({"method": "tools/call", "params": params}), "/mcp")
    assert found["sessions"] == [{"session_id": "s-1", "user_id": "ann"}]
    assert {"name": "session_id", "where": "JSON session_id", "found": "s-1"} in found["places"]
    assert any("the first that matches store_memory" in rule["why"] for rule in found["rules"] if rule["matched"])


def test_form_fields_are_read_as_curl_sends_them() -> None:
    """`-F` makes a multipart form."""
    found = as_json("-F", "session_id=s1", "-F", "user_id=ann", "/agents/x/runs", SIDECAR_PROFILE="agno")
    assert found["sessions"] == [{"session_id": "s1", "user_id": "ann"}]
    assert {"name": "session_id", "where": "form session_id", "found": "s1"} in found["places"]


def test_a_place_of_every_kind_is_looked_at(tmp_path: Path) -> None:
    """A kind of place that a profile may name is shown, also where nothing stands in it."""
    kinds = {field.name for field in fields(Places)} - {"default"}
    named = "".join(f'{kind} = ["sid"]\n' for kind in kinds)
    (tmp_path / "tried.toml").write_text(f"{PROFILE}\n[ids.session_id]\n{named}")
    found = as_json("-d", "{}", "/memories/s-1", SIDECAR_PROFILE="tried.toml")
    shown = {place["where"].lower() for place in found["places"] if place["name"] == "session_id"}
    assert shown == {"path"} | {f"{kind} sid" for kind in kinds}


def test_the_user_header_is_looked_at() -> None:
    """Where the settings name a header for the user, what stands in it is shown."""
    env = {"SIDECAR_USER_HEADER": "X-User"}
    shown = {"name": "user_id", "where": "header X-User", "found": "ann"}
    assert shown in as_json("-d", WRITE, "-H", "x-user: ann", STORE, **env)["places"]
    assert {**shown, "found": None} in as_json("-d", WRITE, STORE, **env)["places"]


def test_the_body_may_come_from_a_file_or_standard_input(tmp_path: Path) -> None:
    """`-d` takes `@FILE` and `-`, as curl does."""
    (tmp_path / "body.json").write_text(WRITE)
    assert "names session_id=s-1" in run("-d", "@body.json", STORE).output
    assert "names session_id=s-1" in run("-d", "-", STORE, text=WRITE.encode()).output


def test_a_compressed_body_is_explained_as_the_proxy_reads_it(tmp_path: Path) -> None:
    """Its content coding is undone."""
    (tmp_path / "body").write_bytes(gzip.compress(WRITE.encode()))
    result = run("-H", "Content-Encoding: gzip", "-d", f"@{tmp_path}/body", STORE)
    assert (result.exit_code, last(result)[:9]) == (0, "admitted:")
    assert 'session_id in JSON session_id: "s-1"' in result.output
    call = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "get_x", "arguments": {}}}
    (tmp_path / "call").write_bytes(gzip.compress(json.dumps(call).encode()))
    read = run("-H", "Content-Encoding: gzip", "-d", f"@{tmp_path}/call", "http://127.0.0.1:8080/mcp")
    assert "the first that matches get_x" in read.output


@pytest.mark.parametrize(
    ("arguments", "env", "expected"),
    [
        (["-H", "Content-Encoding: compress"], {}, "refused 415 unsupported_encoding: "),
        (["-H", "Content-Encoding: gzip"], {}, "refused 400 unreadable_body: The body is not one complete gzip"),
        ([], {"SIDECAR_MAX_BODY": "10"}, "refused 413 body_too_large: The body has more than 10 bytes"),
    ],
)
def test_a_body_that_the_proxy_does_not_read_is_refused(
    arguments: list[str], env: dict[str, str], expected: str
) -> None:
    """Its size and its content coding are looked at first."""
    result = run("-d", WRITE, *arguments, STORE, **env)
    assert result.exit_code == 1
    assert last(result).startswith(expected)


@pytest.mark.parametrize(
    "arguments",
    [["-d", "x", "-F", "a=b", STORE], ["-H", "no colon", STORE], ["-F", "no equals", STORE], ["-d", "@missing", STORE]],
)
def test_wrong_usage_is_exit_code_2(arguments: list[str]) -> None:
    """Wrong usage gives one line that says what is allowed, and exit code 2."""
    result = run(*arguments)
    assert result.exit_code == 2
    assert result.output.startswith("session-sidecar: ")


def test_nothing_is_asked_without_leave() -> None:
    """Without `--ask` the session service need not exist."""
    assert run("-d", WRITE, STORE, SIDECAR_SESSION_SERVICE="http://127.0.0.1:9").exit_code == 0


def test_asking_looks_and_never_creates(tmp_path: Path) -> None:
    """`--ask` says what would be created or found, and creates nothing."""
    by_query = PROFILE.replace("[[rules]]", '[ids.user_id]\nquery = ["user_id"]\n\n[[rules]]', 1)
    (tmp_path / "tried.toml").write_text(by_query)
    service = Service("hides")
    with served(service.app) as url:
        env = {"SIDECAR_PROFILE": "tried.toml", "SIDECAR_SESSION_SERVICE": url}
        arguments = ["--ask", "-d", "{}", "/memories/s-1?user_id=ann"]
        absent = run(*arguments, **env)
        service.sessions["s-1"] = {"id": "s-1", "user": "ann"}
        found = run(*arguments, **env)
    assert last(absent) == "admitted: the session is absent; it would be created first"
    assert last(found) == "admitted: the session is found"
    assert service.asked_for == set()


def test_asking_a_service_that_is_down_shows_the_refusal() -> None:
    """`--ask` shows the refusal that the client would get in an outage."""
    result = run("--ask", "-d", WRITE, STORE, SIDECAR_SESSION_SERVICE="http://127.0.0.1:9")
    assert result.exit_code == 1
    assert "refused 503 session_service_unavailable" in last(result)


def test_asking_a_service_that_is_down_shows_what_would_be_owed(tmp_path: Path) -> None:
    """Where outages are forwarded, a write that ensures its session is admitted, and nothing is written down."""
    env = {
        "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:9",
        "SIDECAR_ON_OUTAGE": "forward",
        "SIDECAR_OUTBOX": str(tmp_path / "outbox.db"),
    }
    result = run("--ask", "-d", WRITE, STORE, **env)
    assert result.exit_code == 0
    assert last(result) == "admitted: the session service gives no answer; the session would be owed"
    assert not (tmp_path / "outbox.db").exists()


def test_asking_a_service_that_is_down_prints_nothing_but_json() -> None:
    """Calls that are made again leave no lines of their own on standard output."""
    arguments = ["explain", "--ask", "--json", "-d", WRITE, STORE]
    process = run_to_end("sidecar", *arguments, env={"SIDECAR_SESSION_SERVICE": "http://127.0.0.1:9"}, cwd=Path.cwd())
    assert json.loads("\n".join(process.stdout))["outcomes"][0]["reason"] == "session_service_unavailable"
    assert process.stderr == []


@pytest.mark.parametrize("as_json", [["--json"], []])
def test_what_a_request_holds_has_no_power_over_the_terminal(as_json: list[str]) -> None:
    """Control characters of both kinds and direction marks in a body are escaped."""
    body = json.dumps({"user_id": "\x1b[2J\x9bm\u202e", "a\x9b\n_session": 1}, ensure_ascii=False)
    printed = run(*as_json, "-d", body, STORE).stdout
    assert all(line.isprintable() for line in printed.splitlines())
    if as_json:
        assert json.loads(printed)["places"][5]["found"] == "\x1b[2J\x9bm\u202e"


def test_asking_about_anothers_session_shows_the_refusal() -> None:
    """`--ask` shows the refusal for another user's session."""

    async def one(_request: Request) -> Response:
        return JSONResponse({"reason": "session_owned_by_another_user", "title": "x", "status": 403}, 403)

    with served(Starlette(routes=[Route("/api/v1/sessions/{id}", one)])) as url:
        result = run("--ask", "-d", WRITE, STORE, SIDECAR_SESSION_SERVICE=url)
    assert (result.exit_code, "refused 403" in last(result)) == (1, True)
