"""The program. `serve`, which a supervisor starts, does without the command line's libraries; the rest has them."""

from __future__ import annotations

import gc
import sys
from typing import Final

_YOUNG_OBJECTS: Final = 20_000


def main() -> None:
    """Do what the arguments of the process say."""
    if sys.argv[1:] != ["serve"]:
        from sidecar.command_line import commands  # noqa: PLC0415 # brings click

        commands(prog_name="session-sidecar")
    # What is imported stays: to look for garbage among it after every 700 new objects takes a tenth of the start.
    gc.set_threshold(_YOUNG_OBJECTS)
    try:
        from sidecar.serve import serve  # noqa: PLC0415 # not for the other commands

        code = serve()
    except KeyboardInterrupt:
        sys.stderr.write("session-sidecar: interrupted\n")
        code = 1
    sys.exit(code)


if __name__ == "__main__":
    main()
