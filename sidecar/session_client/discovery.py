"""Where the session service is: a fixed address, or instances that take turns; `consul_discovery` finds these."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from service_kit.consul import ConsulAgent
from sidecar.profile.session_api import At
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.session_client.consul_discovery import ConsulDiscovery

AVOID_SECONDS: Final = 5.0
"""How long an instance that could not be reached is passed over, while there are others."""


class Discovery(Protocol):
    """Knows where instances of the session service are. Both methods return at once and never raise."""

    def pick(self) -> str | None:
        """Give the base URL of an instance (`http://…`, `https://…` or `unix:/path`, no trailing slash).

        Several instances are given in turn. None means that there is none: an outage.
        """
        ...

    def report(self, url: str, *, ok: bool) -> None:
        """Note that the instance at `url` answered, or could not be reached, so that others are picked."""
        ...


class FixedAddress:
    """The `Discovery` port where the address is simply known."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def start(self) -> None:
        """Nothing has to be found."""

    async def stop(self) -> None:
        """Nothing is followed."""

    def pick(self) -> str:
        return self._url

    def report(self, url: str, *, ok: bool) -> None:
        """There is nowhere else to go."""


class Rotation:
    """Gives instances in turn, passing over those that failed a moment ago. `clock` gives monotonic seconds."""

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
        # In an order of our own, or every sidecar that hears of a change would go to the same instance first.
        self._urls = random.sample(urls, len(urls))

    def pick(self) -> str | None:
        """Give the next instance; if all of them failed lately, the one that has been left alone longest."""
        now = self._clock()
        for _ in self._urls:
            url = self._urls.pop(0)
            self._urls.append(url)
            if self._avoided_until.get(url, now) <= now:
                return url
        return min(self._urls, key=self._avoided_until.__getitem__, default=None)

    def report(self, url: str, *, ok: bool) -> None:
        """Avoid an instance for a while, or take it back into grace."""
        if ok:
            self._avoided_until.pop(url, None)
        elif url in self._urls:
            self._avoided_until[url] = self._clock() + AVOID_SECONDS


@dataclass(frozen=True, slots=True)
class InConsul:
    """The session service is what `agent` knows by a name, and at `fallback` while that has not named an instance."""

    agent: ConsulAgent
    name: str
    fallback: str | None = None

    def __str__(self) -> str:
        return f"{self.name} in Consul at {self.agent}"


def session_service_of(settings: Settings) -> str | InConsul:
    """Say where the session service is: its base URL, or that Consul knows. As text it is for a person."""
    if settings.profile.service.at is At.UPSTREAM:
        return settings.upstream
    if settings.consul is None:
        return settings.session_service
    fallback = settings.session_service if settings.session_service_is_explicit else None
    return InConsul(settings.consul, settings.session_service_name, fallback)


def discovery_of(settings: Settings) -> FixedAddress | ConsulDiscovery:
    """Find the session service as the settings and their profile say; it has to be started."""
    where = session_service_of(settings)
    if isinstance(where, str):
        return FixedAddress(where)
    from sidecar.session_client.consul_discovery import ConsulDiscovery  # noqa: PLC0415 # see its first lines

    return ConsulDiscovery(where)
