"""Environment -> Settings of the session service."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from service_kit.process.address import Tcp
from service_kit.service_settings import DatabaseUrl, SchemaName, ServiceSettings
from service_kit.settings import ListenAddress, Token

VERSION_TABLE: Final = "session_service_version"


class Settings(ServiceSettings):
    """What the environment says, checked."""

    listen: ListenAddress = Field(default=Tcp("127.0.0.1", 8205), validation_alias="SESSION_SERVICE_LISTEN")
    database_url: DatabaseUrl = Field(default="sqlite:///data/sessions.db", validation_alias="SESSION_DATABASE_URL")
    database_schema: SchemaName = Field(default="dev", validation_alias="SESSION_DATABASE_SCHEMA")
    token: Token = Field(default=None, validation_alias="SESSION_SERVICE_TOKEN")
    advertise: ListenAddress | None = Field(default=None, validation_alias="SESSION_SERVICE_ADVERTISE")
    register_as: str | None = Field(default=None, validation_alias="SESSION_SERVICE_REGISTER_AS")
