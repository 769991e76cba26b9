"""The settings as they are shown: their effective values, and the variables that have no effect."""

from __future__ import annotations

import os
from collections.abc import Mapping

from service_kit import settings as kit
from sidecar.settings import PREFIX, Settings


def unused_variables(settings: Settings) -> list[str]:
    """One readable line for each variable that is set and that `wrap` does not use."""
    fields = [] if settings.forwards else [field for field in settings.model_fields_set if _is_for_upstreams(field)]
    return [f"{kit.variable(Settings, field)} is not used by wrap, which forwards nothing" for field in sorted(fields)]


def _is_for_upstreams(field: str) -> bool:
    return field.startswith("upstream") or field == "fast_path"


def wants_json_logs() -> bool:
    """Whether `SIDECAR_LOG` asks for JSON: known even where the settings as a whole are wrong."""
    return (kit.env_file_values() | os.environ).get(f"{PREFIX}LOG") == "json"


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """One readable line for each `SIDECAR_*` name, in the environment or `.env`, that no setting has."""
    return kit.unknown_variables(Settings, [PREFIX], environment=environment)


def effective(settings: Settings) -> list[tuple[str, str]]:
    """Every variable with its effective value as a person would write it; secrets are masked."""
    written = settings.model_dump(mode="json")
    fields = [field for field in written if settings.forwards or not _is_for_upstreams(field)]
    return [(kit.variables(Settings, field)[0], _shown(written[field])) for field in fields]


def _shown(value: object) -> str:
    if value is None:
        return "(unset)"
    return str(value).lower() if isinstance(value, bool) else str(value)
