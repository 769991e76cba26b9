"""The instances of the session service in Consul. A pick takes the last known ones and never waits for Consul.

Imported only where Consul is configured: its client brings half a dozen libraries along.
"""

from __future__ import annotations

import asyncio
import random
import reprlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog
from consul import ConsulException
from pydantic import AliasPath, BaseModel, Field, ValidationError

from service_kit.consul.client import AsyncConsul
from service_kit.consul.variables import ConsulAgent
from service_kit.process.address import Tcp, server_address

QUERY_SECONDS: Final = 10
"""How long Consul may hold a question whose answer has not changed."""

FIRST_ANSWER_SECONDS: Final = 2.0
"""How long a start waits for Consul to answer or to fail, so that the first requests find instances."""

AVOID_SECONDS: Final = 5.0
"""How long an instance that could not be reached is passed over, while there are others."""

_PAUSE: Final = 0.05
_LONGEST_BACKOFF: Final = 2.0
_LONGEST_NAME: Final = 255

_log = structlog.get_logger()


class Rotation:
    """Gives instances in turn, and passes over those that failed within `AVOID_SECONDS`. `clock` is monotonic."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._urls: list[str] = []
        self._avoided_until: dict[str, float] = {}

    @property
    def urls(self) -> Sequence[str]:
        """The instances there are, in the order they are given."""
        return self._urls

    def replace(self, urls: Sequence[str]) -> None:
        """Take a new set of instances; a new instance starts without failures."""
        staying = set(urls) & set(self._urls)
        self._avoided_until = {url: until for url, until in self._avoided_until.items() if url in staying}
        # In a random order, or every sidecar that learns of a change would ask the same instance first.
        self._urls = random.sample(urls, len(urls))

    def pick(self) -> str | None:
        """Give the next instance; if all of them failed lately, the one that failed longest ago."""
        now = self._clock()
        for _ in self._urls:
            url = self._urls.pop(0)
            self._urls.append(url)
            if self._avoided_until.get(url, now) <= now:
                return url
        return min(self._urls, key=self._avoided_until.__getitem__, default=None)

    def report(self, url: str, *, ok: bool) -> None:
        """Avoid an instance for `AVOID_SECONDS`, or end that."""
        if ok:
            self._avoided_until.pop(url, None)
        elif url in self._urls:
            self._avoided_until[url] = self._clock() + AVOID_SECONDS


class ConsulDiscovery:
    """The `Discovery` port over Consul: its passing instances, followed by blocking queries in the background.

    While Consul is away the last set it gave stays good. The fallback counts only until Consul has named an instance
    once; from then on "no passing instance" is an outage.
    """

    def __init__(self, agent: ConsulAgent, name: str, fallback: str | None = None) -> None:
        self._agent = agent
        # Consul adds up to a sixteenth to the time it holds a query.
        self._consul = AsyncConsul(agent, timeout=QUERY_SECONDS * 17 / 16 + 2)
        self._name = name
        self._fallback = fallback
        self._rotation = Rotation()
        self._passed_over: set[str] = set()
        self._named_once = False
        self._away = False
        self._heard = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow Consul; waits `FIRST_ANSWER_SECONDS` at most for its first answer or failure."""
        self._follower = asyncio.create_task(self._follow(), name=f"consul discovery of {self._name}")
        first = asyncio.ensure_future(self._heard.wait())
        await asyncio.wait([first], timeout=FIRST_ANSWER_SECONDS)
        first.cancel()

    async def stop(self) -> None:
        if self._follower is not None:
            self._follower.cancel()
            await asyncio.wait([self._follower])
            self._follower = None
        await self._consul.close()

    def pick(self) -> str | None:
        """Give a passing instance, or the fallback where it still counts."""
        return self._rotation.pick() if self._named_once else self._fallback

    def report(self, url: str, *, ok: bool) -> None:
        """Pass over an instance that could not be reached, before Consul has noticed."""
        self._rotation.report(url, ok=ok)

    async def _follow(self) -> None:
        index = failures = 0
        while True:
            try:
                index = await self._ask(index)
                failures = 0
                # An agent that answers at once every time is not asked without a pause.
                await asyncio.sleep(_PAUSE)
            except ConsulException as error:
                self._note_away(str(error))
                index, failures = 0, min(failures + 1, 10)
                longest = min(_LONGEST_BACKOFF, _PAUSE * 2**failures)
                await asyncio.sleep(random.uniform(_PAUSE, longest))  # noqa: S311 # spreads load, keeps no secret

    async def _ask(self, index: int) -> int:
        """Ask for what has changed since `index` (0: for what is) and return where to go on."""
        answer = await self._consul.health.service(
            self._name, passing=True, index=index or None, wait=f"{QUERY_SECONDS}s"
        )
        found = read_instances(answer)
        self._take(found.urls)
        self._warn_of(set(found.passed_over))
        # An index that went backwards belongs to a Consul that was restored or began anew: what it knows may be new.
        return found.index if found.index >= index else 0

    def _take(self, urls: list[str]) -> None:
        if self._away:
            self._away = False
            _log.info("Consul answers again", agent=str(self._agent))
        if set(urls) != set(self._rotation.urls):
            if urls:
                _log.info("session services in Consul", name=self._name, instances=sorted(urls))
            else:
                _log.warning("Consul names no passing session service", name=self._name)
            self._rotation.replace(urls)
        self._named_once = self._named_once or bool(urls)
        self._heard.set()

    def _warn_of(self, passed_over: set[str]) -> None:
        if new := passed_over - self._passed_over:
            what = "instances in Consul cannot be asked and are passed over"
            _log.warning(what, name=self._name, instances=sorted(new))
        self._passed_over = passed_over

    def _note_away(self, error: str) -> None:
        self._heard.set()
        if not self._away:
            self._away = True
            _log.warning(
                "Consul does not answer; going on with what it said last",
                agent=str(self._agent),
                error=error,
                instances=sorted(self._rotation.urls),
            )


