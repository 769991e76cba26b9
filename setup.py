"""Compiles the modules that compiled.txt names, where the environment says COMPILED=true; pyproject.toml has the rest.

The sources stay as they are and are part of the wheel: an extension module beside one of them takes its place.
"""

import os
from pathlib import Path

from setuptools import setup

ROOT = Path(__file__).parent


def hot_modules() -> list[str]:
    """Give the paths of the modules to compile, relative to the root."""
    lines = (ROOT / "compiled.txt").read_text(encoding="utf-8").splitlines()
    return [line for line in lines if line and not line.startswith("#")]


def compile_modules() -> list[object]:
    """Translate the modules to C. Ends the build where mypyc finds an error."""
    from mypyc.build import mypycify  # noqa: PLC0415 # a pure wheel is built without mypyc

    # The libraries' types come from the interpreter that has them, which need not be the one that builds.
    options = ["--ignore-missing-imports"]
    if python := os.environ.get("DEPENDENCIES_OF"):
        options += ["--python-executable", python]
    return list(mypycify([*options, *hot_modules()], opt_level="3", debug_level="0"))


setup(ext_modules=compile_modules() if os.environ.get("COMPILED") == "true" else [])
