"""Environment -> frozen Settings. Nothing else here reads the environment; every problem is reported at once."""

from __future__ import annotations

import difflib
import ipaddress
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from dotenv import dotenv_values
from pydantic import AliasChoices, BeforeValidator, Field, PlainSerializer, SecretStr, ValidationInfo, field_validator
from pydantic_settings import NoDecode, SettingsConfigDict

from service_kit.address import Tcp, Unix
from service_kit.consul import ConsulSettings
from service_kit.settings import ListenAddress, load, variables
from sidecar.profile.files import Profile, ProfileError, find_profile
from sidecar.quantities import parse_boolean, parse_duration, parse_size, write_duration, write_size

ENV_FILE = ".env"
PREFIX = "SIDECAR_"

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network


def _reader(parse: object) -> BeforeValidator:
    def read(value: object) -> object:
        return parse(value) if isinstance(value, str) and callable(parse) else value

    return BeforeValidator(read)


Duration = Annotated[float, _reader(parse_duration), PlainSerializer(write_duration)]
Size = Annotated[int, _reader(parse_size), PlainSerializer(write_size)]
Switch = Annotated[bool, _reader(parse_boolean)]


def _networks(text: str) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; a comma-separated list of addresses or networks is allowed") from None


Networks = Annotated[tuple[IpNetwork, ...], NoDecode, _reader(_networks)]


def _profile(name: object) -> object:
    if not isinstance(name, str):
        return name
    try:
        return find_profile(name)
    except ProfileError as error:
        raise ValueError(str(error)) from None


class Settings(ConsulSettings):
    """What the environment says, checked. Sizes are bytes, durations seconds."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_file=ENV_FILE, env_ignore_empty=True, extra="ignore", frozen=True
    )

    # The profile comes first: checks of later fields look at it.
    profile: Annotated[Profile, NoDecode, BeforeValidator(_profile)] = Field(default="isa", validate_default=True)

    listen: ListenAddress = Tcp("127.0.0.1", 8080)
    admin: ListenAddress = Tcp("127.0.0.1", 9901)
    admin_token: SecretStr | None = None

    upstream: str = "http://127.0.0.1:18080"
    upstream_connections: Annotated[int, Field(ge=1, le=65535)] = 256
    upstream_idle: Annotated[Duration, Field(gt=0, le=3600)] = 4.0
    upstream_timeout: Annotated[Duration, Field(gt=0, le=86400)] = 60.0
    connect_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 5.0

    session_service: str = Field(
        default="http://127.0.0.1:8205",
        validation_alias=AliasChoices("SIDECAR_SESSION_SERVICE", "SESSION_SERVICE_URL"),
    )
    session_service_token: SecretStr | None = None
    session_service_name: str = "session_service"
    session_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 2.0

    advertise: ListenAddress | None = None
    register_as: str | None = None

    mode: Literal["enforce", "shadow", "off"] = "enforce"
    user_header: str | None = None
    on_outage: Literal["reject", "forward"] = "reject"
    on_ended: Literal["forward", "reject"] = "forward"
    id_format: Literal["opaque", "uuid"] = "opaque"

    cache_size: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    cache_ttl: Annotated[Duration, Field(gt=0, le=86400)] = 300.0
    max_body: Annotated[Size, Field(ge=1)] = 10 << 20
    max_buffered: Annotated[Size, Field(ge=1)] = 256 << 20
    body_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 30.0
    drain_timeout: Annotated[Duration, Field(ge=0, le=86400)] = 30.0

    trusted_proxies: Networks = ()
    outbox: Path = Path("data/outbox.db")
    decision_header: Switch = False
    fast_lane: Switch = True
    log: Literal["console", "json"] | None = None

    @field_validator("upstream", "session_service")
    @classmethod
    def _a_base_address(cls, url: str) -> str:
        return _base_url(url)

    @field_validator("user_header")
    @classmethod
    def _a_header_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.isascii() and name.replace("-", "").isalnum()):
            raise ValueError("a header name of letters, digits and hyphens is allowed")
        return name

    @field_validator("register_as")
    @classmethod
    def _registers_somewhere(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None:
            return None
        if not (info.data.get("consul_http_addr") or info.data.get("consul_host")):
            raise ValueError("registering needs Consul: set CONSUL_HTTP_ADDR or CONSUL_HOST")
        address = info.data.get("advertise") or info.data.get("listen")
        if isinstance(address, Unix) or (address is not None and address.host in {"0.0.0.0", "::"}):  # noqa: S104 # refused
            raise ValueError("registering needs an address that others can reach: set SIDECAR_ADVERTISE")
        return name

    @field_validator("on_outage")
    @classmethod
    def _debts_can_be_paid(cls, policy: str, info: ValidationInfo) -> str:
        profile = info.data.get("profile")
        if policy == "forward" and profile is not None and not profile.service.creates_by_id:
            raise ValueError("the profile's session service cannot create sessions by id, so only reject is allowed")
        return policy

    @field_validator("max_buffered")
    @classmethod
    def _one_body_fits(cls, size: int, info: ValidationInfo) -> int:
        if size < info.data.get("max_body", 0):
            raise ValueError("at least SIDECAR_MAX_BODY is allowed, or no body of that size could ever be read")
        return size

    @property
    def session_service_is_explicit(self) -> bool:
        """Whether somebody set the session service's address, rather than leaving the default."""
        return "session_service" in self.model_fields_set


def load_settings() -> Settings:
    """Read the settings. Raises service_kit.settings.BadSettings with every problem found."""
    return load(Settings)


def unknown_variables(environment: Mapping[str, str] | None = None) -> list[str]:
    """One readable line for each `SIDECAR_*` name, in the environment or `.env`, that no setting has."""
    present: set[str] = set(os.environ if environment is None else environment) | set(dotenv_values(ENV_FILE))
    known = {name for field in Settings.model_fields for name in variables(Settings, field)}
    strangers = sorted(name for name in present if name.upper().startswith(PREFIX) and name.upper() not in known)
    return [_describe_stranger(name, known) for name in strangers]


def effective(settings: Settings) -> list[tuple[str, str]]:
    """Every variable with its effective value as a person would write it; secrets are masked."""
    return [(variables(Settings, field)[0], _shown(getattr(settings, field), field)) for field in Settings.model_fields]


def _describe_stranger(name: str, known: Iterable[str]) -> str:
    (nearest,) = difflib.get_close_matches(name.upper(), known, n=1, cutoff=0)
    return f"{name} is not a setting; did you mean {nearest}?"


def _shown(value: object, field: str) -> str:
    annotations = Settings.model_fields[field].metadata
    writers = [item.func for item in annotations if isinstance(item, PlainSerializer)]
    if value is None:
        return "(unset)"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, tuple):
        return ",".join(map(str, value)) or "(none)"
    if isinstance(value, Profile):
        return value.name
    return str(writers[0](value)) if writers else str(value)  # type: ignore[call-arg] # serializers of ours take one


def _base_url(url: str) -> str:
    scheme, _, rest = url.partition(":")
    if scheme == "unix" and rest.removeprefix("//").startswith("/"):
        return url
    host = rest.removeprefix("//").rstrip("/")
    if scheme not in {"http", "https"} or not rest.startswith("//") or not host or set(host) & set("/?#@ \\"):
        raise ValueError("http:// or https:// with a host, perhaps a port and no path, or unix:/path is allowed")
    return url.rstrip("/")
