"""Where the connections of a pool go."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import urlsplit

from service_kit.process.address import socket_path


@dataclass(frozen=True, slots=True)
class Origin:
    """Where connections go: a TCP host and port, with or without TLS, or the path of a Unix socket."""

    host: str
    port: int
    tls: bool = False
    unix: str | None = None

    @classmethod
    def parse(cls, url: str) -> Origin:
        """Read `http://host[:port]`, `https://host[:port]` or `unix:/path`; what follows is ignored."""
        path = socket_path(url)
        if path is not None:
            return cls("localhost", 0, unix=path)
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ValueError(f"{url!r} is no upstream: http://, https:// or unix:/path is allowed")
        return cls(parts.hostname, parts.port or (443 if tls else 80), tls=tls)

    def __str__(self) -> str:
        if self.unix is not None:
            return f"unix:{self.unix}"
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self.tls else 'http'}://{host}:{self.port}"

    @property
    def authority(self) -> str:
        """The `Host` of the origin, for requests that came without one."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        usual = self.unix is not None or self.port == (443 if self.tls else 80)
        return host if usual else f"{host}:{self.port}"
