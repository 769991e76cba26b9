"""Through the sidecar both ends of the wire see what they would see without it, but for a published list.

The list is `PUBLISHED`: functions that turn what was seen on a direct connection into what has to be seen through the
sidecar. Each is named by a row of docs/users/transparency.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

import pytest
import uvloop
from hypothesis import HealthCheck, Phase, given, settings

from tests.support import wire
from tests.support.differential import (
    Fields,
    Got,
    Planned,
    Sent,
    read_answer,
    read_request,
    values,
    write_pieces,
)
from tests.support.differential_draws import exchanges

PAGE = Path(__file__).parents[2] / "docs" / "users" / "transparency.md"
HOPS = {
    b"connection", b"keep-alive", b"proxy-connection", b"te", b"trailer",
    b"http2-settings", b"upgrade",
}  # fmt: skip
KEPT = {b"host", b"content-length", b"content-type", b"content-encoding", b"transfer-encoding"}
FRAMING = KEPT - {b"host"}
FORWARDED = {b"x-forwarded-for", b"x-forwarded-proto", b"x-forwarded-host"}
PUBLISHED: set[str] = set()

Rule = TypeVar("Rule", bound=Callable[..., object])


@dataclass(frozen=True)
class Asked:
    """What the rules may know of the exchange besides the message: the request as it went, and the upstream."""

    request: Sent
    upstream: bytes

    @property
    def version(self) -> bytes:
        return self.request.line.rpartition(b"/")[2]


def published(rule: Rule) -> Rule:
    """Put a rule on the list."""
    PUBLISHED.add(rule.__name__)
    return rule


def nominated(fields: Fields) -> set[bytes]:
    return {option.strip(b" \t").lower() for value in values(fields, b"connection") for option in value.split(b",")}


def without(fields: Fields, unwanted: Callable[[bytes], bool]) -> Fields:
    return [(name, value) for name, value in fields if not unwanted(name)]


def folded(name: bytes) -> bytes:
    """The name as a server spells it that makes variables of fields."""
    return re.sub(rb"[^a-z0-9]", b"-", name.lower())


def is_our_own(name: bytes) -> bool:
    return folded(name).startswith(b"x-sidecar-")


def is_reserved(name: bytes) -> bool:
    return is_our_own(name) or (folded(name) in FORWARDED | FRAMING and name.lower() not in FORWARDED | FRAMING)


# Requests


@published
def request_hop_by_hop(sent: Sent, _: Asked) -> Sent:
    gone = (HOPS | nominated(sent.fields)) - KEPT - FORWARDED
    return replace(sent, fields=without(sent.fields, lambda name: name.lower() in gone))


@published
def request_reserved(sent: Sent, _: Asked) -> Sent:
    return replace(sent, fields=without(sent.fields, is_reserved))


@published
def request_forwarded(sent: Sent, asked: Asked) -> Sent:
    fields = without(sent.fields, lambda name: name.lower() in FORWARDED)
    fields += [(b"X-Forwarded-For", b" 127.0.0.1"), (b"X-Forwarded-Proto", b" http")]
    fields += [(b"X-Forwarded-Host", b" " + host) for host in values(asked.request.fields, b"host")]
    return replace(sent, fields=fields)


@published
def request_host(sent: Sent, asked: Asked) -> Sent:
    if values(sent.fields, b"host"):
        return sent
    return replace(sent, fields=[(b"Host", b" " + asked.upstream), *sent.fields])


@published
def request_version(sent: Sent, _: Asked) -> Sent:
    return replace(sent, line=sent.line.rpartition(b" ")[0] + b" HTTP/1.1")


@published
def request_chunks(sent: Sent, _: Asked) -> Sent:
    return replace(sent, chunks=None if sent.chunks is None else (), trailers=[])


@published
def request_space(sent: Sent, _: Asked) -> Sent:
    return replace(sent, fields=[(name, b" " + value.strip(b" \t")) for name, value in sent.fields])


# Answers


@published
def response_space(got: Got, _: Asked) -> Got:
    return replace(got, fields=[(name, b" " + value.lstrip(b" \t")) for name, value in got.fields])


@published
def response_hop_by_hop(got: Got, _: Asked) -> Got:
    gone = (HOPS | nominated(got.fields)) - KEPT
    return replace(got, fields=without(got.fields, lambda name: name.lower() in gone))


@published
def response_reserved(got: Got, _: Asked) -> Got:
    return replace(got, fields=without(got.fields, is_our_own))


@published
def response_version(got: Got, _: Asked) -> Got:
    return replace(got, line=b"HTTP/1.1" + got.line[8:])


@published
def response_interim(got: Got, asked: Asked) -> Got:
    if asked.version == b"1.0":
        return replace(got, interim=[])
    kept = [
        (line, without(fields, lambda name: folded(name).startswith(b"x-sidecar-"))) for line, fields in got.interim
    ]
    return replace(got, interim=kept)


@published
def response_chunks(got: Got, _: Asked) -> Got:
    return replace(got, chunks=None if got.chunks is None else (), trailers=[])


@published
def response_framing(got: Got, asked: Asked) -> Got:
    bodiless = got.line.split(b" ")[1] in (b"204", b"304")
    if not bodiless and asked.version != b"1.0":
        return got
    fields = without(got.fields, lambda name: name.lower() == b"transfer-encoding")
    return replace(got, fields=fields, chunks=None, until_close=got.until_close or got.chunks is not None)


REQUEST_RULES = (
    request_hop_by_hop, request_reserved, request_forwarded, request_host, request_version, request_chunks,
    request_space,
)  # fmt: skip
RESPONSE_RULES = (
    response_hop_by_hop, response_reserved, response_version, response_interim, response_framing, response_chunks,
    response_space,
)  # fmt: skip


class Bench:
    """One upstream and three ways to it: directly, through the application, and through the fast path."""

    def __init__(self, upstream: wire.RawUpstream, sidecars: dict[str, wire.Running]) -> None:
        self._ports = {"direct": upstream.port} | {name: sidecar.port for name, sidecar in sidecars.items()}
        self.authority = b"127.0.0.1:%d" % upstream.port
        self._upstream = upstream
        self._sidecars = sidecars
        self._planned: Planned | None = None
        self._sent: list[Sent] = []
        upstream.answer = self._answer

    async def exchange(self, way: str, planned: Planned) -> tuple[Sent, Got]:
        """Do it once on one way; gives what both ends saw."""
        self._planned, self._sent = planned, []
        if way == "fast path":
            # It takes only requests for which a connection is free at once.
            pool = self._sidecars[way].upstream.pool
            pool.release(await pool.acquire())
        async with asyncio.timeout(30), wire.raw_client(self._ports[way]) as client:
            writing = asyncio.create_task(write_pieces(client.writer, planned.request))
            got = await read_answer(client.reader, planned.method)
            await writing
        (sent,) = self._sent
        for sidecar in self._sidecars.values():
            await sidecar.quiet()
        return sent, got

    async def _answer(self, seen: wire.Seen, writer: asyncio.StreamWriter) -> None:
        assert self._planned is not None
        self._sent.append(await read_request(seen.head, seen.reader))
        await write_pieces(writer, self._planned.answer)
        if self._planned.closes:
            raise ConnectionResetError("the answer was the last of its connection")


@pytest.fixture(scope="module")
def bench() -> Iterator[tuple[asyncio.Runner, Bench]]:
    """The bench, and the loop that it lives in."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        stack = contextlib.AsyncExitStack()

        async def build() -> Bench:
            upstream = await stack.enter_async_context(wire.raw_upstream(read_body=False))
            sidecars = {
                name: await stack.enter_async_context(wire.running(upstream.url, fast_path=name == "fast path"))
                for name in ("application", "fast path")
            }
            return Bench(upstream, sidecars)

        built = runner.run(build())
        yield runner, built
        runner.run(stack.aclose())


