"""The throughput cases as data: which request, to whom, and which decision the sidecar must have made of it."""

from __future__ import annotations

from dataclasses import dataclass

from benchmarks import wire
from benchmarks.lineup import (
    CONTENDERS,
    DIRECT,
    ENVOY_AUTHZ,
    ENVOY_OUR_AUTHORIZER,
    ENVOY_PLAIN,
    FAST_PATH_OFF,
    NGINX_LUA,
    NGINX_PLAIN,
    PURE,
    SIDECAR,
    Contender,
)

CLOSE = (DIRECT, NGINX_PLAIN, NGINX_LUA, SIDECAR, PURE, ENVOY_PLAIN, FAST_PATH_OFF)
BY_BODY = (*CLOSE, ENVOY_AUTHZ, ENVOY_OUR_AUTHORIZER)


@dataclass(frozen=True, slots=True)
class Case:
    """`sessions` is how many ids are known before and drawn from at random; `decision` is the sidecar's own word.

    `hits` is how many requests the upstream counts for each: it asks itself once more where it has to swallow a body.
    """

    name: str
    title: str
    template: wire.Template
    contenders: tuple[Contender, ...] = CLOSE
    decision: str = "known"
    sessions: int = 1000
    connections: int = 32
    hits: int = 1


CASES = (
    Case("known", "Known session, small JSON write", wire.SMALL_WRITE, CONTENDERS),
    Case("chinese-raw", "The same with Chinese text as UTF-8", wire.CHINESE_RAW),
    Case("chinese-escaped", "The same with Chinese text as \\uXXXX", wire.CHINESE_ESCAPED),
    Case("tools-call", "MCP tools/call for a known session", wire.TOOLS_CALL, BY_BODY),
    Case("pass-through", "Unguarded read", wire.READ, decision="passed"),
    Case("large-write", "Known session, 1 MiB write", wire.LARGE_WRITE, sessions=8, connections=8, hits=2),
    Case("large-upload", "Unguarded 8 MiB upload", wire.LARGE_UPLOAD, decision="passed", connections=8, hits=2),
    Case("large-download", "Unguarded 8 MiB download", wire.LARGE_DOWNLOAD, decision="passed", connections=8),
)
