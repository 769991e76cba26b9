"""compiled.txt: what mypyc compiles has to be there, and no class that stays interpreted may inherit from it."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from tests.support.built import ROOT

COMPILED = [line for line in (ROOT / "compiled.txt").read_text().splitlines() if line and not line.startswith("#")]


def classes(path: str) -> Iterator[ast.ClassDef]:
    tree = ast.parse((ROOT / path).read_text())
    return (node for node in ast.walk(tree) if isinstance(node, ast.ClassDef))


def allows_interpreted_subclasses(defined: ast.ClassDef) -> bool:
    return "mypyc_attr(allow_interpreted_subclasses=True)" in map(ast.unparse, defined.decorator_list)


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