def own_connection(got: Got, request: Sent) -> Got:
    """Take out the `Connection` field of the sidecar's own: `close`, and nothing else, where its connection ends."""
    said = values(got.fields, b"connection")
    ends = request.line.endswith(b"1.0") or b"close" in nominated(request.fields) or got.until_close
    assert said == ([b"close"] if ends else [])
    return replace(got, fields=without(got.fields, lambda name: name.lower() == b"connection"))


def compare(bench: tuple[asyncio.Runner, Bench], planned: Planned) -> None:
    """Do the same on all ways; every difference must be on the list."""
    runner, ways = bench
    sent, got = runner.run(ways.exchange("direct", planned))
    asked = Asked(sent, ways.authority)
    expected_sent, expected_got = sent, got
    for rule in REQUEST_RULES:
        expected_sent = rule(expected_sent, asked)
    for rule in RESPONSE_RULES:
        expected_got = rule(expected_got, asked)
    for way in ("application", "fast path"):
        seen, answered = runner.run(ways.exchange(way, planned))
        assert request_chunks(seen, asked) == expected_sent, way
        assert response_chunks(own_connection(answered, sent), asked) == expected_got, way


QUIET = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.large_base_example]


@pytest.mark.timeout(400)
@settings(max_examples=300, deadline=None, suppress_health_check=QUIET)
@given(planned=exchanges())
def test_every_difference_is_published(bench, planned):
    """The fast path and the application change only what the list names."""
    compare(bench, planned)


@pytest.mark.long
@pytest.mark.timeout(1800)
@settings(max_examples=3000, deadline=None, suppress_health_check=QUIET, phases=set(Phase) - {Phase.reuse})
@given(planned=exchanges())
def test_every_difference_is_published_in_thousands_of_exchanges(bench, planned):
    """The same holds for thousands of generated exchanges."""
    compare(bench, planned)


def test_the_list_is_the_published_one():
    """Each rule of the comparison has its row in the published list, and each row its rule."""
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE.read_text(), re.MULTILINE))
    assert rows == PUBLISHED
