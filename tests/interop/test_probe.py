"""`probe` at real servers: it tells those that are safe to create at from those that are not."""

from __future__ import annotations

from pathlib import Path

import httpx

from tests.support.foreign import APPS, ForeignServer
from tests.support.processes import Running, run_to_end

PROFILES = APPS / "profiles"


def probe(server: ForeignServer, profile: str, folder: Path, *arguments: str) -> Running:
    """Run `session-sidecar probe` at a server."""
    env = {"SIDECAR_PROFILE": profile, "SIDECAR_UPSTREAM": server.url}
    return run_to_end("sidecar", "probe", "--yes-create", *arguments, env=env, cwd=folder)


def codes(ended: Running) -> list[str]:
    return [line.split()[0] for line in ended.stdout if line.startswith("P1")]


def test_adk_is_safe_to_create_at(adk: ForeignServer, tmp_path: Path) -> None:
    """Its second create says 409 and changes nothing. Under load it answers some of 20 creates at once with 500."""
    ended = probe(adk, "adk", tmp_path, "--with", "app=echo")
    assert ended.process.returncode == 0, ended.stdout
    assert set(codes(ended)) <= {"P106", "P108"}


def test_langgraph_is_safe_to_create_at(langgraph: ForeignServer, tmp_path: Path) -> None:
    """Its ids are UUIDs, and so are the probe's."""
    ended = probe(langgraph, "langgraph", tmp_path)
    assert (ended.process.returncode, codes(ended)) == (0, ["P108"]), ended.stdout


def test_langgraph_with_users_is_safe_to_create_at(langgraph_with_auth: ForeignServer, tmp_path: Path) -> None:
    """Another user's create neither shows nor changes the thread."""
    ended = probe(langgraph_with_auth, "langgraph", tmp_path, "--token", "ann", "--token", "bob")
    assert (ended.process.returncode, codes(ended)) == (0, ["P108"]), ended.stdout


def test_agent_memory_servers_put_is_no_create(agent_memory: ForeignServer, tmp_path: Path) -> None:
    """It replaces the working memory."""
    ended = probe(agent_memory, str(PROFILES / "agent-memory-put.toml"), tmp_path)
    assert ended.process.returncode == 1
    assert "P103" in codes(ended)


def test_the_create_of_agno_2_3_16_wipes_and_changes_the_owner(old_agno: ForeignServer, tmp_path: Path) -> None:
    """Both are named, and `serve` refuses the profile from then on."""
    profile = str(PROFILES / "agno-2.toml")
    ended = probe(old_agno, profile, tmp_path)
    assert ended.process.returncode == 1
    assert {"P103", "P104"} <= set(codes(ended)), ended.stdout
    env = {"SIDECAR_PROFILE": profile, "SIDECAR_UPSTREAM": old_agno.url}
    refused = run_to_end("sidecar", "serve", env=env, cwd=tmp_path)
    assert refused.process.returncode == 2
    assert "probe found its create call unsafe" in "\n".join(refused.stderr)


def test_the_probe_leaves_what_others_have_alone(old_agno: ForeignServer, tmp_path: Path) -> None:
    """Even the server that wipes sessions still has this one."""
    form = {"message": "hi", "session_id": "kept", "user_id": "ann", "stream": "false"}
    assert httpx.post(f"{old_agno.url}/agents/parrot/runs", data=form, timeout=60).status_code == 200
    before = httpx.get(old_agno.url + "/sessions/kept?type=agent&user_id=ann").json()
    probe(old_agno, str(PROFILES / "agno-2.toml"), tmp_path)
    assert httpx.get(old_agno.url + "/sessions/kept?type=agent&user_id=ann").json() == before
