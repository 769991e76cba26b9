"""What the settings of both services have in common: a database, an address, and perhaps a name in Consul.

A service's own class gives each field its variable and its default.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

from pydantic import AfterValidator, Field, ValidationInfo, field_validator
from pydantic_settings import SettingsConfigDict

from service_kit.consul.variables import ConsulSettings
from service_kit.process.address import Tcp
from service_kit.settings import ListenAddress, variable
from service_kit.sql.engine import parse_url

if TYPE_CHECKING:
    from service_kit.consul.registration import Registration


def _readable(url: str) -> str:
    parse_url(url)
    return url


DatabaseUrl = Annotated[str, AfterValidator(_readable)]
SchemaName = Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,62}$")]


class ServiceSettings(ConsulSettings):
    """What the environment says, checked."""

    model_config = SettingsConfigDict(env_file=".env", env_ignore_empty=True, extra="ignore", frozen=True)

    listen: ListenAddress
    database_url: DatabaseUrl
    database_schema: SchemaName
    advertise: ListenAddress | None = None
    register_as: str | None = None

    @field_validator("register_as")
    @classmethod
    def _registers_somewhere(cls, name: str | None, info: ValidationInfo) -> str | None:
        where = info.data.get("advertise") or info.data.get("listen")
        if name is not None and (not isinstance(where, Tcp) or where.port == 0 or where.is_wildcard):
            raise ValueError(f"registering needs a HOST:PORT that others can reach: set {variable(cls, 'advertise')}")
        return name

    def registration(self) -> Registration | None:
        """The service's place in Consul, or None where it is to have none."""
        where = self.advertise or self.listen
        if self.register_as is None or self.consul is None or not isinstance(where, Tcp):
            return None
        from service_kit.consul.registration import Registration  # noqa: PLC0415 # brings Consul's client

        return Registration(self.consul, name=self.register_as, advertise=where, health="/health")
