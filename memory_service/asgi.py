"""The memory service as an ASGI application, for a server that takes MODULE:APP: `memory_service.asgi:app`.

It reads its settings when it is imported. The schema must be up to date (`memory-service migrate`).
"""

from __future__ import annotations

from typing import Final

from memory_service.app import build
from memory_service.settings import Settings
from service_kit.settings import load

app: Final = build(load(Settings)).app