@dataclass(frozen=True, slots=True)
class Instances:
    """What an answer says: the base URLs of the instances, and of each entry that is none its id and why."""

    index: int
    urls: list[str]
    passed_over: list[str]


class ConsulEntry(BaseModel, strict=True):
    """One entry of the answer to `/v1/health/service/NAME`, as far as it says where the instance is."""

    port: int = Field(ge=1, le=65535, validation_alias=AliasPath("Service", "Port"))
    address: str | None = Field(default=None, validation_alias=AliasPath("Service", "Address"))
    node_address: str | None = Field(default=None, validation_alias=AliasPath("Node", "Address"))


def read_instances(answer: Any) -> Instances:
    """Read what Consul answers; an entry that names no address that can be asked is passed over.

    Raises ConsulException where there are entries and all are of that kind, or where there is no list of entries.
    """
    try:
        index, entries = int(answer[0]), answer[1]
    except (TypeError, ValueError) as error:
        raise ConsulException(f"an answer without an index: {error}") from error
    if not isinstance(entries, list):
        raise ConsulException(f"an answer that is no list of instances: {reprlib.repr(entries)}")
    urls, passed_over = [], []
    for entry in entries:
        try:
            urls.append(_url_of(entry))
        except ValueError as error:
            passed_over.append(f"{_name_of(entry)}: {error}")
    if passed_over and not urls:
        raise ConsulException(f"an answer without an instance that can be asked: {passed_over[0]}")
    return Instances(index, list(dict.fromkeys(urls)), passed_over)


def _url_of(entry: Any) -> str:
    """Give the base URL of an instance. Raises ValueError with one sentence where the entry has none."""
    try:
        found = ConsulEntry.model_validate(entry)
    except ValidationError as invalid:
        error = invalid.errors()[0]
        raise ValueError(": ".join([".".join(map(str, error["loc"])) or "entry", error["msg"]])) from None
    host = found.address or found.node_address or ""
    url = f"http://{Tcp(host, found.port)}"
    try:
        server_address(url)
        host.encode("ascii")
    except ValueError:
        raise ValueError(f"Service.Address: {reprlib.repr(host)} is no host") from None
    return url


def _name_of(entry: Any) -> str:
    """What to call an entry: the id of its service, or else its beginning."""
    service = entry.get("Service") if isinstance(entry, dict) else None
    name = service.get("ID") if isinstance(service, dict) else None
    return name[:_LONGEST_NAME] if isinstance(name, str) else reprlib.repr(entry)
