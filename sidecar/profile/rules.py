"""The three kinds of rule, for paths, for MCP tools and for upgrades, and how each is written."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass
from typing import Final, TypeAlias

from sidecar.profile.tables import Table
from sidecar.profile.templates import Template, parse_template

LOOKED_AT: Final = ("POST", "PUT", "PATCH")
"""The methods that a rule is about when it names none, and the only ones looked at where MCP is spoken."""

_METHOD = re.compile(r"[A-Z]+(?:-[A-Z]+)*").fullmatch


class RuleKind(enum.StrEnum):
    """What a rule wants of the session a request names."""

    ENSURE = "ensure"
    REQUIRE = "require"
    PASS = "pass"


@dataclass(frozen=True, slots=True)
class PathRule:
    """What requests with one of the methods to one of the paths want of the session they name."""

    kind: RuleKind
    methods: tuple[str, ...]
    paths: tuple[Template, ...]

    def __str__(self) -> str:
        return f"{self.kind} {'|'.join(self.methods)} {' '.join(map(str, self.paths))}"

    @property
    def cases(self) -> list[tuple[str, Template]]:
        """Every method with every path."""
        return [(method, path) for method in self.methods for path in self.paths]


@dataclass(frozen=True, slots=True)
class ToolRule:
    """What an MCP `tools/call` wants whose tool name matches one of the globs; `*` stands for any text."""

    kind: RuleKind
    tools: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.kind} tools {' '.join(self.tools)}"


@dataclass(frozen=True, slots=True)
class UpgradeRule:
    """What a request to one of the paths wants that asks to speak another protocol (RFC 9110, section 7.8)."""

    kind: RuleKind
    paths: tuple[Template, ...]

    def __str__(self) -> str:
        return f"{self.kind} upgrade {' '.join(map(str, self.paths))}"


Rule: TypeAlias = PathRule | ToolRule | UpgradeRule


def read_rule(table: Table) -> Rule:
    """Read one rule. Raises ProfileError."""
    kind = table.choice("kind", RuleKind)
    if table.has("tools"):
        tools = table.texts("tools")
        table.done()
        return ToolRule(kind, tools)
    upgrade = table.flag("upgrade", default=False)
    paths = table.parsed_texts("paths", parse_template)
    if upgrade:
        table.done()
        return UpgradeRule(kind, paths)
    methods = table.parsed_texts("methods", _method, LOOKED_AT)
    table.done()
    return PathRule(kind, methods, paths)


def _method(text: str) -> str:
    if not _METHOD(text):
        raise ValueError(f"{text!r} is not a method: capital letters are allowed")
    return text
