"""What `up` prints once all processes run: where they are, and one line to try."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import click

from service_kit.process.address import local_url, socket_path


def announce(addresses: Sequence[Mapping[str, str]], data_dir: Path) -> None:
    """Print the ready line of all and the summary. `addresses` are those of a platform, in its order."""
    session, memory, sidecar, *others = addresses
    click.echo(
        f"ready role=up listen={sidecar['listen']} admin={sidecar['admin']}"
        f" memory-service={memory['listen']} session-service={session['listen']}"
    )
    memory_url, session_url = local_url(memory["listen"]), local_url(session["listen"])
    dashboards = [local_url(each["admin"]) for each in (sidecar, *others)]
    rows = [
        ("sidecar", local_url(sidecar["listen"]), "where memory clients connect"),
        ("memory service", memory_url, f"{memory_url}/docs"),
        ("session service", session_url, f"{session_url}/docs"),
        *(("dashboard", url, f"{url}/metrics") for url in dashboards),
        ("data", str(data_dir), "SQLite"),
    ]
    width = max(len(where) for _, where, _ in rows)
    for name, where, note in rows:
        click.echo(f"  {name:<15}    {where:<{width}}    {note}")
    click.echo("\nTry it: store a message in a session that does not exist yet, then look the session up.\n")
    click.echo(_curl(sidecar["listen"], session["listen"]))
    click.echo("\nCtrl-C stops all of them.")


def _curl(sidecar: str, session: str) -> str:
    body = '{"user_id": "me", "session_id": "first-steps", "message_content": "Hello"}'
    store = f"{_curl_target(sidecar)}/api/v1/memories/session/store -H 'Content-Type: application/json' -d '{body}'"
    return f"curl {store} && curl {_curl_target(session)}/api/v1/sessions/first-steps"


def _curl_target(listen: str) -> str:
    path = socket_path(listen)
    return local_url(listen) if path is None else f"--unix-socket {path} http://localhost"
