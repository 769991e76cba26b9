"""The page about dependencies has a reason for each library that `pyproject.toml` asks for, and for no other."""

from __future__ import annotations

import re
import tomllib

from tests.support.built import ROOT

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
PAGE = (ROOT / "docs/developers/dependencies.md").read_text().lower()


def names(requirements: list[str]) -> set[str]:
    """Names of distributions, but those of type stubs, which come with the library that they describe."""
    found = {re.split(r"[^\w.-]", requirement, maxsplit=1)[0] for requirement in requirements}
    return {name for name in found if not name.startswith("types-")}


def described() -> set[str]:
    """Names in the first cells of the page's tables."""
    cells = [line.split(" | ")[0].lstrip("| ") for line in PAGE.splitlines() if line.startswith("| ")]
    plain = (re.sub(r"\([^)]*\)", "", cell) for cell in cells)
    return {name for cell in plain for name in re.findall(r"[a-z][\w.-]*\w", cell)} - {"library"}


def test_every_library_has_its_reason_and_nothing_else_does() -> None:
    """A library that is not asked for any more leaves the page."""
    extras = [each for extra in PROJECT["optional-dependencies"].values() for each in extra]
    asked = names([*PROJECT["dependencies"], *extras])
    assert {name for name in asked if name not in PAGE} == set()
    assert described() - asked == set()
