"""`session-sidecar up`: all three processes on one machine, until a signal or until one of them ends."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Final
from urllib.parse import quote

import click

from service_kit.process.extras import require_extra
from service_kit.process.signals import STOPS, hangups
from service_kit.settings import env_file_values
from sidecar.tools.tool import Failed, Tool
from sidecar.tools.up.platform import ChildFailed, Platform
from sidecar.tools.up.summary import announce

_PREFIXES: Final = ("SIDECAR_", "SESSION_", "MEMORY_")


@click.command(cls=Tool)
@click.option(
    "--data-dir",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("data"),
    show_default=True,
    help="Where the SQLite databases and the outbox live.",
)
def up(data_dir: Path) -> None:
    """Run the session service, the memory service and the sidecar on this machine."""
    require_extra("services", "session-sidecar up")
    data_dir = data_dir.absolute()
    try:
        # Conversations are kept there: a folder that is made here is for its user alone.
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise Failed(f"cannot use {data_dir}: {error.strerror}", code=1) from None
    sys.exit(asyncio.run(_up(data_dir)))


async def _up(data_dir: Path) -> int:
    """Run until a signal (0) or until a process cannot start or ends by itself (1)."""
    platform = Platform(_with_defaults(data_dir))
    running = asyncio.create_task(_run(platform, data_dir))
    loop = asyncio.get_running_loop()
    for number in (*STOPS, *hangups()):
        loop.add_signal_handler(number, running.cancel)
    try:
        await running
    except asyncio.CancelledError:
        return 0
    except ChildFailed:
        pass
    finally:
        # A second signal kills.
        for number in STOPS:
            loop.add_signal_handler(number, platform.kill)
        await platform.stop()
    return 1


async def _run(platform: Platform, data_dir: Path) -> None:
    await platform.start()
    announce(platform.addresses, data_dir)
    await platform.watch()


def _with_defaults(data_dir: Path) -> dict[str, str]:
    """The environment of all three: what the user set wins over what `--data-dir` implies.

    An empty variable counts as unset, as it does for each of them.
    """
    # A path in a database URL is percent-encoded (RFC 3986, section 3.3): `?` would begin the query.
    folder = quote(str(data_dir))
    derived = {
        "SESSION_DATABASE_URL": f"sqlite:///{folder}/sessions.db",
        "MEMORY_DATABASE_URL": f"sqlite:///{folder}/memories.db",
        "SIDECAR_OUTBOX": f"{data_dir}/outbox.db",
        "SIDECAR_LOG": "console",
        "PYTHONUNBUFFERED": "1",
    }
    given = {name: value for name, value in os.environ.items() if value or not name.startswith(_PREFIXES)}
    return derived | {name: value for name, value in env_file_values().items() if value} | given
