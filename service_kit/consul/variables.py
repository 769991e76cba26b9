"""Where Consul is and how to speak to it, read from the variables that Consul's own tools read.

Addresses are parsed here and nowhere else: py-consul fails on one without a port and on a Unix socket, and lets the
token in the environment win over the one it is given.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, FilePath, ValidationInfo, field_validator
from pydantic_settings import BaseSettings

from service_kit.process.address import Tcp, is_loopback_host, socket_path
from service_kit.settings import Token

DEFAULT_PORT = 8500


@dataclass(frozen=True, slots=True)
class ConsulAgent:
    """One agent's HTTP API: `url` is scheme, host and port; `socket` the Unix socket to reach it through, if any."""

    url: str
    socket: str | None = None
    token: str | None = field(default=None, repr=False)
    verify: bool = True
    ca_file: Path | None = None
    ca_path: Path | None = None
    client_cert: Path | None = None
    client_key: Path | None = None
    server_name: str | None = None

    @property
    def is_local(self) -> bool:
        """Whether the agent runs on this machine, and so reaches what only this machine can."""
        return self.socket is not None or is_loopback_host(urlsplit(self.url).hostname or "")

    def __str__(self) -> str:
        return f"unix:{self.socket}" if self.socket else self.url


class ConsulSettings(BaseSettings):
    """The `CONSUL_*` variables, for the settings of each program to inherit."""

    consul_http_addr: str | None = Field(default=None, validation_alias="CONSUL_HTTP_ADDR")
    consul_host: str | None = Field(default=None, validation_alias="CONSUL_HOST")
    consul_port: Annotated[int, Field(ge=1, le=65535)] = Field(default=DEFAULT_PORT, validation_alias="CONSUL_PORT")
    consul_http_token: Token = Field(default=None, validation_alias="CONSUL_HTTP_TOKEN")
    consul_http_ssl: bool = Field(default=False, validation_alias="CONSUL_HTTP_SSL")
    consul_http_ssl_verify: bool = Field(default=True, validation_alias="CONSUL_HTTP_SSL_VERIFY")
    consul_cacert: FilePath | None = Field(default=None, validation_alias="CONSUL_CACERT")
    consul_capath: Path | None = Field(default=None, validation_alias="CONSUL_CAPATH")
    consul_client_cert: FilePath | None = Field(default=None, validation_alias="CONSUL_CLIENT_CERT")
    consul_client_key: FilePath | None = Field(default=None, validation_alias="CONSUL_CLIENT_KEY")
    consul_tls_server_name: str | None = Field(default=None, validation_alias="CONSUL_TLS_SERVER_NAME")

    @field_validator("consul_http_addr")
    @classmethod
    def _readable_address(cls, text: str | None) -> str | None:
        if text is not None:
            parse_consul_address(text, tls=False)
        return text

    @field_validator("consul_host")
    @classmethod
    def _bare_host(cls, host: str | None) -> str | None:
        if host is not None and set(host) & set("/?#@ "):
            raise ValueError("a host name or an IP address is allowed; the port goes into CONSUL_PORT")
        return host

    @field_validator("register_as", check_fields=False)
    @classmethod
    def _registers_in_consul(cls, name: str | None, info: ValidationInfo) -> str | None:
        """Check the name under which a program registers; each has a variable of its own for it."""
        if name is not None and not has_agent(info.data):
            raise ValueError("registering needs Consul: set CONSUL_HTTP_ADDR or CONSUL_HOST")
        return name

    @property
    def consul(self) -> ConsulAgent | None:
        """The agent these settings name, or None where none is configured."""
        if self.consul_http_addr is not None:
            url, socket = parse_consul_address(self.consul_http_addr, tls=self.consul_http_ssl)
        elif self.consul_host is not None:
            url, socket = _url(self.consul_host.strip("[]"), self.consul_port, tls=self.consul_http_ssl), None
        else:
            return None
        return ConsulAgent(
            url=url,
            socket=socket,
            token=self.consul_http_token.get_secret_value() if self.consul_http_token else None,
            verify=self.consul_http_ssl_verify,
            ca_file=self.consul_cacert,
            ca_path=self.consul_capath,
            client_cert=self.consul_client_cert,
            client_key=self.consul_client_key,
            server_name=self.consul_tls_server_name,
        )


def has_agent(values: Mapping[str, object]) -> bool:
    """Whether settings name an agent; `values` are those of their fields that are read so far."""
    return bool(values.get("consul_http_addr") or values.get("consul_host"))


def parse_consul_address(text: str, *, tls: bool) -> tuple[str, str | None]:
    """Split an address into a URL and the Unix socket to reach it through, if any.

    `tls` is CONSUL_HTTP_SSL, which also turns an `http://` address into an encrypted one. Without a port it is 8500.
    Raises ValueError with what is allowed.
    """
    path = socket_path(text)
    if path is not None:
        if not path.startswith("/"):
            raise ValueError("a Unix socket needs an absolute path, unix:///path")
        return _url("localhost", 80, tls=tls), path
    parts = urlsplit(text if "://" in text else f"//{text}")
    try:
        host, port = parts.hostname, parts.port
    except ValueError:
        host = port = None
    extra = "@" in parts.netloc or parts.path.strip("/") or parts.query or parts.fragment
    if parts.scheme not in {"", "http", "https"} or not host or extra or " " in text:
        raise ValueError("HOST:PORT, http://HOST:PORT, https://HOST:PORT or unix:///path is allowed")
    return _url(host, port or DEFAULT_PORT, tls=tls or parts.scheme == "https"), None


def _url(host: str, port: int, *, tls: bool) -> str:
    return f"{'https' if tls else 'http'}://{Tcp(host, port)}"
