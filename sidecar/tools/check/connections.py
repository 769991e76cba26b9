"""Tries what the settings name, without creating anything: every peer gets a connection or a lookup, no more."""

from __future__ import annotations

import asyncio
import ssl
import tempfile
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from consul import ConsulException

from service_kit.consul.client import AsyncConsul
from service_kit.process.address import Unix, server_address
from sidecar.guard.ports import Telemetry
from sidecar.guard.verdicts import Absent, Found, Unknown, Untrustworthy, Verdict
from sidecar.model import Reference
from sidecar.profile.api_call import ApiCall
from sidecar.profile.loading import find_profile, shipped_profiles
from sidecar.profile.profile import Profile
from sidecar.profile.session_api import At, Style
from sidecar.session_client.calls import SessionCall
from sidecar.session_client.client import HttpSessionService
from sidecar.session_client.consul_discovery import read_instances
from sidecar.session_client.discovery import FixedAddress, InConsul, session_service_of
from sidecar.session_client.transport import NoAnswer, Transport
from sidecar.settings import Settings


@dataclass(frozen=True, slots=True)
class Finding:
    """One line for a person, and whether it is a problem."""

    text: str
    is_problem: bool = False


async def check_connections(settings: Settings) -> list[Finding]:
    """Try upstream (where requests go to one), Consul, session service and the outbox's folder, in this order."""
    findings = [await _upstream(settings)] if settings.forwards else []
    where = session_service_of(settings)
    if isinstance(where, InConsul):
        found, url = await _consul(where, settings.connect_timeout)
        findings.append(found)
    else:
        url = where
    if url is not None and settings.mode != "off":
        findings.append(await _session_service(url, settings))
    if settings.on_outage == "forward":
        findings.append(await asyncio.to_thread(_outbox, settings.outbox))
    return findings


async def _upstream(settings: Settings) -> Finding:
    where = f"SIDECAR_UPSTREAM: {settings.upstream}"
    address = server_address(settings.upstream)
    try:
        async with asyncio.timeout(settings.connect_timeout):
            if isinstance(address, Unix):
                _, writer = await asyncio.open_unix_connection(address.path)
            else:
                tls = ssl.create_default_context() if settings.upstream.startswith("https:") else None
                _, writer = await asyncio.open_connection(address.host, address.port, ssl=tls)
    except TimeoutError:
        return Finding(f"{where}: no connection within {settings.connect_timeout:g}s", is_problem=True)
    except OSError as error:
        return Finding(f"{where}: {error.strerror or error}", is_problem=True)
    writer.close()
    return Finding(f"{where}: accepts connections")


async def _consul(where: InConsul, within: float) -> tuple[Finding, str | None]:
    """Ask for passing instances, `within` seconds; gives the address of one, or the fallback where there is none."""
    agent, name, fallback = where.agent, where.name, where.fallback
    consul = AsyncConsul(agent, timeout=within)
    try:
        found = read_instances(await consul.health.service(name, passing=True))
    except ConsulException as error:
        return Finding(f"Consul at {agent}: {error}", is_problem=True), fallback
    finally:
        await consul.close()
    if not found.urls:
        return Finding(f"Consul at {agent}: no passing instance of {name}", is_problem=fallback is None), fallback
    text = f"Consul at {agent}: {len(found.urls)} passing instance(s) of {name}"
    if found.passed_over:
        text = f"{text}; passed over: {', '.join(found.passed_over)}"
    return Finding(text), found.urls[0]


async def _session_service(url: str, settings: Settings) -> Finding:
    """Look up a session that cannot exist; only a service with the API of the profile answers that there is none."""
    at_upstream = settings.profile.service.at is At.UPSTREAM
    where = f"SIDECAR_UPSTREAM, which keeps the sessions: {url}" if at_upstream else f"SIDECAR_SESSION_SERVICE: {url}"
    async with Transport() as transport:
        mismatch = await _mismatch(settings.profile, url, settings, transport)
        if mismatch is None:
            return Finding(f"{where}: speaks what profile {settings.profile.name} says")
        if mismatch.is_outage:
            return Finding(f"{where}: {mismatch.why}", is_problem=True)
        fitting = []
        for name in shipped_profiles():
            other = find_profile(name)
            if other.name != settings.profile.name and await _mismatch(other, url, settings, transport) is None:
                fitting.append(name)
    return Finding(f"{where}: {mismatch.why}; {_advice(fitting, settings.profile)}", is_problem=True)


@dataclass(frozen=True, slots=True)
class _Mismatch:
    """Why a profile does not fit. An outage says nothing about any profile."""

    why: str
    is_outage: bool = False


async def _mismatch(profile: Profile, url: str, settings: Settings, transport: Transport) -> _Mismatch | None:
    of_profile = settings.model_copy(update={"profile": profile})
    service = HttpSessionService.from_settings(of_profile, transport, FixedAddress(url), Telemetry())
    scope, variables = tuple("check" for _ in profile.scope), tuple((name, "check") for name in profile.variables)
    reference = Reference(str(uuid.uuid4()), str(uuid.uuid4()), scope=scope, variables=variables)
    calls = [call for call in (profile.service.look, profile.service.create) if call is not None]
    try:
        deadline = asyncio.get_running_loop().time() + settings.session_timeout
        statuses = [
            (await transport.call(_options(call, profile.scope).write(url, reference), deadline)).status
            for call in calls
        ]
    except TimeoutError:
        return _Mismatch(f"no answer within {settings.session_timeout:g}s", is_outage=True)
    except NoAnswer as error:
        return _Mismatch(f"cannot be asked: {error}", is_outage=True)
    answer = await service.look(reference)
    if isinstance(answer, Absent):
        # A web framework answers 404 for a path it does not have, too. Our own service's 404 has a reason beside it.
        missing = [call.path for call, status in zip(calls, statuses, strict=True) if status == 404]
        if profile.service.style is Style.PUT or not missing:
            return None
        return _Mismatch(f"it has no {' and no '.join(dict.fromkeys(missing))}, which profile {profile.name} asks for")
    why = f"it does not speak what profile {profile.name} says: {_described(answer)}"
    return _Mismatch(why, is_outage=isinstance(answer, Unknown))


def _options(call: ApiCall, scope_names: Sequence[str]) -> SessionCall:
    """Ask with OPTIONS, which changes nothing (RFC 9110, section 9.3.7), at the path of a call."""
    return SessionCall(replace(call, method="OPTIONS", body=None, query={}), scope_names, [])


def _described(answer: Verdict) -> str:
    match answer:
        case Unknown(why=why) | Untrustworthy(why=why):
            return why
        case Found():
            return "it finds a session that was never created"
        case _:
            return f"it answers {type(answer).__name__.lower()} for a session that was never created"


def _advice(fitting: Sequence[str], profile: Profile) -> str:
    if fitting:
        return f"SIDECAR_PROFILE={' or '.join(fitting)} fits this service"
    others = [name for name in shipped_profiles() if name != profile.name]
    return f"none of the shipped profiles fits ({', '.join([profile.name, *others])})"


def _outbox(path: Path) -> Finding:
    """Make the folder, as a start would, and write a file into it that vanishes at once."""
    folder = path.absolute().parent
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"check")
    except OSError as error:
        return Finding(f"SIDECAR_OUTBOX: {folder}: {error.strerror or error}", is_problem=True)
    return Finding(f"SIDECAR_OUTBOX: {folder} can be written")
