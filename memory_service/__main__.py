"""The entry point of `memory-service`: says which dependency is missing before anything imports it."""

from __future__ import annotations

from service_kit.process.extras import require_extra

require_extra("services", "memory-service")

from memory_service.commands import main  # noqa: E402 # the imports behind it need the extra

__all__ = ["main"]

if __name__ == "__main__":
    main(prog_name="memory-service")
