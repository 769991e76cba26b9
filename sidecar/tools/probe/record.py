"""What `probe` last found at an address, in a file beside the outbox, so that `serve` refuses an unsafe create."""

from __future__ import annotations

from pathlib import Path

import orjson

from sidecar.session_client.discovery import session_service_of
from sidecar.settings import Settings
from sidecar.tools.replace_file import replace_file


def record(settings: Settings, errors: list[str]) -> None:
    """Remember the codes of the errors found; an empty list forgets earlier ones. Raises OSError."""
    path = _path(settings)
    kept = {**_read(path), _key(settings): errors}
    path.parent.mkdir(parents=True, exist_ok=True)
    record = {key: codes for key, codes in kept.items() if codes}
    replace_file(path, orjson.dumps(record, option=orjson.OPT_INDENT_2))


def unsafe_create(settings: Settings) -> str | None:
    """Say why the profile's create call must not be used; None where nothing is known against it."""
    name, service = settings.profile.name, settings.profile.service
    if settings.mode != "enforce" or not service.creates_by_id or settings.unsafe_create == name:
        return None
    codes = _read(_path(settings)).get(_key(settings))
    if not codes:
        return None
    return (
        f"profile {name}: probe found its create call unsafe at {session_service_of(settings)} ({', '.join(codes)}); "
        f"mend the profile and run probe again, or accept the harm with SIDECAR_UNSAFE_CREATE={name}"
    )


def _path(settings: Settings) -> Path:
    return settings.outbox.parent / "probe.json"


def _key(settings: Settings) -> str:
    return f"{settings.profile.name} {session_service_of(settings)}"


def _read(path: Path) -> dict[str, list[str]]:
    try:
        content = orjson.loads(path.read_bytes())
    except (OSError, orjson.JSONDecodeError):
        return {}
    return content if isinstance(content, dict) else {}
