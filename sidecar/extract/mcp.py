"""Model Context Protocol messages (JSON-RPC 2.0): which of them call a tool, with which arguments, under which rule.

The body decides, never the `Mcp-Method` and `Mcp-Name` headers that newer revisions put beside it, and a batch is
read even where the revision knows none.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Final, TypeAlias

from sidecar.extract.form.content_type import declared_form
from sidecar.extract.head_candidates import Candidates, HeadCandidates
from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.json.json_paths import JsonPathExtractor
from sidecar.extract.json.strict_json import JsonReader, member
from sidecar.extract.refused import RequestRefused, unreadable
from sidecar.model import NOTIFICATION, Call, Extraction, Headers, Reference, Refusal, RefusalFormat, RpcId, RuleKind
from sidecar.profile.profile import SESSION, Profile
from sidecar.profile.rules import ToolRule
from sidecar.profile.templates import compile_globs

Tools: TypeAlias = Sequence[tuple[RuleKind, object]]

NAMES: Final = ("method", "id", "params", "name", "arguments")
"""The members on the way to the arguments of a call."""

MOST_MESSAGES: Final = 1_000
"""The longest batch that is read: each of its calls may create a session."""

# A lenient reader drops a byte order mark or a NUL before the text; the strict one refuses it then.
_OPENS_AN_OBJECT = re.compile(r"[\s\ufeff\0]*\{").match
_BEYOND_INTEGERS: Final = 2.0**63
"""Integers of more than 64 bits come rounded to floats, and a client waits for ever for an id that is not its own."""

_CALLS_A_TOOL: Final = "tools/call"
_LONGEST_REMEMBERED: Final = 256


class McpReader:
    """Reads bodies on the MCP path by one profile; `json` reads the text of them."""

    def __init__(self, profile: Profile, resolver: IdResolver) -> None:
        rules = [rule for rule in profile.rules if isinstance(rule, ToolRule)]
        meta = profile.meta_tool
        self._rules = [(compile_globs(rule.tools), rule.kind) for rule in rules]
        self._meta = meta
        self._members = JsonPathExtractor(profile)
        self.json = JsonReader((*NAMES, *self._members.keys, *((meta.name, meta.arguments) if meta else ())))
        self._resolver = resolver
        self._kind_of = lru_cache(maxsize=1024)(self._find_kind)

    def read(self, headers: Headers, body: bytes, outside: HeadCandidates | Refusal) -> Extraction:
        """Read one message or a batch; an empty body has nothing to guard and is the memory service's to refuse."""
        if not body:
            return Extraction(RefusalFormat.RPC, (Call(),))
        try:
            # The type must be clear, although it decides nothing: MCP knows no forms.
            declared_form(headers)
            content = self.json.read(body)
            if isinstance(content, list) and len(content) > MOST_MESSAGES:
                unreadable(f"The batch has more than {MOST_MESSAGES} messages.")
        except RequestRefused as refusal:
            return Extraction(RefusalFormat.RPC, (Call(refusal=refusal.refuse),))
        if isinstance(content, list):
            return Extraction(RefusalFormat.BATCH, tuple(self._call(message, outside) for message in content))
        return Extraction(RefusalFormat.RPC, (self._call(content, outside),))

    def _call(self, message: object, outside: HeadCandidates | Refusal) -> Call:
        answer_to: RpcId = None
        try:
            answer_to = rpc_id(message)
            return Call(self._reference(message, outside), rpc_id=answer_to)
        except RequestRefused as refusal:
            return Call(refusal=refusal.refuse, rpc_id=answer_to)

    def _reference(self, message: object, outside: HeadCandidates | Refusal) -> Reference | None:
        tools = list(self._tools(message))
        if all(kind is RuleKind.PASS for kind, _ in tools):
            return None
        if isinstance(outside, Refusal):
            raise RequestRefused(outside)
        claims, kinds = self._claims(tools, outside)
        return self._resolver.resolve_ids(
            claims, RuleKind.ENSURE if RuleKind.ENSURE in kinds else RuleKind.REQUIRE, outside
        )

    def _claims(self, tools: Tools, outside: HeadCandidates) -> tuple[Candidates, set[RuleKind]]:
        """What the calls name, and the kinds of those that name a session.

        A session id in the query is compared with theirs but is none by itself: there stand the ids of transports.
        """
        claims = {name: list(values) for name, values in outside.claims.items()}
        kinds = {kind for kind, _ in tools} if claims[SESSION] else set()
        for kind, arguments in tools:
            before = len(claims[SESSION])
            self._members.claim(
                claims, arguments, but=SESSION if kind is RuleKind.PASS else None, unfolded=self._unfolded
            )
            if len(claims[SESSION]) > before:
                kinds.add(kind)
        for name, values in outside.query.items():
            if name != SESSION or claims[name]:
                claims[name] += values
        return claims, kinds

    def _tools(self, message: object) -> Iterator[tuple[RuleKind, object]]:
        """The tool calls in a message, each with its arguments: none, one, or more where meta-tools wrap others.

        What a meta-tool wraps is judged by its own name, and the wrapping by its own: otherwise an argument named
        like the meta-tool's would turn any guarded call into one that passes. Raises RequestRefused.
        """
        method = member(message, "method")
        if method != _CALLS_A_TOOL:
            # A reader of C strings ends the method at a NUL.
            if isinstance(method, str) and method.partition("\0")[0] == _CALLS_A_TOOL:
                unreadable("The method of the call contains a NUL.")
            return
        params = member(message, "params")
        arguments = self._unfolded(member(params, "arguments"))
        wrapping = arguments
        while self._meta is not None:
            inner_name = member(wrapping, self._meta.name)
            inner = self._unfolded(member(wrapping, self._meta.arguments))
            if inner_name is None or not isinstance(inner, dict):
                break
            yield self.kind(inner_name), inner
            wrapping = inner
        yield self.kind(member(params, "name")), arguments

    def _unfolded(self, value: object) -> object:
        """An object written as a string, as some MCP servers accept it, opened; any other value as it is.

        Raises RequestRefused.
        """
        if isinstance(value, str) and _OPENS_AN_OBJECT(value):
            return self.json.read(value.encode())
        return value

    def kind(self, name: object) -> RuleKind:
        """The kind of the first rule that matches; what has no usable name is guarded as only `*` would match it."""
        text = name if isinstance(name, str) else ""
        return self._kind_of(text) if len(text) <= _LONGEST_REMEMBERED else self._find_kind(text)

    def _find_kind(self, name: str) -> RuleKind:
        for pattern, kind in self._rules:
            if pattern.fullmatch(name):
                return kind
        return RuleKind.PASS


def rpc_id(message: object) -> RpcId:
    """The id to answer a message with (JSON-RPC 2.0, section 4); a notification and a response want no answer.

    None where the message has no id that can be repeated exactly. Raises RequestRefused where there may be two.
    """
    if not isinstance(message, dict):
        return None
    found = member(message, "id")
    is_response = "method" not in message and ("result" in message or "error" in message)
    if is_response or "id" not in message:
        return NOTIFICATION
    if isinstance(found, float) and abs(found) >= _BEYOND_INTEGERS:
        return None
    return found if isinstance(found, (str, int, float)) and not isinstance(found, bool) else None
