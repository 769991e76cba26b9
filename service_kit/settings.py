"""Settings come from the environment and a `.env` file; all problems are reported at once, by variable and value."""

from __future__ import annotations

from typing import Annotated, TypeVar

from pydantic import AliasChoices, BeforeValidator, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode

from service_kit.address import Tcp, Unix, parse_address


def _address(value: object) -> object:
    return parse_address(value) if isinstance(value, str) else value


ListenAddress = Annotated[Tcp | Unix, NoDecode, BeforeValidator(_address)]
"""A setting of the form `HOST:PORT` or `unix:/path`."""

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


class BadSettings(Exception):
    """Some variables are wrong; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(kind: type[SettingsType]) -> SettingsType:
    """Read the settings from the environment. Raises BadSettings with every problem found."""
    try:
        return kind()
    except ValidationError as invalid:
        problems = []
        for error in invalid.errors():
            location = str(error["loc"][0]) if error["loc"] else ""
            message = error["msg"].removeprefix("Value error, ")
            if location not in kind.model_fields and not location.isupper():
                problems.append(message)
                continue
            shown = "is not set" if error["type"] == "missing" else f"{error['input']!r}"
            secret = location in kind.model_fields and _is_secret(kind, location)
            problems.append(f"{variable(kind, location)}: {'(hidden)' if secret else shown}: {message}")
        raise BadSettings(sorted(set(problems))) from None


def variable(kind: type[BaseSettings], field: str) -> str:
    """The name of the environment variable that a field is read from (its first alias, where it has several)."""
    return variables(kind, field)[0] if field in kind.model_fields else field


def variables(kind: type[BaseSettings], field: str) -> list[str]:
    """Every name that a field may be set by."""
    alias = kind.model_fields[field].validation_alias
    if isinstance(alias, AliasChoices):
        return [str(choice) for choice in alias.choices]
    if isinstance(alias, str):
        return [alias]
    return [f"{kind.model_config.get('env_prefix', '')}{field}".upper()]


def _is_secret(kind: type[BaseSettings], field: str) -> bool:
    return SecretStr in (
        kind.model_fields[field].annotation,
        *getattr(kind.model_fields[field].annotation, "__args__", ()),
    )
