"""The program. `serve`, which a supervisor starts, does without the command line's libraries; the rest has them."""

from __future__ import annotations

import gc
import sys
from typing import Final

_YOUNG_OBJECTS: Final = 20_000
"""So many may come to live before cycles are looked for among them. What is imported stays: to look after every 700,
as Python does, takes a tenth of the start. Objects of requests in flight go by themselves, and to look among them costs
the application's way a sixth of its time."""


def main() -> None:
    """Do what the arguments of the process say."""
    gc.set_threshold(_YOUNG_OBJECTS)
    if sys.argv[1:] != ["serve"]:
        from sidecar.command_line import commands  # noqa: PLC0415 # brings click

        commands(prog_name="session-sidecar")
    try:
        from sidecar.serve import serve  # noqa: PLC0415 # not for the other commands

        code = serve()
    except KeyboardInterrupt:
        sys.stderr.write("session-sidecar: interrupted\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
