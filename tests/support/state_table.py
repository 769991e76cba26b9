"""Reads the state tables that stand in the docstrings of modules, so that a test holds them against the code."""

from __future__ import annotations

import ast
import re
from pathlib import Path

_SIDECAR = Path(__file__).parents[2] / "sidecar"


def state_table(module: str) -> list[dict[str, str]]:
    """Give the rows of the only table in the docstring of `sidecar/<module>`, each by the names of its columns.

    Columns are two or more spaces apart, under one line of names and one of dashes. Raises ValueError where there is
    no table.
    """
    docstring = ast.get_docstring(ast.parse((_SIDECAR / module).read_text(encoding="utf-8"))) or ""
    table = re.search(r"(?m)^ *(\S.*)\n( *-+(?:  +-+)+) *\n((?:.*\S.*\n?)+)", docstring)
    if table is None:
        raise ValueError(f"{module} has no state table")
    columns = [(rule.start(), rule.end()) for rule in re.finditer(r"-+", table[2])]
    lines = docstring[table.start() :].splitlines()
    names, rows = lines[0], lines[2 : 2 + len(table[3].splitlines())]
    ends = [start for start, _ in columns[1:]] + [None]
    cut = [slice(start, end) for (start, _), end in zip(columns, ends, strict=True)]
    return [{names[one].strip(): row[one].strip() for one in cut} for row in rows]
