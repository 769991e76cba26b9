"""A profile: which requests write to a session, where the ids stand in them, and how the session service is asked."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from sidecar.profile.habits_table import read_habits
from sidecar.profile.reachability import unreachable
from sidecar.profile.rules import LOOKED_AT, PathRule, Rule, RuleKind, ToolRule, read_rule
from sidecar.profile.session_api import JsonPath, SessionApi
from sidecar.profile.tables import ProfileError, Table
from sidecar.profile.templates import Segments, parse_json_path, parse_template

SESSION: Final = "session_id"
USER: Final = "user_id"

_SCOPE_NAME = re.compile(r"[a-z][a-z0-9_]*").fullmatch
_FIELD_NAME = re.compile(r"[A-Za-z0-9_-]+").fullmatch


@dataclass(frozen=True, slots=True)
class Places:
    """Where one id may stand, besides the path: JSON paths, form fields, query fields, header names in lower case."""

    json: tuple[JsonPath, ...] = ()
    form: tuple[str, ...] = ()
    query: tuple[str, ...] = ()
    header: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class MetaTool:
    """The two arguments in which a meta-tool carries the call it wraps: the inner tool's name and its arguments."""

    name: str
    arguments: str


class Owner(StrEnum):
    """Whether a session has an owner, who must then be named."""

    REQUIRED = "required"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Profile:
    """Everything that differs from one memory service to the next.

    `prefixes` are the guarded parts of the memory service and `mcp` those where MCP is spoken, in folded case.
    `places` has an entry for `session_id`, `user_id` and each name of `scope`, the names that make a session id
    unique together with it. Of the rules of one kind the first that matches decides; none means pass.
    """

    name: str
    prefixes: tuple[Segments, ...]
    mcp: tuple[Segments, ...]
    owner: Owner
    scope: tuple[str, ...]
    places: Mapping[str, Places]
    meta_tool: MetaTool | None
    rules: tuple[Rule, ...]
    service: SessionApi

    @property
    def methods(self) -> frozenset[str]:
        """The methods of the requests that are looked at; all others pass, unless they ask for an upgrade."""
        guarding = [rule for rule in self.rules if isinstance(rule, PathRule) and rule.kind is not RuleKind.PASS]
        mine = frozenset(method for rule in guarding for method in rule.methods)
        return mine.union(LOOKED_AT) if self.mcp else mine

    def unreachable_rules(self) -> list[str]:
        """One sentence for each rule that can never match, in the order of the profile."""
        return unreachable(self.rules, self.prefixes, self.mcp)


def load_profile(text: str) -> Profile:
    """Read a profile from its TOML text. Raises ProfileError with what is wrong, where, and what is allowed."""
    try:
        top = Table(tomllib.loads(text))
    except tomllib.TOMLDecodeError as error:
        raise ProfileError(f"not TOML: {error}") from None
    scope = top.texts("scope", ())
    for name in scope:
        if not _SCOPE_NAME(name) or name == SESSION or scope.count(name) > 1:
            top.fail("scope", name, "different names of lower-case letters, digits and _ are allowed, not session_id")
    names = dict.fromkeys((SESSION, USER, *scope))
    profile = Profile(
        name=top.text("name"),
        prefixes=top.parsed_texts("prefixes", _prefix),
        mcp=top.parsed_texts("mcp", _prefix, ()),
        owner=top.choice("owner", Owner),
        scope=scope,
        places=_read_places(top.table("ids"), tuple(names)),
        meta_tool=_read_meta_tool(top.table("meta_tool")) if top.has("meta_tool") else None,
        rules=tuple(read_rule(table) for table in top.tables("rules")),
        service=read_habits(top.table("session_service"), frozenset(names)),
    )
    top.done()
    _check_captures(profile.rules, frozenset(names))
    return profile


def _prefix(text: str) -> Segments:
    template = parse_template(text)
    if template.names or "*" in text:
        raise ValueError(f"{text!r} is not a prefix: only literal segments are allowed")
    return tuple(segment.casefold() for segment in template.segments)


def _read_places(table: Table, names: tuple[str, ...]) -> Mapping[str, Places]:
    places = {}
    for name in names:
        one = table.table(name)
        places[name] = Places(
            json=one.parsed_texts("json", parse_json_path, ()),
            form=one.parsed_texts("form", _field, ()),
            query=one.parsed_texts("query", _field, ()),
            header=one.parsed_texts("header", lambda text: _field(text).lower(), ()),
        )
        one.done()
    table.done()
    return places


def _read_meta_tool(table: Table) -> MetaTool:
    meta_tool = MetaTool(table.text("name"), table.text("arguments"))
    table.done()
    return meta_tool


def _check_captures(rules: tuple[Rule, ...], names: frozenset[str]) -> None:
    """A name in a template that stands for no id would be a typing error that leaves a route unguarded."""
    for place, rule in enumerate(rules):
        captured = (
            frozenset() if isinstance(rule, ToolRule) else frozenset().union(*(path.names for path in rule.paths))
        )
        for name in sorted(captured - names):
            raise ProfileError(f"rules[{place}].paths: {{{name}}} is unknown; allowed here: {', '.join(sorted(names))}")


def _field(text: str) -> str:
    if not _FIELD_NAME(text):
        raise ValueError(f"{text!r} is not a field name: letters, digits, _ and - are allowed")
    return text
