"""Environment -> Settings of the memory service."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from service_kit.process.address import Tcp
from service_kit.service_settings import DatabaseUrl, SchemaName, ServiceSettings
from service_kit.settings import ListenAddress

VERSION_TABLE: Final = "memory_service_version"


class Settings(ServiceSettings):
    """What the environment says, checked."""

    listen: ListenAddress = Field(default=Tcp("127.0.0.1", 18080), validation_alias="MEMORY_SERVICE_LISTEN")
    database_url: DatabaseUrl = Field(default="sqlite:///data/memories.db", validation_alias="MEMORY_DATABASE_URL")
    database_schema: SchemaName = Field(default="dev", validation_alias="MEMORY_DATABASE_SCHEMA")
    advertise: ListenAddress | None = Field(default=None, validation_alias="MEMORY_SERVICE_ADVERTISE")
    register_as: str | None = Field(default=None, validation_alias="MEMORY_SERVICE_REGISTER_AS")
