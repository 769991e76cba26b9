"""Where the session service is: a fixed address, or instances that take turns; `consul_discovery` finds these."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from sidecar.profile.session_api import At
from sidecar.settings import Settings

if TYPE_CHECKING:
    from sidecar.session_client.consul_discovery import ConsulDiscovery


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


def discovery_of(settings: Settings) -> FixedAddress | ConsulDiscovery:
    """Find the session service as the settings and their profile say; it has to be started."""
    if settings.profile.service.at is At.UPSTREAM:
        return FixedAddress(settings.upstream)
    if settings.consul is None:
        return FixedAddress(settings.session_service)
    from sidecar.session_client.consul_discovery import ConsulDiscovery  # noqa: PLC0415 # see its first lines

    fallback = settings.session_service if settings.session_service_is_explicit else None
    return ConsulDiscovery(settings.consul, settings.session_service_name, fallback)
