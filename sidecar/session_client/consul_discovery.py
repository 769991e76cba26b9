"""Where Consul says that the session service is. A pick takes what Consul said last and never waits for it.

Imported only where Consul is configured: its client brings half a dozen libraries along.
"""

from __future__ import annotations

import asyncio
import random
from typing import Any, Final, NamedTuple

import structlog
from consul import ConsulException

from service_kit.address import Tcp
from service_kit.consul import ConsulAgent
from service_kit.consul_client import AsyncConsul
from sidecar.http.client.origin import Origin
from sidecar.session_client.rotation import Rotation

QUERY_SECONDS: Final = 10
"""How long Consul may hold a question whose answer has not changed."""

FIRST_ANSWER_SECONDS: Final = 2.0
"""How long a start waits for Consul to answer or to fail, so that the first requests find instances."""

_PAUSE: Final = 0.05
_LONGEST_BACKOFF: Final = 2.0

_log = structlog.get_logger()


class ConsulDiscovery:
    """The `Discovery` port over Consul: its passing instances, followed by blocking queries in the background.

    While Consul is away the last set it gave stays good. `fallback` counts only until Consul has named an instance
    once; from then on "no passing instance" is an outage.
    """

    def __init__(self, agent: ConsulAgent, name: str, fallback: str | None = None) -> None:
        self._agent = agent
        # Consul adds up to a sixteenth to the time it holds a query.
        self._consul = AsyncConsul(agent, timeout=QUERY_SECONDS * 17 / 16 + 2)
        self._name = name
        self._fallback = fallback
        self._rotation = Rotation()
        self._portless: set[str] = set()
        self._named_once = False
        self._away = False
        self._heard = asyncio.Event()
        self._follower: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Begin to follow Consul; waits a moment to hear from it, and goes on without if that takes longer."""
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
                # No agent, however confused, is asked without a pause.
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
        instances, now = read_instances(answer)
        self._take([instance.url for instance in instances if instance.port])
        self._warn_of({f"{instance.host}:0" for instance in instances if not instance.port})
        # An index that went backwards belongs to a Consul that was restored or began anew: what it knows may be new.
        return now if now >= index else 0

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

    def _warn_of(self, portless: set[str]) -> None:
        for instance in sorted(portless - self._portless):
            _log.warning("an instance without a port in Consul is passed over", name=self._name, instance=instance)
        self._portless = portless

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


class Instance(NamedTuple):
    """Where Consul says that an instance is. One that was registered without a port has port 0: it cannot be asked."""

    host: str
    port: int

    @property
    def url(self) -> str:
        return f"http://{Tcp(self.host, self.port)}"


def read_instances(answer: Any) -> tuple[list[Instance], int]:
    """Instances and index of an answer; raises ConsulException where it is not what Consul gives."""
    try:
        index, entries = answer
        return list(dict.fromkeys(map(_instance, entries))), int(index)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ConsulException(f"an answer that is no list of instances: {error!r}") from error


def _instance(entry: dict[str, Any]) -> Instance:
    service = entry["Service"]
    host = service["Address"] or entry["Node"]["Address"]
    if not isinstance(host, str) or not host or set(host) & set("/?#@ "):
        raise ValueError(f"{host!r} is no host")
    instance = Instance(host, int(service["Port"]))
    # Raises ValueError for what no call could be written to.
    Origin.parse(instance.url).authority.encode("ascii")
    return instance
