"""What the pages for developers name in code type exists: files, packages, classes and their members."""

from __future__ import annotations

import ast
import re
import tomllib
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from tests.support.built import ROOT

PAGES = [ROOT / "docs/developers" / f"{name}.md" for name in ("architecture", "glossary", "how-to-add")]
SIDECAR = ROOT / "sidecar"
PATH = re.compile(r"[\w.*/-]*/[\w.*/-]*|[\w-]+\.(?:py|md|toml|txt|yml)")
DOTTED = re.compile(r"_?[a-zA-Z]\w*\.\w+")
MADE = {"data", "site", "build", "dist", "htmlcov", "benchmarks/results/partial/"}
"""Folders that a run or a build makes."""
HOLDERS = (ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
PLACEHOLDER = re.compile(r"\b(?:NAME|KIND)\b|(?<=_)(?:NAME|KIND)\b")


def code(page: Path) -> Iterator[str]:
    """The words of a page that stand in code type, outside of drawings."""
    text = re.sub(r"^```.*?^```", "", page.read_text(), flags=re.MULTILINE | re.DOTALL)
    for quoted in re.findall(r"`([^`]+)`", text):
        yield from quoted.split()


def is_path(word: str) -> bool:
    return PATH.fullmatch(word) is not None and not word.startswith("/")


def exists(path: str) -> bool:
    """Whether a path leads somewhere from the root or from `sidecar/`, or a bare file name from a package of it."""
    pattern = PLACEHOLDER.sub("*", path).rstrip("/")
    roots = [ROOT, SIDECAR] if "/" in path else [ROOT, *(each for each in SIDECAR.rglob("*") if each.is_dir()), SIDECAR]
    return any(next(root.glob(pattern), None) is not None for root in roots)


def members(body: list[ast.stmt]) -> set[str]:
    """The names that statements define, the attributes that methods give `self` included."""
    names: set[str] = set()
    for statement in body:
        match statement:
            case ast.ClassDef(name=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                names.add(name)
        for node in ast.walk(statement):
            match node:
                case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                    names.add(name)
    return names


@cache
def definitions(root: Path) -> dict[str, set[str]]:
    """What each module, package and class below a folder defines, by its last name."""
    found: dict[str, set[str]] = {}
    for file in root.rglob("*.py"):
        tree = ast.parse(file.read_text())
        for holder in (file.stem, file.parent.name):
            found.setdefault(holder, set()).update(members(tree.body))
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                found.setdefault(node.name, set()).update(members(node.body))
    return found


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_path_of_a_page_exists(page: Path) -> None:
    """`NAME` and `KIND` stand for any name; a path may leave `sidecar/` out."""
    paths = [word for word in code(page) if is_path(word)]
    assert len(paths) > 10
    assert [path for path in paths if not exists(path)] == []


def test_every_path_from_the_root_of_the_repository_exists() -> None:
    """On each page of the documentation, and in the texts beside the code."""
    pages = [*(ROOT / "docs").rglob("*.md"), *ROOT.glob("*.md"), *(ROOT / "deploy").glob("*.md")]
    rooms = {each.name for each in ROOT.iterdir() if each.is_dir() and not each.name.startswith(".")} - MADE
    named = [(page.relative_to(ROOT).as_posix(), word) for page in pages for word in code(page)]
    paths = [(page, word) for page, word in named if word not in MADE and is_path(word) and word.split("/")[0] in rooms]
    assert len(paths) > 50
    assert [(page, path) for page, path in paths if not exists(path)] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_every_member_that_a_page_names_exists(page: Path) -> None:
    """`Guard.authorize` is a method of the class `Guard`, `model.Verdict` a name of the module `model`."""
    dotted = [word.split(".") for word in code(page) if DOTTED.fullmatch(word) and not is_path(word)]
    scripts = {file.stem for file in (ROOT / "scripts").glob("*.py")}
    defined = definitions(SIDECAR) | definitions(ROOT / "tests/support") | {"scripts": scripts}
    assert [f"{holder}.{name}" for holder, name in dotted if name not in defined.get(holder, ())] == []


def test_the_rooms_of_the_architecture_are_the_layers_that_the_import_rules_hold() -> None:
    """Line by line, from the top; `lint-imports` fails where a layer names too little or too much."""
    _, _, rest = (ROOT / "docs/developers/architecture.md").read_text().partition("| room | subject |\n|---|---|\n")
    cells = [line.split(" | ")[0] for line in rest.partition("\n\n")[0].splitlines()]
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    (layers,) = (contract["layers"] for contract in contracts if contract.get("containers") == ["sidecar"])
    assert [set(re.findall(r"`(\w+)`", cell)) for cell in cells] == [set(re.findall(r"\w+", each)) for each in layers]


def test_what_a_docstring_says_is_raised_is_an_exception() -> None:
    """A docstring ends in "Raises X." where a caller has to expect X."""
    trees = [ast.parse(file.read_text()) for file in SIDECAR.rglob("*.py")]
    classes = {node.name: node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.ClassDef)}

    def is_exception(name: str) -> bool:
        bases = [ast.unparse(base) for base in classes[name].bases] if name in classes else []
        return name.endswith(("Error", "Exception")) or any(map(is_exception, bases))

    nodes = (node for tree in trees for node in ast.walk(tree) if isinstance(node, HOLDERS))
    documented = (ast.get_docstring(node) or "" for node in nodes)
    raised = {name for text in documented for name in re.findall(r"Raises (\w+)(?:\.| where| for| when| with)", text)}
    assert len(raised) > 5
    assert sorted(name for name in raised if name[0].isupper() and not is_exception(name)) == []
