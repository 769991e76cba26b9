"""Which header fields cross the proxy, in either direction (RFC 9110, section 7.6.1), and which it sets itself.

Identity headers are always set or removed, never passed through; every other field keeps its order, its
duplicates and the case of its name.
"""

from __future__ import annotations

import functools
import ipaddress
from collections.abc import Callable, Iterable, Sequence
from typing import Final

from sidecar.extract.header_name import fold
from sidecar.model import Headers

IpNetwork = ipaddress.IPv4Network | ipaddress.IPv6Network

# What is to be done with a field: plain integers, because they are compared for every field. All up to `TRANSFER`
# go on; those after `KEEP` do so even where a client nominates them in `Connection`.
KEEP: Final = 0
PROTECTED: Final = 1
TRANSFER: Final = 2
HOST: Final = 3
DROP: Final = 4
CONNECTION: Final = 5
UPGRADE: Final = 6
FORWARDED_FOR: Final = 7
FORWARDED_PROTO: Final = 8
FORWARDED_HOST: Final = 9

_HOP_BY_HOP: Final = {
    b"connection": CONNECTION,
    b"http2-settings": DROP,
    b"keep-alive": DROP,
    b"proxy-connection": DROP,
    b"te": DROP,
    b"trailer": DROP,
    b"transfer-encoding": TRANSFER,
    b"upgrade": UPGRADE,
}
_FORWARDED: Final = {
    b"x-forwarded-for": FORWARDED_FOR,
    b"x-forwarded-proto": FORWARDED_PROTO,
    b"x-forwarded-host": FORWARDED_HOST,
}
# Fields that say how the body is read; naming one in `Connection` cannot take it away (RFC 9110, section 7.6.1).
_READING: Final = (b"content-length", b"content-type", b"content-encoding")
_FRAMING: Final = frozenset({*_READING, b"transfer-encoding"})
_OWN_PREFIX: Final = b"x-sidecar-"
_HARMLESS_OPTIONS: Final = frozenset({b"", b"close", b"keep-alive", b"upgrade"})
_REMEMBERED_NAMES: Final = 4096

DECISION_HEADER: Final = b"X-Sidecar-Session"


class HeaderRules:
    """The rules of one proxy.

    `user_header` is the header that names the owner of a session. `trusted` are the networks of proxies in front, whose
    `X-Forwarded-*` are believed.
    """

    def __init__(self, *, user_header: str | None = None, trusted: Sequence[IpNetwork] = ()) -> None:
        self._user = user_header.lower().encode("ascii") if user_header else None
        self._trusted = tuple(trusted)
        self._requests: dict[bytes, int] = {}
        self._responses: dict[bytes, int] = {}
        # Names of response fields that go on together, unless a field is there that is none of these.
        self._plain: set[bytes] = set()

    def trusts(self, peer: str | None) -> bool:
        """Whether `peer`, an IP address or None for a Unix socket, is a proxy whose `X-Forwarded-*` count."""
        if peer is None or not self._trusted:
            return False
        address = ipaddress.ip_address(peer.partition("%")[0])
        mapped = getattr(address, "ipv4_mapped", None)
        return any((mapped or address) in network or address in network for network in self._trusted)

    def write_request_fields(self, headers: Headers, *, peer: str | None, upgrade: bool) -> bytes:
        """Write the fields that go on to the upstream, one line each, for those that came from the client at `peer`."""
        return encode_fields(self.request_fields(headers, peer=peer, trusted=self.trusts(peer), upgrade=upgrade))

    def request_fields(self, headers: Headers, *, peer: str | None, trusted: bool, upgrade: bool) -> Headers:
        """Give the fields that go on to the upstream for those that came from the client.

        `peer` is the client's address, `trusted` what `trusts` said of it. With `upgrade` the `Upgrade` field goes on
        too, without h2c, and a `Connection` that nominates it.
        """
        kept, special = self._sift(headers, self._requests, self._request_kind)
        if upgrade:
            kept += [(name, _without_h2c(value)) for kind, (name, value) in special if kind == UPGRADE]
            kept.append((b"Connection", b"Upgrade"))
        if trusted:
            return kept + _extended(special, peer)
        kept += _first_hop(peer)
        kept += [(b"X-Forwarded-Host", field[1]) for kind, field in special if kind == HOST]
        return kept

    def response_fields(self, headers: Headers, *, upgrade: bool = False) -> list[tuple[bytes, bytes]]:
        """Give the fields that go on to the client for those that came from the upstream.

        `Transfer-Encoding` stays: the writer of the response decides on its framing. With `upgrade` (a 101) the
        fields that say what was switched to stay too.
        """
        if not upgrade and self._plain.issuperset([name for name, _ in headers]):
            return list(headers)
        kept, special = self._sift(headers, self._responses, self._response_kind)
        if upgrade:
            kept += [field for kind, field in special if kind == UPGRADE]
            kept.append((b"Connection", b"Upgrade"))
        return kept

    def _sift(
        self, headers: Headers, kinds: dict[bytes, int], classify: Callable[[bytes], int]
    ) -> tuple[list[tuple[bytes, bytes]], list[tuple[int, tuple[bytes, bytes]]]]:
        """Part the fields that go on as they are from those that need a second look."""
        kept: list[tuple[bytes, bytes]] = []
        special: list[tuple[int, tuple[bytes, bytes]]] = []
        nominated: frozenset[bytes] = frozenset()
        for field in headers:
            kind = kinds.get(field[0])
            if kind is None:
                kind = classify(field[0])
            if kind <= HOST:
                kept.append(field)
            if kind >= HOST:
                special.append((kind, field))
            if kind == CONNECTION:
                nominated |= _options(field[1])
        if not nominated <= _HARMLESS_OPTIONS:
            kept = [field for field in kept if classify(field[0]) != KEEP or field[0].lower() not in nominated]
        return kept, special

    def _request_kind(self, name: bytes) -> int:
        lower = name.lower()
        folded = fold(name)
        kind = _HOP_BY_HOP.get(lower) or _FORWARDED.get(lower, KEEP)
        if lower == b"host":
            kind = HOST
        elif lower in _READING or lower == self._user:
            kind = PROTECTED
        elif kind == KEEP and self._is_forged(folded):
            kind = DROP
        return _remember(self._requests, name, kind)

    def _response_kind(self, name: bytes) -> int:
        kind = _HOP_BY_HOP.get(name.lower(), KEEP)
        if fold(name).startswith(_OWN_PREFIX):
            kind = DROP
        elif name.lower() in _READING:
            kind = PROTECTED
        if kind <= TRANSFER and len(self._plain) < _REMEMBERED_NAMES:
            self._plain.add(name)
        return _remember(self._responses, name, kind)

    def _is_forged(self, folded: bytes) -> bool:
        """Whether some server would take the field for ours, a trusted proxy's, the user's or a framing field."""
        return (
            folded.startswith(_OWN_PREFIX)
            or folded in _FORWARDED
            or folded in _FRAMING
            or (self._user is not None and folded == fold(self._user))
        )


