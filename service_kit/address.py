"""Where a process listens: `HOST:PORT`, `[V6]:PORT` or `unix:/path`, parsed, bound and written back."""

from __future__ import annotations

import contextlib
import errno
import socket
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Tcp:
    """A TCP address; port 0 asks the system for a free one."""

    host: str
    port: int

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
    """Somebody else already listens there; the message is meant for a person."""


def parse_address(text: str) -> Address:
    """Read an address. Raises ValueError with what is allowed."""
    if text.startswith("unix:"):
        path = text.removeprefix("unix:").removeprefix("//")
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


def bind(address: Address, *, backlog: int = 2048) -> socket.socket:
    """Bind and listen. Raises AddressInUse, or OSError with a readable message, where that is impossible."""
    try:
        return _bind_unix(address, backlog) if isinstance(address, Unix) else _bind_tcp(address, backlog)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AddressInUse(f"cannot listen on {address}: the address is already in use") from error
        raise OSError(f"cannot listen on {address}: {error.strerror or error}") from error


def bound_address(listener: socket.socket) -> Address:
    """The address really bound, with the port that the system chose."""
    name = listener.getsockname()
    return Unix(name) if listener.family == socket.AF_UNIX else Tcp(name[0], name[1])


def is_loopback(address: Address) -> bool:
    """Whether only this machine can reach the address."""
    return isinstance(address, Unix) or address.host in {"localhost", "::1"} or address.host.startswith("127.")


def _bind_tcp(address: Tcp, backlog: int) -> socket.socket:
    family, kind, protocol, _, where = socket.getaddrinfo(
        address.host, address.port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
    )[0]
    listener = socket.socket(family, kind, protocol)
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(where)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _bind_unix(address: Unix, backlog: int) -> socket.socket:
    _remove_dead_socket(address.path)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(address.path)
        listener.listen(backlog)
    except OSError:
        listener.close()
        raise
    listener.setblocking(False)
    return listener


def _remove_dead_socket(path: str) -> None:
    """A socket file outlives a killed process; it is removed only when nobody answers on it."""
    with contextlib.suppress(FileNotFoundError):
        if not Path(path).is_socket():
            return
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
            try:
                probe.connect(path)
            except ConnectionRefusedError:
                Path(path).unlink()
