"""Environment -> Settings of the session service."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import AfterValidator, Field, SecretStr, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from service_kit.address import Tcp
from service_kit.consul import ConsulSettings
from service_kit.database import parse_url
from service_kit.settings import ListenAddress

VERSION_TABLE: Final = "session_service_version"


def _readable(url: str) -> str:
    parse_url(url)
    return url


class Settings(ConsulSettings):
    """What the environment says, checked."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    listen: ListenAddress = Field(default=Tcp("127.0.0.1", 8205), validation_alias="SESSION_SERVICE_LISTEN")
    database_url: Annotated[str, AfterValidator(_readable)] = Field(
        default="sqlite:///data/sessions.db", validation_alias="SESSION_DATABASE_URL"
    )
    database_schema: Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")] = Field(
        default="dev", validation_alias="SESSION_DATABASE_SCHEMA"
    )
    token: SecretStr | None = Field(default=None, validation_alias="SESSION_SERVICE_TOKEN")
    advertise: ListenAddress | None = Field(default=None, validation_alias="SESSION_SERVICE_ADVERTISE")
    register_as: str | None = Field(default=None, validation_alias="SESSION_SERVICE_REGISTER_AS")

    @field_validator("register_as")
    @classmethod
    def _registers_somewhere(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name is None:
            return None
        if not (info.data.get("consul_http_addr") or info.data.get("consul_host")):
            raise ValueError("registering needs Consul: set CONSUL_HTTP_ADDR or CONSUL_HOST")
        if not _is_reachable(info.data.get("advertise") or info.data.get("listen")):
            raise ValueError("registering needs a HOST:PORT that others can reach: set SESSION_SERVICE_ADVERTISE")
        return name

    @property
    def reachable_at(self) -> Tcp:
        """Where clients that found the service in Consul are sent."""
        address = self.advertise or self.listen
        assert isinstance(address, Tcp)  # noqa: S101 -- checked where `register_as` was read
        return address


def _is_reachable(address: object) -> bool:
    return isinstance(address, Tcp) and address.port != 0 and address.host not in {"0.0.0.0", "::"}  # noqa: S104 -- refused
