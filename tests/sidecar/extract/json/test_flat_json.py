"""Plain bodies name one session and one owner, at the top, in plain letters; everything else is read by `Reader`."""

from __future__ import annotations

import pytest

from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.ids import IdFormat
from sidecar.extract.json.flat_json import FlatCallExtractor, FlatJsonExtractor, has_flat_bodies
from sidecar.extract.json.json_paths import JsonPathExtractor
from sidecar.extract.json.strict_json import MOST_VALUES, JsonReader
from sidecar.extract.mcp import McpReader
from sidecar.profile.files import find_profile
from sidecar.profile.loading import load_profile

PROFILE = find_profile("isa")
READER = FlatJsonExtractor(PROFILE, JsonReader(JsonPathExtractor(PROFILE).keys))
MCP = McpReader(PROFILE, IdResolver(PROFILE, id_format=IdFormat.OPAQUE, user_header=None))
CALLS = FlatCallExtractor(PROFILE, MCP.json, MCP.kind)


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id":"s","user_id":"u"}',
        b' {"user_id" : "u", "x": [{"y": 1}], "session_id": "s"}\n',
        '{"session_id":"s","user_id":"u","text":"\u4f60\u597d"}'.encode(),
        b'{"session_id":"s","user_id":"u","text":"\\u4f60\\n"}',
        b'{"session_id":"s","user_id":"u","text":"a \\"name\\" and a \\\\"}',
        b'{"session_id":"s","user_id":"u","x":"context"}',
        b'{"session_id":"s","user_id":"u","x":["y","z"]}',
    ],
)
def test_a_plain_body_gives_its_ids(body):
    """Both ids are given, in any order and beside any other names."""
    assert READER.read(body) == ("s", "u")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"nonsense",
        b'["session_id","user_id"]',
        b'"session_id" "user_id"',
        b'{"session_id":"s"}',
        b'{"user_id":"u"}',
        b'{"session_id":"s","user_id":null}',
        b'{"session_id":1,"user_id":"u"}',
        b'{"session_id":["s"],"user_id":"u"}',
        b'{"session_id":"s","user_id":"u",}',
        b'{"session_id":"s","user_id":"u","context":{}}',
        b'{"session_id":"s","user_id":"u","x":["context"]}',
        b'{"session_id":"s","user_id":"u","session_id":"t"}',
        b'{"session_id":1,"user_id":"u","session_id":"s"}',
        b'{"session_id":"s","user_id":"u","x":"\\\\","session_id":"s"}',
        b'{"session_id":"s","user_id":"u","x":"\\"","session_id":"s"}',
        b'{"session_id":"s","user_id":"u","session_id\\u0000":"t"}',
        b'{"session_id":"%b","user_id":"u"}' % (b"s" * 256),
        b'{"session_id":"s","user_id":"%b"}' % (b"u" * 256),
        b'{"session_id":"s","user_id":"u","x":{"session_id":"t"}}',
        b'{"session_id":"s","x":{"user_id":"u"}}',
        b'{"session_id":"s","x":"user_id"}',
        b'{"Session_id":"s","user_id":"u"}',
        b'{"session_id":"s","user_id":"u","SESSION_ID":"t"}',
        b'{"session_id":"s","user_id":"u","session\\u005fid":"t"}',
        '{"session_id":"s","user_id":"u","\u017fession_id":"t"}'.encode(),
        b'\xef\xbb\xbf{"session_id":"s","user_id":"u"}',
        b'{"session_id":"s","user_id":"u","x":NaN}',
        b'{"session_id":"s","user_id":"u"} {}',
        b'{"session_id":"s","user_id":"u","x":"%b"}' % (b"," * MOST_VALUES),
    ],
)
def test_any_other_body_gives_none(body):
    """A body with an id that is missing, doubled, nested, misspelt, hidden or no string gives none."""
    assert READER.read(body) is None


def test_any_of_several_spellings_will_do_but_only_one():
    """Of the spellings that a profile names, a body may use any, and only one."""
    profile = load_profile(
        """
        name = "two"
        prefixes = ["/api"]
        owner = "required"
        [ids.session_id]
        json = ["session_id", "sessionId"]
        [ids.user_id]
        json = ["user_id"]
        [session_service]
        style = "put"
        """
    )
    reader = FlatJsonExtractor(profile, JsonReader(JsonPathExtractor(profile).keys))
    assert reader.read(b'{"sessionId":"s","user_id":"u"}') == ("s", "u")
    assert reader.read(b'{"sessionId":"s","session_id":"s","user_id":"u"}') is None


def call(arguments='{"session_id": "s", "user_id": "u"}', name='"store"', method='"tools/call"', more=""):
    """An MCP message."""
    params = f'{{"name": {name}, "arguments": {arguments}}}'
    return f'{{"jsonrpc": "2.0", {more} "method": {method}, "params": {params}}}'.encode()


@pytest.mark.parametrize("more", ["", '"id": 1,', '"id": "x", "trace": [1],'])
def test_a_plain_call_gives_the_ids_of_its_arguments(more):
    """Both ids of the arguments are given, for a call and for a notification."""
    assert CALLS.read(call(more=more))[:2] == ("s", "u")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b'{"session_id": "s", "user_id": "u"}',
        b"[%b]" % call(),
        call()[:-1],
        call(method='"ping"'),
        call(method="1"),
        call(name='"get_it"'),
        call(arguments="[]"),
        call(arguments='"{}"'),
        call(arguments='{"session_id": "s"}'),
        call(arguments='{"session_id": 1, "user_id": "u"}'),
        call(arguments='{"session_id": "s", "user_id": "u", "name": "x"}'),
        call(arguments='{"session_id": "s", "user_id": "u", "tool_name": "x"}'),
        call(arguments='{"session_id": "s", "user_id": "u", "context": "{}"}'),
        call(arguments='{"x": {"session_id": "s", "user_id": "u"}}'),
        call(more='"Id": 1,'),
        call(more='"id": 1, "id": 2,'),
        b'{"method": "tools/call", "params": {"session_id": "s", "user_id": "u"}, "x": ["name", "arguments"]}',
        b'{"method": "tools/call", "params": [], "x": {"name": "a", "arguments": 1, "session_id": 2, "user_id": 3}}',
        b'["method", "params", "name", "arguments", "session_id", "user_id"]',
        call(arguments='{"session_id": "s", "user_id": "u", "x": "%s"}' % ("," * MOST_VALUES)),
    ],
)
def test_any_other_message_gives_none(body):
    """A message that is no plain call of a guarded tool gives none."""
    assert CALLS.read(body) is None


@pytest.mark.parametrize("more", ['owner = "none"', 'owner = "required"\nscope = ["app"]'])
def test_there_are_none_where_a_session_is_more_or_less_than_its_id_and_owner(more):
    """A profile with a scope, or whose sessions have no owner, has no flat bodies."""
    profile = load_profile(
        f"""
        name = "other"
        prefixes = ["/api"]
        {more}
        [ids.session_id]
        json = ["session_id"]
        [ids.user_id]
        json = ["user_id"]
        {"[ids.app]" if "scope" in more else ""}
        [session_service]
        style = "put"
        """
    )
    assert not has_flat_bodies(profile)


def test_names_are_remembered_within_bounds():
    """A client that makes names up fills no memory, and its bodies are read as before."""
    json = JsonReader(["session_id"])
    for number in range(3000):
        assert json.names_among((f"x{number}", "session_id")) == {b'"session_id"'}
    assert json.names_among(("x" * 2000, "session_id")) == {b'"session_id"'}
    assert len(json._remembered) <= 1024
