"""Environment -> frozen Settings; every problem is reported at once."""

from __future__ import annotations

import ipaddress
import os
from pathlib import Path
from typing import Annotated, ClassVar, Final, Literal

from pydantic import (
    AfterValidator,
    AliasChoices,
    Field,
    PlainSerializer,
    SecretStr,
    ValidationInfo,
    field_validator,
)
from pydantic_settings import NoDecode, SettingsConfigDict

from service_kit.consul.variables import ConsulSettings, has_agent
from service_kit.process.address import Address, Tcp, Unix, overlap, parse_base_url, server_address
from service_kit.settings import ENV_FILE, ListenAddress, Token, load, read_by, variable
from sidecar.profile.loading import find_profile
from sidecar.profile.profile import Profile
from sidecar.profile.session_api import At
from sidecar.quantities import Duration, Size, Switch

PREFIX: Final = "SIDECAR_"

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

_NEVER_A_USER: Final = frozenset(
    {"connection", "content-encoding", "content-length", "content-type", "expect", "host", "http2-settings"}
    | {"keep-alive", "proxy-connection", "te", "trailer", "transfer-encoding", "upgrade"}
)
_SET_BY_THE_SIDECAR: Final = ("x-forwarded-for", "x-forwarded-host", "x-forwarded-proto", "x-sidecar-")
"""What the names of the fields begin with that the sidecar replaces or removes."""

BaseUrl = Annotated[str, AfterValidator(parse_base_url)]


def _networks(text: str) -> tuple[IpNetwork, ...]:
    try:
        return tuple(ipaddress.ip_network(part.strip(), strict=False) for part in text.split(",") if part.strip())
    except ValueError as error:
        raise ValueError(f"{error}; a comma-separated list of addresses or networks is allowed") from None


def _written_networks(networks: tuple[IpNetwork, ...]) -> str:
    return ",".join(map(str, networks)) or "(none)"


Networks = Annotated[tuple[IpNetwork, ...], NoDecode, read_by(_networks), PlainSerializer(_written_networks)]
ProfileByName = Annotated[Profile, NoDecode, read_by(find_profile), PlainSerializer(lambda profile: str(profile.name))]


