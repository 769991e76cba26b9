"""compiled.txt: what mypyc compiles has to be there, and must be nothing that mypyc refuses or gets wrong."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.built import ROOT

COMPILED = [line for line in (ROOT / "compiled.txt").read_text().splitlines() if line and not line.startswith("#")]

_WAITS = (ast.Await, ast.AsyncWith, ast.AsyncFor)


def classes(path: str) -> Iterator[ast.ClassDef]:
    tree = ast.parse((ROOT / path).read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def allows_interpreted_subclasses(defined: ast.ClassDef) -> bool:
    return "mypyc_attr(allow_interpreted_subclasses=True)" in map(ast.unparse, defined.decorator_list)


def waits_at_last(path: str) -> Iterator[int]:
    """Give the lines of a module that wait in a `finally` block."""
    for tried in ast.walk(ast.parse((ROOT / path).read_text())):
        if isinstance(tried, ast.Try | ast.TryStar):
            for block in tried.finalbody:
                yield from (each.lineno for each in ast.walk(block) if isinstance(each, _WAITS))


def test_no_compiled_coroutine_waits_in_a_finally_block() -> None:
    """An exception that once left through such a block, mypyc raises again at its end in other requests."""
    assert [f"{path}:{line}" for path in COMPILED for line in waits_at_last(path)] == []


def test_every_line_names_a_module_once() -> None:
    assert len(COMPILED) == len(set(COMPILED))
    assert [path for path in COMPILED if not (ROOT / path).is_file()] == []


def test_no_interpreted_class_inherits_from_a_compiled_one() -> None:
    """mypyc refuses that with a TypeError when the subclass is used, unless an attribute of the class allows it."""
    compiled = {each.name for path in COMPILED for each in classes(path) if not allows_interpreted_subclasses(each)}
    interpreted = {path.relative_to(ROOT).as_posix() for path in (ROOT / "sidecar").rglob("*.py")} - set(COMPILED)
    wrong = [
        f"{path}: {each.name}"
        for path in sorted(interpreted)
        for each in classes(path)
        if compiled.intersection(base.id for base in each.bases if isinstance(base, ast.Name))
    ]
    assert wrong == []