@functools.lru_cache(maxsize=_REMEMBERED_NAMES)
def _first_hop(peer: str | None) -> tuple[tuple[bytes, bytes], ...]:
    return (b"X-Forwarded-For", _address(peer)), (b"X-Forwarded-Proto", b"http")


def _extended(special: Sequence[tuple[int, tuple[bytes, bytes]]], peer: str | None) -> list[tuple[bytes, bytes]]:
    """Extend what a trusted proxy wrote by that proxy's own address."""
    came = {kind: field[1] for kind, field in special}
    hops = [field[1] for kind, field in special if kind == FORWARDED_FOR]
    fields = [
        (b"X-Forwarded-For", b", ".join([*hops, _address(peer)])),
        (b"X-Forwarded-Proto", came.get(FORWARDED_PROTO, b"http")),
    ]
    host = came.get(FORWARDED_HOST, came.get(HOST))
    return fields if host is None else [*fields, (b"X-Forwarded-Host", host)]


def _address(peer: str | None) -> bytes:
    """Give the address as `X-Forwarded-For` has it; RFC 7239, section 6.2, has a word for a Unix socket's."""
    return peer.encode("ascii") if peer else b"unknown"


def upgrade_options(value: bytes) -> list[bytes]:
    """Give the protocols of an `Upgrade` value that may be asked for: all but HTTP/2 in the clear."""
    return [
        option for option in (part.strip(b" \t") for part in value.split(b",")) if option and option.lower() != b"h2c"
    ]


def connection_options(values: Iterable[bytes]) -> frozenset[bytes]:
    """Give the options of all `Connection` values, in lower case (RFC 9110, section 7.6.1)."""
    return frozenset().union(*map(_options, values))


def encode_fields(fields: Iterable[tuple[bytes, bytes]]) -> bytes:
    """Write fields as they stand on the wire, one line each."""
    return b"".join([b"%b: %b\r\n" % field for field in fields])


@functools.lru_cache(maxsize=_REMEMBERED_NAMES)
def _options(value: bytes) -> frozenset[bytes]:
    return frozenset(part.strip(b" \t") for part in value.lower().split(b","))


def _without_h2c(value: bytes) -> bytes:
    return b", ".join(upgrade_options(value))


def _remember(table: dict[bytes, int], name: bytes, kind: int) -> int:
    if len(table) < _REMEMBERED_NAMES:
        table[name] = kind
    return kind
