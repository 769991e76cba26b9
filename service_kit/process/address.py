"""Where a process listens: `HOST:PORT`, `[V6]:PORT` or `unix:/path`, parsed, bound and written back."""

from __future__ import annotations

import contextlib
import errno
import os
import re
import socket
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

_BACKLOG: Final = 2048
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST_AND_PORT: Final = re.compile(r"//(?P<host>\[[0-9A-Fa-f:.]+\]|[^\s:/?#@\[\]\\]+)(?::(?P<port>[0-9]{1,10}))?/*")
_COVERS: Final = {
    "localhost": {"127.0.0.1", "::1"},
    "0.0.0.0": {"0.0.0.0", "127.0.0.1"},  # noqa: S104 # compared with, not bound
    "::": {"0.0.0.0", "127.0.0.1", "::", "::1"},  # noqa: S104 # compared with, not bound
}
"""Names of several addresses of this machine, with those of them that others are likely to name."""


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address; port 0 asks the system for a free one."""

    host: str
    port: int

    @property
    def is_wildcard(self) -> bool:
        """Whether it means every address of this machine, and so none that a client could connect to."""
        return self.host in {"0.0.0.0", "::"}  # noqa: S104 # compared with, not bound

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True)
class Unix:
    """The path of a Unix domain socket."""

    path: str

    def __str__(self) -> str:
        return f"unix:{self.path}"


Address = Tcp | Unix


class AddressInUse(OSError):
    """Another process already listens there; the message is meant for a person."""


def socket_path(text: str) -> str | None:
    """Give the path of the Unix socket that `unix:/path` or `unix:///path` names; None for any other address or URL."""
    return text.removeprefix("unix:").removeprefix("//") if text.startswith("unix:") else None


def parse_address(text: str) -> Address:
    """Read an address. Raises ValueError with what is allowed."""
    path = socket_path(text)
    if path is not None:
        if not path.startswith("/"):
            raise ValueError(f"{text!r} is not an address: a Unix socket needs an absolute path, unix:/path")
        return Unix(path)
    host, colon, port = text.rpartition(":")
    host = host[1:-1] if host.startswith("[") and host.endswith("]") else host
    bracketed = text.startswith("[")
    if not colon or not host or (":" in host and not bracketed) or not port.isascii() or not port.isdigit():
        raise ValueError(f"{text!r} is not an address: HOST:PORT or unix:/path is allowed")
    if int(port) > 65535:
        raise ValueError(f"{text!r} is not an address: the port must be 0 to 65535")
    return Tcp(host, int(port))


def parse_base_url(text: str) -> str:
    """Check the base URL of a server: `http://HOST[:PORT]`, `https://HOST[:PORT]` or `unix:/path`.

    Returns it without a trailing slash. Raises ValueError with what is allowed.
    """
    server_address(text)
    return text.rstrip("/")


def server_address(url: str) -> Address:
    """The address that a base URL connects to. Raises ValueError with what is allowed."""
    scheme, _, rest = url.partition(":")
    if scheme == "unix" and rest.removeprefix("//").startswith("/"):
        return Unix(rest.removeprefix("//"))
    # A URL parser accepts, or repairs, more than a client can connect to.
    match = _HOST_AND_PORT.fullmatch(rest)
    if scheme not in _DEFAULT_PORTS or match is None:
        raise ValueError("http:// or https:// with a host, perhaps a port and no path, or unix:/path is allowed")
    host, port = match["host"].strip("[]"), int(match["port"] or _DEFAULT_PORTS[scheme])
    if not 1 <= port <= 65535:
        raise ValueError("the port must be 1 to 65535")
    return Tcp(host, port)


def local_url(listen: str) -> str:
    """The URL at which this machine reaches what listens there. Raises ValueError with what is allowed."""
    address = parse_address(listen)
    if isinstance(address, Unix):
        return listen
    loopback = "::1" if ":" in address.host else "127.0.0.1"
    return f"http://{Tcp(loopback, address.port) if address.is_wildcard else address}"


def overlap(one: Address, other: Address) -> bool:
    """Whether both name one socket of this machine, as far as that can be told without asking the system.

    A wildcard address overlaps the loopback addresses with its port. Port 0 overlaps nothing.
    """
    if isinstance(one, Unix) or isinstance(other, Unix):
        return one == other
    hosts = _COVERS.get(one.host, {one.host}) & _COVERS.get(other.host, {other.host})
    return bool(hosts) and one.port == other.port != 0


def bind(address: Address, *, reuse_port: bool = False) -> socket.socket:
    """Bind and listen. Raises AddressInUse, or OSError with a readable message, where that is impossible.

    With `reuse_port` processes of one user that all ask for it share a TCP address (SO_REUSEPORT, socket(7)).
    """
    try:
        listener = _bind_unix(address) if isinstance(address, Unix) else _bind_tcp(address, reuse_port)
    except socket.gaierror as error:
        raise OSError(f"cannot listen on {address}: {error.strerror}") from error
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"cannot listen on {address}: the address is already in use") from error
        raise OSError(f"cannot listen on {address}: {os.strerror(error.errno) if error.errno else error}") from error
    listener.setblocking(False)
    return listener


@contextlib.contextmanager
def listening(address: Address, *, reuse_port: bool = False) -> Iterator[socket.socket]:
    """Listen as `bind` does until the block ends; then close, and remove the file of a Unix socket.

    A file that another process has put in its place by then stays.
    """
    with contextlib.closing(bind(address, reuse_port=reuse_port)) as listener:
        if not isinstance(address, Unix):
            yield listener
            return
        file = Path(address.path)
        own = file.stat()
        try:
            yield listener
        finally:
            with contextlib.suppress(OSError):
                if os.path.samestat(file.stat(), own):
                    file.unlink()


def bound_address(listener: socket.socket) -> Address:
    """The address really bound, with the port that the system chose."""
    name = listener.getsockname()
    return Unix(name) if listener.family == socket.AF_UNIX else Tcp(name[0], name[1])


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach the address."""
    return isinstance(address, Unix) or is_loopback_host(address.host)


def is_loopback_host(host: str) -> bool:
    """Whether the host of an address or URL is this machine, reached by itself alone."""
    return host in {"localhost", "::1"} or host.startswith("127.")


def _bind_tcp(address: Tcp, reuse_port: bool) -> socket.socket:
    family, _, _, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    takes_both = family == socket.AF_INET6 and socket.has_dualstack_ipv6()
    return socket.create_server(
        where, family=family, backlog=_BACKLOG, reuse_port=reuse_port, dualstack_ipv6=takes_both
    )


def _bind_unix(address: Unix) -> socket.socket:
    _remove_dead_socket(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address.path)
        listener.listen(_BACKLOG)
    except OSError:
        listener.close()
        raise
    return listener


def _remove_dead_socket(path: str) -> None:
    """A socket file outlives a killed process; it is removed only when no process answers on it."""
    with contextlib.suppress(FileNotFoundError):
        if not Path(path).is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
