"""The contenders as data: how each is started, what it looks at, and what must be there for it.

Words in @{braces} are filled in when it starts. Every contender runs with one worker, keep-alive on both sides and no
access log; its files are templates under contenders/.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass, field, replace


class Checks(enum.Enum):
    """What a contender finds out about a request before it forwards it."""

    NOTHING = "nothing"
    HEADERS = "headers"
    BODY = "body"


@dataclass(frozen=True, slots=True)
class Contender:
    """`helper` is a second process on the same core; `needs` names words that must have been found on this machine."""

    name: str
    checks: Checks
    argv: tuple[str, ...]
    files: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    helper: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    is_sidecar: bool = False


SIDECAR_ENV = {
    "SIDECAR_LISTEN": "127.0.0.1:@{port}",
    "SIDECAR_ADMIN": "127.0.0.1:@{admin}",
    "SIDECAR_UPSTREAM": "http://127.0.0.1:@{upstream}",
    "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:@{session_service}",
    "SIDECAR_OUTBOX": "@{folder}/outbox.db",
    "SIDECAR_CACHE_TTL": "1h",
    "SIDECAR_LOG": "json",
}
SIDECAR_ARGV = ("@{sidecar}", "serve")
NGINX = ("@{nginx}", "-e", "stderr", "-p", "@{folder}", "-c")
ENVOY = ("@{envoy}", "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id", "-c")
UVICORN = ("@{python}", "-m", "uvicorn", "--port", "@{port}", "--no-access-log", "--log-level", "error")
ASGI_CHECKER = (
    *("@{python}", "-m", "uvicorn", "--app-dir", "@{folder}", "--port", "@{checker}"),
    *("--no-access-log", "--log-level", "error", "--lifespan", "off", "checker_asgi:app"),
)
CHECKER = ("@{python}", "-m", "benchmarks.checker", "@{checker}")
PYTHON_ENV = {"UPSTREAM": "http://127.0.0.1:@{upstream}"}

SIDECAR = Contender("sidecar", Checks.BODY, SIDECAR_ARGV, env=SIDECAR_ENV, needs=("sidecar",), is_sidecar=True)
SLOW_LANE = Contender(
    "sidecar, lane off",
    Checks.BODY,
    SIDECAR_ARGV,
    env={**SIDECAR_ENV, "SIDECAR_FAST_LANE": "false"},
    needs=("sidecar",),
    is_sidecar=True,
)
DIRECT = Contender("direct", Checks.NOTHING, ())
NGINX_PLAIN = Contender("nginx", Checks.NOTHING, (*NGINX, "nginx.conf"), ("nginx.conf", "nginx-common.conf"))
NGINX_AUTH = Contender(
    "nginx auth_request",
    Checks.HEADERS,
    (*NGINX, "nginx-auth.conf"),
    ("nginx-auth.conf", "nginx-common.conf"),
    helper=CHECKER,
)
NGINX_LUA = Contender(
    "nginx + Lua",
    Checks.BODY,
    (*NGINX, "nginx-lua.conf"),
    ("nginx-lua.conf", "nginx-common.conf", "guard.lua"),
    env={"LD_LIBRARY_PATH": "@{libraries}"},
    needs=("modules",),
)
ENVOY_PLAIN = Contender("Envoy", Checks.NOTHING, (*ENVOY, "envoy.yaml"), ("envoy.yaml",))
ENVOY_AUTHZ = Contender(
    "Envoy ext_authz",
    Checks.BODY,
    (*ENVOY, "envoy-ext-authz.yaml"),
    ("envoy-ext-authz.yaml",),
    helper=CHECKER,
)
NGINX_AUTH_ASGI, ENVOY_AUTHZ_ASGI = (
    replace(each, name=f"{each.name}, ASGI checker", files=(*each.files, "checker_asgi.py"), helper=ASGI_CHECKER)
    for each in (NGINX_AUTH, ENVOY_AUTHZ)
)
CADDY = Contender(
    "Caddy forward_auth",
    Checks.HEADERS,
    ("@{caddy}", "run", "--config", "Caddyfile", "--adapter", "caddyfile"),
    ("Caddyfile",),
    env={"HOME": "@{folder}"},
    helper=CHECKER,
)
TRAEFIK = Contender(
    "Traefik ForwardAuth",
    Checks.HEADERS,
    ("@{traefik}", "--configFile=traefik.yaml"),
    ("traefik.yaml", "traefik-routes.yaml"),
    helper=CHECKER,
)
MITMPROXY_OPTIONS = (
    *("--mode", "reverse:http://127.0.0.1:@{upstream}", "--listen-host", "127.0.0.1", "--listen-port", "@{port}"),
    *("--set", "stream_large_bodies=1m", "--set", "confdir=@{folder}"),
)
MITMPROXY = Contender(
    "mitmproxy",
    Checks.NOTHING,
    ("@{mitmdump}", "-q", *MITMPROXY_OPTIONS),
)
FASTAPI_PROXY = Contender(
    "fastapi-proxy-lib", Checks.NOTHING, (*UVICORN, "fastapi_proxy:app"), ("fastapi_proxy.py",), PYTHON_ENV
)
STARLETTE_HTTPX = Contender(
    "Starlette + httpx", Checks.NOTHING, (*UVICORN, "starlette_httpx:app"), ("starlette_httpx.py",), PYTHON_ENV
)

# In an order that keeps those that a bar compares close to one another in time.
CONTENDERS = (
    DIRECT,
    NGINX_PLAIN,
    NGINX_LUA,
    NGINX_AUTH,
    SIDECAR,
    NGINX_AUTH_ASGI,
    ENVOY_PLAIN,
    SLOW_LANE,
    ENVOY_AUTHZ,
    ENVOY_AUTHZ_ASGI,
    CADDY,
    TRAEFIK,
    MITMPROXY,
    FASTAPI_PROXY,
    STARLETTE_HTTPX,
)
BY_NAME = {each.name: each for each in CONTENDERS}
