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
    """`helper` is a second process on the same core, ready when `helper_answers` is answered with 2xx.

    `shipped` names a file of deploy/ that is used as it is, but for its ports. `needs` names words that must have been
    found on this machine. `is_sidecar` says that its decisions can be read at the admin address, and `is_compiled`
    which build it must say there that it is.
    """

    name: str
    checks: Checks
    argv: tuple[str, ...]
    files: tuple[str, ...] = ()
    env: Mapping[str, str] = field(default_factory=dict)
    helper: tuple[str, ...] = ()
    helper_answers: str = "/health"
    shipped: str = ""
    needs: tuple[str, ...] = ()
    is_sidecar: bool = False
    is_compiled: bool = True


SIDECAR_ENV = {
    "SIDECAR_LISTEN": "127.0.0.1:@{port}",
    "SIDECAR_ADMIN": "127.0.0.1:@{admin}",
    "SIDECAR_UPSTREAM": "http://127.0.0.1:@{upstream}",
    "SIDECAR_SESSION_SERVICE": "http://127.0.0.1:@{session_service}",
    "SIDECAR_OUTBOX": "@{folder}/outbox.db",
    "SIDECAR_CACHE_TTL": "1h",
    "SIDECAR_LOG": "json",
}
COMPILED, PURE_PYTHON = "@{sidecar}", "@{pure}"
NGINX = ("@{nginx}", "-e", "stderr", "-p", "@{folder}", "-c")
ENVOY = ("@{envoy}", "--concurrency", "1", "--log-level", "error", "--use-dynamic-base-id", "-c")
UVICORN_ON, UVICORN_QUIET = ("@{python}", "-m", "uvicorn", "--port"), ("--no-access-log", "--log-level", "error")
UVICORN = (*UVICORN_ON, "@{port}", *UVICORN_QUIET)
ASGI_CHECKER = (
    *("@{python}", "-m", "uvicorn", "--app-dir", "@{folder}", "--port", "@{helper}"),
    *("--no-access-log", "--log-level", "error", "--lifespan", "off", "checker_asgi:app"),
)
CHECKER = ("@{python}", "-m", "benchmarks.checker", "@{helper}")
PYTHON_ENV = {"UPSTREAM": "http://127.0.0.1:@{upstream}"}

SIDECAR = Contender("sidecar", Checks.BODY, (COMPILED, "serve"), env=SIDECAR_ENV, needs=("sidecar",), is_sidecar=True)
PURE = replace(SIDECAR, name="sidecar, pure", argv=(PURE_PYTHON, "serve"), needs=("pure",), is_compiled=False)
FAST_PATH_OFF = replace(SIDECAR, name="sidecar, fast path off", env={**SIDECAR_ENV, "SIDECAR_FAST_LANE": "false"})
PURE_FAST_PATH_OFF = replace(PURE, name="sidecar, pure, fast path off", env=FAST_PATH_OFF.env)
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
ENVOY_OUR_AUTHORIZER = Contender(
    "Envoy ext_authz, our authoriser",
    Checks.BODY,
    (*ENVOY, "envoy.yaml"),
    env={**SIDECAR_ENV, "SIDECAR_LISTEN": "127.0.0.1:@{spare}", "SIDECAR_AUTHZ": "127.0.0.1:@{helper}"},
    helper=(COMPILED, "serve"),
    helper_answers="/envoy/health",
    shipped="envoy/envoy.yaml",
    needs=("sidecar",),
    is_sidecar=True,
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

# The same ASGI application by itself, under the guard in its own process, and with the sidecar as a hop before it.
HOSTED_APP = ("hosted_app.py",)
HOSTED_PLAIN = Contender("application", Checks.NOTHING, (*UVICORN, "hosted_app:app"), HOSTED_APP)
HOSTED_WRAPPED = replace(SIDECAR, name="sidecar wrap", argv=(COMPILED, "wrap", "hosted_app:app"), files=HOSTED_APP)
HOSTED_BEHIND_A_HOP = replace(
    SIDECAR,
    name="sidecar before the application",
    files=HOSTED_APP,
    env={**SIDECAR_ENV, "SIDECAR_UPSTREAM": "http://127.0.0.1:@{helper}"},
    helper=(*UVICORN_ON, "@{helper}", *UVICORN_QUIET, "hosted_app:app"),
)

# In an order that keeps those that a bar compares close to one another in time.
CONTENDERS = (
    DIRECT,
    NGINX_PLAIN,
    NGINX_LUA,
    NGINX_AUTH,
    SIDECAR,
    PURE,
    NGINX_AUTH_ASGI,
    ENVOY_PLAIN,
    FAST_PATH_OFF,
    ENVOY_AUTHZ,
    ENVOY_AUTHZ_ASGI,
    ENVOY_OUR_AUTHORIZER,
    CADDY,
    TRAEFIK,
    MITMPROXY,
    FASTAPI_PROXY,
    STARLETTE_HTTPX,
)
HOSTED = (HOSTED_PLAIN, HOSTED_WRAPPED, HOSTED_BEHIND_A_HOP)
BY_NAME = {each.name: each for each in (*CONTENDERS, *HOSTED)}
