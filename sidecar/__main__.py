"""The program. `serve`, which a supervisor starts, does without the command line's libraries; the rest has them."""

from __future__ import annotations

import sys

from service_kit.process.collector import collect_seldom


def main() -> None:
    """Do what the arguments of the process say."""
    # Before anything is imported: collections take a tenth of the start, and a sixth of the application's way.
    collect_seldom()
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