class Settings(ConsulSettings):
    """What the environment says, checked. Sizes are bytes, durations seconds.

    A check that concerns several variables belongs to the one that is declared last.
    """

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_file=ENV_FILE,
        env_ignore_empty=True,
        extra="ignore",
        frozen=True,
        validate_by_name=True,  # keyword arguments name fields, also those whose variable has a name of its own
        validate_by_alias=True,
    )

    profile: ProfileByName = Field(default="isa", validate_default=True)

    listen: ListenAddress = Tcp("127.0.0.1", 8080)
    admin: ListenAddress = Field(default=Tcp("127.0.0.1", 9901), validate_default=True)
    admin_token: Token = None
    authz: ListenAddress | None = None
    advertise: ListenAddress | None = None
    register_as: str | None = None
    reuse_port: Switch = False

    upstream: BaseUrl = Field(default="http://127.0.0.1:18080", validate_default=True)
    upstream_connections: Annotated[int, Field(ge=1, le=65535)] = 256
    upstream_idle: Annotated[Duration, Field(gt=0, le=3600)] = 4.0
    upstream_timeout: Annotated[Duration, Field(gt=0, le=86400)] = 60.0
    connect_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 5.0

    session_service: BaseUrl = Field(
        default="http://127.0.0.1:8205",
        validate_default=True,
        validation_alias=AliasChoices("SIDECAR_SESSION_SERVICE", "SESSION_SERVICE_URL"),
    )
    session_service_token: Token = None
    session_service_name: str = "session_service"
    session_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 2.0

    mode: Literal["enforce", "shadow", "off"] = "enforce"
    user_header: str | None = None
    on_outage: Literal["reject", "forward"] = "reject"
    on_ended: Literal["forward", "reject"] = "forward"
    after_delete: Literal["refuse", "recreate"] | None = None
    unsafe_create: str | None = None
    id_format: Literal["opaque", "uuid"] = "opaque"

    cache_size: Annotated[int, Field(ge=1, le=100_000_000)] = 100_000
    cache_ttl: Annotated[Duration, Field(gt=0, le=86400)] = 300.0
    max_body: Annotated[Size, Field(ge=1)] = 10 << 20
    max_buffered: Annotated[Size, Field(ge=1)] = 256 << 20
    body_timeout: Annotated[Duration, Field(gt=0, le=3600)] = 30.0
    drain_timeout: Annotated[Duration, Field(ge=0, le=86400)] = 30.0

    trusted_proxies: Networks = ()
    outbox: Path = Field(default=Path("data/outbox.db"), validate_default=True)
    decision_header: Switch = False
    fast_path: Switch = Field(default=True, validation_alias="SIDECAR_FAST_LANE")
    log: Literal["console", "json"] | None = None
    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_ids: Literal["plain", "hashed"] = "plain"
    access_log: Switch = False

    forwards: ClassVar[bool] = True
    """Whether admitted requests go to an upstream."""

    @field_validator("admin", "authz")
    @classmethod
    def _is_an_address_of_its_own(cls, address: Address | None, info: ValidationInfo) -> Address | None:
        if address is not None:
            for field in ("listen", "admin"):
                taken = info.data.get(field)
                if field != info.field_name and taken is not None and overlap(address, taken):
                    raise ValueError(f"an address other than {variable(cls, field)} ({taken}) is allowed")
        return address

    @field_validator("upstream", "session_service")
    @classmethod
    def _is_another_server(cls, url: str, info: ValidationInfo) -> str:
        profile = info.data.get("profile")
        asks_upstream = profile is not None and profile.service.at is At.UPSTREAM
        if info.field_name == "upstream" and not (cls.forwards or asks_upstream):
            return url  # No connection goes there.
        is_default = url == cls.model_fields["session_service"].default
        if info.field_name == "session_service" and is_default and has_agent(info.data):
            return url  # With Consul the default address is not in use.
        for field in ("listen", "admin", "authz", "advertise"):
            own = info.data.get(field)
            if own is not None and overlap(server_address(url), own):
                raise ValueError(f"that is the sidecar itself ({variable(cls, field)}); another server is allowed")
        return url

    @field_validator("advertise")
    @classmethod
    def _can_be_reached(cls, address: Address | None) -> Address | None:
        if isinstance(address, Tcp) and address.port == 0:
            raise ValueError("a port of 1 to 65535 is allowed: clients connect to it")
        return address

    @field_validator("reuse_port")
    @classmethod
    def _shares_a_port(cls, reuse_port: bool, info: ValidationInfo) -> bool:
        if reuse_port and isinstance(info.data.get("listen"), Unix):
            raise ValueError("false is allowed where SIDECAR_LISTEN is a Unix socket, which one process listens on")
        return reuse_port

    @field_validator("user_header")
    @classmethod
    def _is_a_header_name(cls, name: str | None) -> str | None:
        if name is not None and not (name.isascii() and name.replace("-", "").isalnum()):
            raise ValueError("a header name of letters, digits and hyphens is allowed")
        if name is not None and name.lower() in _NEVER_A_USER:
            raise ValueError("HTTP itself uses this header; one that names the user is allowed")
        if name is not None and name.lower().startswith(_SET_BY_THE_SIDECAR):
            raise ValueError("the sidecar sets this header itself; one that names the user is allowed")
        return name

    @field_validator("register_as")
    @classmethod
    def _registers_somewhere(cls, name: str | None, info: ValidationInfo) -> str | None:
        address = info.data.get("advertise") or info.data.get("listen")
        if name is not None and (isinstance(address, Unix) or (isinstance(address, Tcp) and address.is_wildcard)):
            raise ValueError("registering needs an address that others can reach: set SIDECAR_ADVERTISE")
        return name

    @field_validator("on_outage")
    @classmethod
    def _debts_can_be_paid(cls, policy: str, info: ValidationInfo) -> str:
        profile = info.data.get("profile")
        if policy == "forward" and info.data.get("mode") == "shadow":
            raise ValueError("SIDECAR_MODE=shadow owes nothing, so only reject is allowed with it")
        if policy == "forward" and profile is not None and not profile.service.can_be_owed:
            service = profile.service
            why = "needs the client's credentials" if service.creates_by_id else "cannot create sessions by id"
            raise ValueError(f"the profile's session service {why}, so only reject is allowed")
        return policy

    @field_validator("max_buffered")
    @classmethod
    def _one_body_fits(cls, size: int, info: ValidationInfo) -> int:
        if size < info.data.get("max_body", 0):
            raise ValueError("at least SIDECAR_MAX_BODY is allowed, or no body of that size could ever be read")
        return size

    @field_validator("outbox")
    @classmethod
    def _can_be_written(cls, path: Path, info: ValidationInfo) -> Path:
        if info.data.get("on_outage") == "forward" and (obstacle := _write_obstacle(path)):
            raise ValueError(f"{obstacle}; SIDECAR_ON_OUTAGE=forward needs a file that can be written")
        return path

    @property
    def session_service_is_explicit(self) -> bool:
        """Whether the address of the session service was set, rather than left at the default."""
        return "session_service" in self.model_fields_set


def text_of(secret: SecretStr | None) -> str | None:
    """Give the text of a secret setting."""
    return secret.get_secret_value() if secret else None


class WrapSettings(Settings):
    """What the environment says to `wrap`: requests go to the application, none to `SIDECAR_UPSTREAM`."""

    forwards: ClassVar[bool] = False


def load_settings(kind: type[Settings] = Settings) -> Settings:
    """Read the settings. Raises service_kit.settings.BadSettings with every problem found."""
    return load(kind)


def _write_obstacle(path: Path) -> str | None:
    """Say what keeps the file from being written or made, as far as permissions tell; missing folders are made."""
    if path.exists() and not path.is_file():
        return f"{path} is not a file"
    nearest = next(place for place in (path, *path.absolute().parents) if place.exists())
    if nearest != path and not nearest.is_dir():
        return f"{nearest} is not a directory"
    folder = nearest if nearest.is_dir() else path.absolute().parent
    for place in {nearest, folder}:
        if not os.access(place, os.W_OK):
            return f"{place} cannot be written"
    return None
