"""Plain bodies name one session and one owner, at the top, in plain letters; everything else is read by `Reader`."""

from __future__ import annotations

import pytest

from sidecar.extract.id_resolver import IdResolver
from sidecar.extract.ids import IdFormat
from sidecar.extract.json.flat_json import FlatCallExtractor, FlatJsonExtractor, has_flat_bodies
from sidecar.extract.json.json_paths import JsonPathExtractor
from sidecar.extract.json.strict_json import MOST_VALUES, JsonReader
from sidecar.extract.mcp import McpReader
from sidecar.model import NOTIFICATION, Call, Extraction, Reference, RefusalFormat, RpcId, RuleKind
from sidecar.profile.loading import find_profile, load_profile
from sidecar.profile.profile import Profile

PROFILE = find_profile("isa")
MCP = McpReader(PROFILE, IdResolver(PROFILE, id_format=IdFormat.OPAQUE, user_header=None))
CALLS = FlatCallExtractor(PROFILE, MCP.json, IdFormat.OPAQUE, MCP.kind)


def flat_reader(profile: Profile) -> FlatJsonExtractor:
    return FlatJsonExtractor(profile, JsonReader(JsonPathExtractor(profile).keys), IdFormat.OPAQUE)


def rest(reference: Reference) -> Extraction:
    return Extraction(RefusalFormat.REST, (Call(reference),))


def rpc(reference: Reference, rpc_id: RpcId) -> Extraction:
    return Extraction(RefusalFormat.RPC, (Call(reference, rpc_id=rpc_id),))


READER = flat_reader(PROFILE)


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
    assert READER.read(body, RuleKind.REQUIRE) == rest(Reference("s", "u", RuleKind.REQUIRE))


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
    assert READER.read(body, RuleKind.ENSURE) is None


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
    reader = flat_reader(profile)
    assert reader.read(b'{"sessionId":"s","user_id":"u"}', RuleKind.ENSURE) == rest(Reference("s", "u"))
    assert reader.read(b'{"sessionId":"s","session_id":"s","user_id":"u"}', RuleKind.ENSURE) is None


def call(arguments='{"session_id": "s", "user_id": "u"}', name='"store"', method='"tools/call"', more=""):
    """An MCP message."""
    params = f'{{"name": {name}, "arguments": {arguments}}}'
    return f'{{"jsonrpc": "2.0", {more} "method": {method}, "params": {params}}}'.encode()


@pytest.mark.parametrize(("more", "rpc_id"), [("", NOTIFICATION), ('"id": 1,', 1), ('"id": "x", "trace": [1],', "x")])
def test_a_plain_call_gives_the_ids_of_its_arguments(more, rpc_id):
    """Both ids of the arguments are given, for a call and for a notification."""
    assert CALLS.read(call(more=more)) == rpc(Reference("s", "u"), rpc_id)


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


def write(
    reader: FlatJsonExtractor, number: int, *, name: str = "x", session_id: str | None = None
) -> Reference | None:
    """The reference of a write."""
    body = f'{{"session_id":"{session_id or f"s-{number}"}","user_id":"ann","{name}":1}}'
    found = reader.read(body.encode(), RuleKind.ENSURE)
    return None if found is None else found.calls[0].reference


@pytest.fixture
def reader() -> FlatJsonExtractor:
    return flat_reader(PROFILE)


def test_names_are_remembered_within_bounds(reader: FlatJsonExtractor):
    """A client that makes names up fills no memory, and its bodies are read as before."""
    for number in range(3000):
        assert write(reader, 1, name=f"x{number}") == Reference("s-1", "ann")
    assert write(reader, 1, name="x" * 2000) == Reference("s-1", "ann")
    assert len(reader._keys_among) <= 1024


def test_ids_that_come_often_are_remembered(reader: FlatJsonExtractor) -> None:
    """The reference of an id that comes often is made once."""
    for _ in range(1000):
        for number in range(10):
            write(reader, number)
    assert all(write(reader, number) is write(reader, number) for number in range(10))


def test_a_remembered_id_is_compared_with_its_user_and_rule(reader: FlatJsonExtractor) -> None:
    """A remembered reference answers for no other user and no rule of another kind."""
    for _ in range(16):
        write(reader, 1)
    body = b'{"session_id":"s-1","user_id":"%b"}'
    assert reader.read(body % b"bob", RuleKind.ENSURE) == rest(Reference("s-1", "bob"))
    assert reader.read(body % b"ann", RuleKind.REQUIRE) == rest(Reference("s-1", "ann", RuleKind.REQUIRE))


def test_of_ids_that_come_once_few_are_kept(reader: FlatJsonExtractor) -> None:
    """Of ids that do not come again, one in sixteen is remembered."""
    for number in range(1600):
        write(reader, number)
    assert len(reader._references) == 1600 // 16


def test_what_is_remembered_of_ids_is_bounded(reader: FlatJsonExtractor) -> None:
    """However many ids come, the number of those that are remembered has a limit."""
    for number in range(100_000):
        write(reader, number)
    assert len(reader._references) <= 1024


def test_an_id_outside_the_grammar_is_refused_each_time(reader: FlatJsonExtractor) -> None:
    """An id that fails the check is not remembered."""
    assert [write(reader, 1, session_id="a b") for _ in range(40)] == [None] * 40
