"""Keeps one service registered in Consul for as long as it runs.

The service runs without Consul too: it is registered as soon as the agent answers, and again where the agent lost it.
"""

from __future__ import annotations

import asyncio
import re
import reprlib
from collections.abc import Sequence
from typing import Any

import structlog
from consul import Check, ConsulException

from service_kit.consul.client import AsyncConsul
from service_kit.consul.variables import ConsulAgent
from service_kit.process.address import Address, Tcp, is_loopback

CHECK_INTERVAL = "2s"
CHECK_TIMEOUT = "2s"
# A process that was killed could not deregister; Consul accepts no less than a minute here.
DEREGISTER_CRITICAL_AFTER = "10m"
VERIFY_EVERY = 2.0
REQUEST_TIMEOUT = 2.0

_NO_ID = re.compile(r"[^A-Za-z0-9._-]+")

_log = structlog.get_logger()


class Registration:
    """One service instance in Consul: registered on `start`, again whenever the agent has lost it, gone on `stop`."""

    def __init__(
        self,
        agent: ConsulAgent,
        *,
        name: str,
        advertise: Tcp,
        health: str | None = None,
        tags: Sequence[str] = (),
        process: str = "",
    ) -> None:
        """`advertise` is where clients are sent.

        `process` tells several processes behind one advertised address apart: one that leaves takes no other along. The
        same text after a restart takes the place of what was registered before.
        `health` is what Consul polls: a path there, or a whole URL; None means that accepting a connection is enough.
        """
        self.service_id = f"{name}-{advertise.host}-{advertise.port}{_NO_ID.sub('-', f'-{process}') if process else ''}"
        self._agent = agent
        self._consul = AsyncConsul(agent, timeout=REQUEST_TIMEOUT)
        self._name = name
        self._advertise = advertise
        self._tags = list(tags)
        self._check = _check(advertise, health)
        self._keeper: asyncio.Task[None] | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._registered: bool | None = None  # None until the first attempt, for _note to have something to say

    async def start(self) -> None:
        """Begin registering in the background; returns at once, also while Consul is away."""
        self._keeper = asyncio.create_task(self._keep(), name=f"consul registration of {self.service_id}")

    async def stop(self) -> None:
        """Deregister, waiting a few seconds at most; may be repeated. Never raises for what Consul does."""
        if self._leaving is None:
            self._leaving = asyncio.create_task(self._leave(), name=f"consul deregistration of {self.service_id}")
        await asyncio.shield(self._leaving)

    async def _leave(self) -> None:
        if self._keeper is None:
            return
        self._keeper.cancel()
        await asyncio.wait([self._keeper])
        try:
            await self._consul.agent.service.deregister(self.service_id)
            _log.info("deregistered from Consul", service_id=self.service_id)
        except ConsulException as error:
            _log.warning("could not deregister from Consul", service_id=self.service_id, error=str(error))
        finally:
            await self._consul.close()

    async def _keep(self) -> None:
        while True:
            try:
                await self._register_if_missing()
            except ConsulException as error:
                self._note(registered=False, error=str(error))
            await asyncio.sleep(VERIFY_EVERY)

    async def _register_if_missing(self) -> None:
        # Once in any case: a predecessor that was killed may have left other tags or another check behind.
        if not self._registered or self.service_id not in await self._services():
            await self._consul.agent.service.register(
                self._name,
                service_id=self.service_id,
                address=self._advertise.host,
                port=self._advertise.port,
                tags=self._tags,
                check=self._check,
            )
            self._registered = False
        self._note(registered=True)

    async def _services(self) -> dict[str, Any]:
        """Give what the agent has registered, by id."""
        services = await self._consul.agent.services()
        if not isinstance(services, dict):
            raise ConsulException(f"an answer that is no object of services: {reprlib.repr(services)}")
        return services

    def _note(self, *, registered: bool, error: str = "") -> None:
        """Logs a change only: an agent that is away for a day is one line, not one every two seconds."""
        if registered == self._registered:
            return
        self._registered = registered
        if registered:
            _log.info("registered in Consul", service_id=self.service_id, agent=str(self._agent))
        else:
            _log.warning("cannot register in Consul; trying again", service_id=self.service_id, error=error)


def health_url(listen: Address, path: str, *, advertise: Tcp, agent: ConsulAgent) -> str | None:
    """Where `agent` can ask for the health of a service that listens on `listen`; None where it cannot.

    An address of this machine alone is one for an agent on this machine; a wildcard is asked at the advertised host.
    """
    if not isinstance(listen, Tcp) or (is_loopback(listen) and not agent.is_local):
        return None
    host = advertise.host if listen.is_wildcard else listen.host
    return f"http://{Tcp(host, listen.port)}{path}"


def _check(advertise: Tcp, health: str | None) -> dict[str, Any]:
    timing = {"interval": CHECK_INTERVAL, "timeout": CHECK_TIMEOUT, "deregister": DEREGISTER_CRITICAL_AFTER}
    if health is None:
        host = f"[{advertise.host}]" if ":" in advertise.host else advertise.host
        check: dict[str, Any] = Check.tcp(host, advertise.port, **timing)
    else:
        check = Check.http(f"http://{advertise}{health}" if health.startswith("/") else health, **timing)
    return check
