"""No text is admitted in which two JSON readers see different ids: json, orjson, msgspec and a real Node are asked."""

from __future__ import annotations

import base64
import json
import shutil
import subprocess
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import TypeAlias

import msgspec
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.model import Call, Reference
from tests.support.reading import STORE, head, only, reader
from tests.support.texts import BASES, mcp_corpus, mutated, rest_corpus

View: TypeAlias = list[object] | None
"""What one reader finds in the guarded places; None where it cannot read the text."""

SESSIONS = [["session_id"], ["context", "session_id"]]
USERS = [["user_id"], ["context", "user_id"]]
REST_PLACES = SESSIONS + USERS
MCP_PLACES = [
    ["method"],
    ["id"],
    ["params", "name"],
    *(["params", "arguments", *path] for path in [["tool_name"], *REST_PLACES]),
    *(["params", "arguments", "parameters", *path] for path in REST_PLACES),
]
READER = reader()
NODE = shutil.which("node")
SCRIPT = Path(__file__).parent / "node" / "texts.js"
READERS: dict[str, Callable[[bytes], object]] = {
    "json": json.loads,
    "json of text": lambda text: json.loads(text.decode()),
    "orjson": orjson.loads,
    "msgspec": msgspec.json.decode,
}


def at(value: object, path: Sequence[str]) -> object:
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def view(read: Callable[[bytes], object], text: bytes, places: Sequence[Sequence[str]]) -> View:
    try:
        value = read(text)
    except (ValueError, RecursionError):
        return None
    return [_comparable(at(value, path)) for path in places]


def _comparable(value: object) -> object:
    """Strings, and numbers that no reader rounds; nothing else is an id of a session, a user or a call."""
    if value is None or isinstance(value, str) or (isinstance(value, (int, float)) and abs(value) < 2**53):
        return value
    return ["no id"]


def views(text: bytes, places: Sequence[Sequence[str]]) -> list[View]:
    return [view(read, text, places) for read in READERS.values()]


def node_views(texts: Iterable[bytes], places: Sequence[Sequence[str]]) -> list[list[View]]:
    """What Node finds in every text, by one process."""
    if NODE is None:
        pytest.skip("node is not on PATH")
    lines = b"".join(base64.b64encode(text) + b"\n" for text in texts)
    done = subprocess.run(
        [NODE, str(SCRIPT), json.dumps(places)], input=lines, capture_output=True, check=True, timeout=100
    )
    return [json.loads(line) for line in done.stdout.splitlines()]


def check(call: Call, seen: Iterable[View], sessions: slice, users: slice) -> None:
    """Every reader of the text finds the ids that were checked, and no others."""
    if call.refusal is not None:
        return
    readable = [one for one in seen if one is not None]
    assert all(one == readable[0] for one in readable)
    reference = call.reference
    for one in readable:
        assert {found for found in one[sessions] if found is not None} == (
            {reference.session_id} if reference else set()
        )
        assert reference is None or {found for found in one[users] if found is not None} == {reference.user_id}


def rest(text: bytes) -> Call:
    return only(READER.read(head("POST", STORE), text))


def mcp(text: bytes) -> Call:
    return only(READER.read(head("POST", "/mcp"), text))


def test_no_text_is_admitted_that_readers_see_differently() -> None:
    """Duplicates, escapes, surrogates, marks, encodings, numbers, comments, nesting and random damage."""
    corpus = rest_corpus()
    assert len(corpus) > 800
    for text, node in zip(corpus, node_views(corpus, REST_PLACES), strict=True):
        check(rest(text), views(text, REST_PLACES) + node, slice(0, 2), slice(2, 4))


def test_the_corpus_is_not_refused_wholesale() -> None:
    """Ordinary texts are read, with and without a session; of the odd ones a good part is too."""
    for base in BASES:
        assert rest(base.encode()).refusal is None
    admitted = [text for text in rest_corpus() if rest(text).refusal is None]
    refused = [text for text in rest_corpus() if rest(text).refusal is not None]
    assert len(admitted) > 100
    assert len(refused) > 400
    assert any(rest(text).reference is None for text in admitted)
    assert any(rest(text).reference == Reference("s1", "u1") for text in admitted)


def test_readers_do_disagree_about_what_is_refused() -> None:
    """Otherwise the corpus would prove nothing: each reader is at odds with another somewhere."""
    corpus = rest_corpus()
    seen = [views(text, REST_PLACES) + node for text, node in zip(corpus, node_views(corpus, REST_PLACES), strict=True)]
    for one in range(len(READERS) + 2):
        assert any(found[one] != found[other] for found in seen for other in range(len(found)))


def guarded_sessions(view: Sequence[object]) -> set[object]:
    """The rules of `isa` for tool calls, said once more: the sessions that a call with this view writes to."""
    method, _, name, inner_name, *found = view
    if method != "tools/call":
        return set()
    levels = [(name, found[0:2])] if inner_name is None else [(name, found[0:2]), (inner_name, found[4:6])]
    guarded = [ids for tool, ids in levels if not str(tool).startswith(("get_", "search_", "list_"))]
    return {one for ids in guarded for one in ids if one is not None}


def test_no_mcp_call_is_admitted_that_readers_see_differently() -> None:
    """Method, id, tool name and all the places of ids, under a meta-tool as well."""
    corpus = mcp_corpus()
    assert len(corpus) > 800
    admitted = 0
    for text, node in zip(corpus, node_views(corpus, MCP_PLACES), strict=True):
        call = mcp(text)
        if call.refusal is not None:
            continue
        admitted += 1
        seen = [one for one in views(text, MCP_PLACES) + node if one is not None]
        assert all(one == seen[0] for one in seen)
        for one in seen:
            assert guarded_sessions(one) == ({call.reference.session_id} if call.reference else set())
    assert admitted > 100


values = st.recursive(
    st.none() | st.sampled_from(["s1", "s2", "u1", "a b", ""]) | st.integers() | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["session_id", "user_id", "context", "x", "Session_id"]), inner, max_size=4)
    ),
    max_leaves=6,
)


@given(values, st.integers(0, 2**32), st.booleans())
def test_no_generated_text_is_admitted_that_readers_see_differently(value: object, seed: int, damaged: bool) -> None:
    """Objects of all shapes, whole and damaged, by the readers of this language."""
    text = json.dumps(value, ensure_ascii=bool(seed % 2)).encode()
    if damaged and len(text) > 2:
        place = seed % len(text)
        text = (
            text[:place]
            + [b'"', b"\\", b',"session_id":"s2"', b"\\u0073", b"", b"}"][seed % 6]
            + text[place + seed % 3 :]
        )
    check(rest(text), views(text, REST_PLACES), slice(0, 2), slice(2, 4))


@given(st.binary(max_size=40) | st.sampled_from(list(mutated(50, seed=1))))
def test_no_bytes_are_admitted_that_readers_see_differently(text: bytes) -> None:
    """Anything at all."""
    check(rest(text), views(text, REST_PLACES), slice(0, 2), slice(2, 4))
