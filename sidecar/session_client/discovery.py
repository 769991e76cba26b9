"""Where the session service is: a fixed address, or instances that take turns; `consul_discovery` finds these."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from service_kit.consul.variables import ConsulAgent
from sidecar.profile.session_api import At
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.session_client.consul_discovery import ConsulDiscovery


class Discovery(Protocol):
    """Gives the addresses of the session service's instances. Both methods return at once and never raise."""

    def pick(self) -> str | None:
        """Give the base URL of an instance (`http://…`, `https://…` or `unix:/path`, no trailing slash).

        Several instances are given in turn. None means that there is none: an outage.
        """
        ...

    def report(self, url: str, *, ok: bool) -> None:
        """Note that the instance at `url` answered, or could not be reached, so that others are picked."""
        ...


class FixedAddress:
    """The `Discovery` port for one address that is configured."""

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


@dataclass(frozen=True, slots=True)
class InConsul:
    """The session service is what `agent` knows by a name, and at `fallback` while that has not named an instance."""

    agent: ConsulAgent
    name: str
    fallback: str | None = None

    def __str__(self) -> str:
        return f"{self.name} in Consul at {self.agent}"


def session_service_of(settings: Settings) -> str | InConsul:
    """The session service's base URL, or its name in Consul. Its text form is for log lines and messages."""
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

    return ConsulDiscovery(where.agent, where.name, where.fallback)
