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


def attributes(node: ast.AST, context: type[ast.expr_context]) -> Iterator[str]:
    """Give the attributes of `self` that a node reads or sets."""
    for each in ast.walk(node):
        if isinstance(each, ast.Attribute) and isinstance(each.ctx, context) and ast.unparse(each.value) == "self":
            yield each.attr


def read_as_none(function: ast.AST) -> Iterator[int]:
    """Give the lines that read an attribute of `self` which was last set to None in the same block."""
    for block in (getattr(each, "body", None) for each in ast.walk(function)):
        nothing: set[str] = set()
        for statement in block if isinstance(block, list) else ():
            if nothing.intersection(attributes(statement, ast.Load)):
                yield statement.lineno
            nothing -= set(attributes(statement, ast.Store))
            if isinstance(statement, ast.Assign) and ast.unparse(statement.value) == "None":
                nothing.update(attributes(statement, ast.Store))


def test_no_compiled_function_reads_an_attribute_that_it_has_set_to_none() -> None:
    """mypyc holds it to be None there, though a method that was called meanwhile may have set it: a TypeError."""
    trees = {path: ast.parse((ROOT / path).read_text()) for path in COMPILED}
    assert [f"{path}:{line}" for path, tree in trees.items() for line in read_as_none(tree)] == []


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
