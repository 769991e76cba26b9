"""Settings come from the environment and a `.env` file; all problems are reported at once, by variable and value."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Final, TypeVar

from dotenv import dotenv_values
from pydantic import AfterValidator, AliasChoices, BeforeValidator, PlainSerializer, SecretStr, ValidationError
from pydantic_settings import BaseSettings, NoDecode

from service_kit.process.address import Tcp, Unix, parse_address

ENV_FILE: Final = ".env"
_PASSWORD: Final = re.compile(r"(://[^:@/]*:).*@", re.DOTALL)
"""The password of a URL (RFC 3986, section 3.2.1), up to the last `@`: one in it may stand unescaped."""


def read_by(parse: Callable[[str], object]) -> BeforeValidator:
    """Have a field read texts by `parse`, and take any other value as it is."""
    return BeforeValidator(lambda value: parse(value) if isinstance(value, str) else value)


ListenAddress = Annotated[Tcp | Unix, NoDecode, read_by(parse_address), PlainSerializer(str)]
"""A setting of the form `HOST:PORT` or `unix:/path`."""

_IS_TOKEN: Final = re.compile(r"[\x21-\x7e]+").fullmatch


def _token(secret: SecretStr | None) -> SecretStr | None:
    if secret is not None and not _IS_TOKEN(secret.get_secret_value()):
        raise ValueError("visible ASCII characters are allowed, without a space or a line break, not at the end either")
    return secret


Token = Annotated[SecretStr | None, AfterValidator(_token)]
"""A secret that is sent in a header field, as a bearer token is (RFC 6750, section 2.1)."""

SettingsType = TypeVar("SettingsType", bound=BaseSettings)


class BadSettings(Exception):
    """Some variables are wrong; `problems` has a line for each."""

    def __init__(self, problems: list[str]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(kind: type[SettingsType]) -> SettingsType:
    """Read the settings from the environment and `.env`. Raises BadSettings with every problem found."""
    problems: list[str] = []
    try:
        return kind()
    except ValidationError as invalid:
        problems += _problems(kind, invalid)
    except (OSError, UnicodeDecodeError) as unreadable:
        problems.append(_unreadable_file(unreadable))
        try:
            kind(_env_file=None)
        except ValidationError as invalid:
            problems += _problems(kind, invalid)
    raise BadSettings(problems)


def env_file_values() -> dict[str, str]:
    """What `.env` sets. A file that cannot be read sets nothing: `load` reports it."""
    try:
        return {name: value for name, value in dotenv_values(ENV_FILE).items() if value is not None}
    except (OSError, UnicodeDecodeError):
        return {}


def unknown_variables(
    kind: type[BaseSettings],
    prefixes: Sequence[str],
    *,
    environment: Mapping[str, str] | None = None,
    also_known: Sequence[str] = (),
) -> list[str]:
    """One readable line for each name, in the environment or `.env`, that begins like a setting and is none."""
    present = set(os.environ if environment is None else environment) | set(env_file_values())
    known = {name for field in kind.model_fields for name in variables(kind, field)}
    unknown = sorted(
        name
        for name in present
        if name.upper().startswith(tuple(prefixes)) and name.upper() not in known.union(also_known)
    )
    candidates = [name for name in known if name.startswith(tuple(prefixes))]
    return [_describe_unknown(name, candidates) for name in unknown]


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


def _is_secret(kind: type[BaseSettings], location: str) -> bool:
    """Whether a field, or the variable that it is read from, holds a secret: an error names the one or the other."""
    annotations = [
        field.annotation
        for name, field in kind.model_fields.items()
        if location == name or location in variables(kind, name)
    ]
    return any(SecretStr in (kept, *getattr(kept, "__args__", ())) for kept in annotations)


def _describe_unknown(name: str, known: Sequence[str]) -> str:
    import difflib  # noqa: PLC0415 # few environments have such a name

    (nearest,) = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)
    return f"{name} is not a setting; did you mean {nearest}?"


def _problems(kind: type[BaseSettings], invalid: ValidationError) -> list[str]:
    problems = set()
    for error in invalid.errors():
        location = str(error["loc"][0]) if error["loc"] else ""
        message = error["msg"].removeprefix("Value error, ")
        if location not in kind.model_fields and not location.isupper():
            problems.add(message)
            continue
        # A default has been read already, and is shown as it is written.
        given = error["input"] if isinstance(error["input"], str) else str(error["input"])
        shown = "is not set" if error["type"] == "missing" else _PASSWORD.sub(r"\1***@", repr(given))
        shown = "(hidden)" if _is_secret(kind, location) else shown
        problems.add(f"{variable(kind, location)}: {shown}: {message}")
    return sorted(problems)


def _unreadable_file(error: OSError | UnicodeDecodeError) -> str:
    if isinstance(error, UnicodeDecodeError):
        line = error.object[: error.start].count(b"\n") + 1
        byte = error.object[error.start]
        return f"{ENV_FILE}: line {line}: byte 0x{byte:02x} is not UTF-8; only UTF-8 text is allowed"
    return f"{ENV_FILE}: cannot be read: {error.strerror or error}"
