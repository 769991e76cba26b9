"""One reading of JSON: what is refused, what is only doubtful, and what stays on the fast path."""

from __future__ import annotations

import json

import orjson
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.extract.json.strict_json import MOST_VALUES, MOST_VALUES_TWICE, Doubtful, JsonReader, fold, member
from sidecar.extract.refused import RequestRefused
from sidecar.model import Reason

READER = JsonReader(["session_id", "context", "userId"])
DOUBT = "The body names {} more than once, or in a spelling that some readers take for it."


def refusal(body: bytes) -> str:
    with pytest.raises(RequestRefused) as error:
        READER.read(body)
    assert error.value.refuse.reason is Reason.UNREADABLE_BODY
    assert error.value.refuse.session_id is None
    return error.value.refuse.detail


def doubtful(body: bytes) -> set[str]:
    """The doubtful names of the outermost object."""
    value = READER.read(body)
    return set(value.names) if isinstance(value, Doubtful) else set()


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"null", b"1", b'"x"', b' \t\r\n{"a":[1,2.5,null,true,{"b":"\\u4f60"}]} ']
)
def test_json_is_read(body: bytes) -> None:
    """Any value of RFC 8259 is read."""
    assert READER.read(body) == json.loads(body)


@pytest.mark.parametrize(
    "body",
    [
        b"", b" ", b"{", b"}", b"{]", b"x", b"{'a':1}", b"{a:1}", b'{"a":1,}', b"[1,]", b"[1 2]", b'{"a" 1}', b"01",
        b"+1",
        b"1.", b".5", b"1e", b"-", b"0x1", b"NaN", b"Infinity", b"-Infinity", b'{"a":NaN}', b"1e999", b"tru", b"True",
        b"None", b"undefined", b"{}x", b"{}{}", b"{} //c", b"/**/{}", b"#c\n{}", b'{"a":1}\x00', b"\x00{}", b"\x0c{}",
        b"\xef\xbb\xbf{}", b"\xff\xfe{\x00}\x00", b"\x00{\x00}", b"{\x00}\x00", b"\xc2\xa0{}", b'"\x01"', b'"\t"',
        b'"a\nb"',
        b'"\xff"', b'"\xc0\xaf"', b'"\xed\xa0\x80"', b'"\xf4\x90\x80\x80"', b'"\\ud800"', b'"\\udc00\\ud800"',
        b'"\\ud800\\u0041"',
        b'"\\x41"', b'"\\u12"', b'"\\U0041"', b'"', b'"\\"', b"'a'", b"session_id=x", b"\x1f\x8b\x08\x00",
    ],
)  # fmt: skip
def test_what_readers_may_disagree_about_is_not_read(body: bytes) -> None:
    """Text that is not strict RFC 8259 in UTF-8 is refused, with the place where it goes wrong."""
    assert refusal(body).startswith("The body is not JSON that every reader reads alike: ")


def test_the_complaint_names_the_place() -> None:
    """The complaint names the position and shows nothing of the body."""
    detail = refusal(b'{"secret": 1,}')
    assert detail.endswith("at character 12.")
    assert "secret" not in detail


def test_deep_nesting_is_refused() -> None:
    """Deep nesting is refused before the reader runs out of stack."""
    assert "depth" in refusal(b"[" * 5000 + b"]" * 5000)


def test_deep_nesting_that_must_be_read_twice_is_refused_or_read() -> None:
    """The reader that checks duplicate keys does not run out of stack; its depth differs between versions of Python."""
    deep = b'{"session\\u005fid":' + b"[" * 1020 + b"]" * 1020 + b"}"
    try:
        outcome = READER.read(deep)
    except RequestRefused as error:
        outcome = error.refuse.detail
    assert outcome in (orjson.loads(deep), "The JSON body is nested too deeply.")


@pytest.mark.parametrize("values", [b",1" * MOST_VALUES, b",[]" * (MOST_VALUES // 2), b",{}" * (MOST_VALUES // 2)])
def test_too_many_values_are_refused_before_they_are_made(values: bytes) -> None:
    """A text with too many values is refused before they are made; a string counts as one."""
    assert refusal(b"[1" + values + b"]") == "The JSON body has more than 250000 values."


def test_as_many_values_as_are_allowed_are_read() -> None:
    """A text with exactly as many values as are allowed is read."""
    body = b"[1" + b",1" * (MOST_VALUES - 1) + b"]"
    value = READER.read(body)
    assert isinstance(value, list)
    assert len(value) == MOST_VALUES


def test_a_text_that_must_be_read_twice_may_have_fewer_values() -> None:
    """A text that needs the second reader is refused beyond a lower number of values."""
    escaped = b'["\\u0061"'
    assert isinstance(READER.read(escaped + b",1" * (MOST_VALUES_TWICE - 1) + b"]"), list)
    assert refusal(escaped + b",1" * MOST_VALUES_TWICE + b"]") == "The JSON body has more than 100000 values."


def test_a_long_text_is_read() -> None:
    """A string of ten million characters is read."""
    value = READER.read(b'{"a":"' + b"x" * 10_000_000 + b'"}')
    assert isinstance(value, dict)


def test_huge_numbers_do_no_harm() -> None:
    """A huge number is refused, or read as the float that every reader makes of it."""
    assert refusal(b"1" * 400).startswith("The body is not JSON")
    assert READER.read(b'{"session\\u005fid":' + b"1" * 300 + b"}") == {"session_id": float("1" * 300)}


@pytest.mark.parametrize(
    ("body", "names"),
    [
        (b'{"session_id":1}', set()),
        (b'{"session_id":1,"context":2,"userId":3}', set()),
        (b'{"session_id":1,"session_id":1}', {"session_id"}),
        (b'{"session_id":1,"session\\u005fid":2}', {"session_id"}),
        (b'{"session_id":1,"\\u0053ession_id":2}', {"session_id"}),
        (b'{"session_id":1,"\\u0073ession_id":2}', {"session_id"}),
        (b'{"session_id":1,"Session_ID":2}', {"session_id"}),
        (b'{"SESSION_ID":1}', {"session_id"}),
        (b'{"userId":1,"userid":1}', {"userid"}),
        (b'{"userid":1}', {"userid"}),
        (b'{"user_id":1,"user_id":2}', set()),
        ('{"ſession_id":1}'.encode(), {"session_id"}),
        (b'{"\\u017fession_id":1}', {"session_id"}),
        (b'{"\\u017Fession_id":1}', {"session_id"}),
        (b'{"session_id":1,"context":2,"session_id":1,"context":2}', {"session_id", "context"}),
        (b'{"other":1,"other":2}', set()),
        (b'{"a":{"session_id":1,"session_id":2}}', set()),
        (b'{"session_id":1,"a":"\\u005f"}', set()),
        (b'{"session\\u005fid":1}', set()),
        (b'{"session_id":1,"session_id\\u0000":2}', {"session_id"}),
        (b'{"session_id\\u0000":1}', {"session_id"}),
        (b'{"session_id\\u0000x":1,"USERID\\u0000":2}', {"session_id", "userid"}),
        (b'{"\\u0000session\\u0000_id":1}', {"session_id"}),
        (b'{"session\\u0000_id":1,"context\\u0000":2}', {"session_id", "context"}),
        (b'{"\\u0000":1,"a\\u0000session_id":2,"session_id":3}', set()),
        ('{"sess\u0130on_id":1}'.encode(), {"session_id"}),
        (b'{"sess\\u0131on_id":1}', {"session_id"}),
    ],
)
def test_which_names_are_doubtful(body: bytes, names: set[str]) -> None:
    """A watched name that is written twice, in another case or escaped is in doubt, and no other name is."""
    assert doubtful(body) == names


def test_the_kelvin_sign_is_a_k_to_readers_that_fold() -> None:
    """The Kelvin sign, the long s and both Turkish forms of i fold to letters of a watched name."""
    reader = JsonReader(["token"])
    for body in ('{"to\u212aen":1}'.encode(), b'{"to\\u212aen":1}', b'{"to\\u212Aen":1}'):
        value = reader.read(body)
        assert isinstance(value, Doubtful)
        assert value.names == {"token"}
    assert fold("\u212a\u017fK\u0130\u0131") == "kskii"


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id":"a","context":{},"text":"\\"session_id\\""}',
        '{"session_id":"a","text":"你好，世界 é ü"}'.encode(),
        b'{"session_id":"a","text":"\\u4f60\\u597d\\u00e9\\u0394\\u1234\\ud83d\\ude00"}',
        b'{"session_id":"a","text":"line\\nline\\ttab \\u001b"}',
        b'{"user_id":1,"user_id":2}',
        '{"session_id":"a","text":"ſ \u212a İstanbul ışık"}'.encode(),
    ],
)
def test_what_stays_on_the_fast_path(body: bytes) -> None:
    """Text in any language, raw or escaped, is read by the fast reader alone."""
    assert READER.plain_names(body) is not None


@pytest.mark.parametrize(
    "body",
    [
        b'{"session_id":"a","x":"session_id"}',
        b'{"session_id":"a","x":"Session_ID"}',
        b'{"Context":1}',
        b'{"a":"\\u0041"}', b'{"a":"\\u0050"}', b'{"a":"\\u0061"}', b'{"a":"\\u0070"}', b'{"a":"\\u005f"}',
        b'{"a":"\\u017f"}', b'{"a":"\\u212a"}', b'{"a":"\\u0130"}', b'{"a":"\\u0131"}', b'{"a":"\\u0000"}',
        '{"ſession_id":1}'.encode(), '{"sess\u0130on_id":1}'.encode(), '{"user\u0131d":1}'.encode(),
    ],
)  # fmt: skip
def test_what_is_read_with_every_key(body: bytes) -> None:
    """A text that may spell a watched name a second time is read key by key."""
    assert READER.plain_names(body) is None
    assert READER.read(body) == json.loads(body)


def test_escapes_of_digits_and_hyphens_are_seen_where_names_have_them() -> None:
    """Escapes of digits and hyphens count where a watched name has such characters."""
    body = b'{"a-1":1,"a\\u002d1":1}'
    value = JsonReader(["a-1"]).read(body)
    assert isinstance(value, Doubtful)
    value = JsonReader(["a1"]).read(b'{"a1":1,"a\\u0031":1}')
    assert isinstance(value, Doubtful)
    assert JsonReader(["ab"]).plain_names(b'{"x":"\\u0031"}') == frozenset()


def test_two_watched_spellings_are_both_allowed() -> None:
    """Two watched names that differ in letter case alone may each be there once, but not both."""
    reader = JsonReader(["userId", "userID"])
    assert type(reader.read(b'{"userId":1}')) is dict
    assert type(reader.read(b'{"userID":1}')) is dict
    assert type(reader.read(b'{"userId":1,"userID":1}')) is Doubtful
    assert type(reader.read(b'{"userid":1}')) is Doubtful


def test_many_repeated_keys_cost_no_more_than_others() -> None:
    """Repeated keys are read in linear time."""
    assert doubtful(b"{" + b",".join([b'"session_id":1'] * 99_000) + b"}") == {"session_id"}


def test_a_member_is_what_stands_under_a_name() -> None:
    """Null and absence are the same, and only objects have members."""
    assert member({"a": 1}, "a") == 1
    assert member({"a": None}, "a") is None
    assert member({}, "a") is None
    assert member([], "a") is None
    assert member("a", "a") is None
    assert member(None, "a") is None


def test_a_doubtful_member_is_refused_and_others_are_not() -> None:
    """Doubt about one name does not affect another."""
    value = READER.read(b'{"session_id":1,"session_id":2,"context":3,"userid":4}')
    assert member(value, "context") == 3
    assert member(value, "absent") is None
    for name in ("session_id", "userId"):
        with pytest.raises(RequestRefused) as error:
            member(value, name)
        assert error.value.refuse.reason is Reason.AMBIGUOUS_SESSION
        assert error.value.refuse.detail == DOUBT.format(name)


keys = st.sampled_from(["session_id", "context", "userId", "a", "Session_id", "ſession_id", "userid", "context\0"])
values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=5) | keys,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(keys | st.text(max_size=3), inner, max_size=4),
    max_leaves=8,
)


@given(values, st.booleans())
@example({"Session_id": -100000000000000001}, False)
@example({"Session_id": [2**64 - 1, 2**64, -(2**63), -(2**63) - 1]}, False)
def test_json_is_read_as_others_read_it(value: object, ascii_only: bool) -> None:
    """The value is the one that Python's own reader finds, by either way of reading."""
    body = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "surrogatepass")
    try:
        read = READER.read(body)
    except RequestRefused:
        with pytest.raises(orjson.JSONDecodeError):
            orjson.loads(body)
    else:
        assert read == orjson.loads(body)


@given(st.binary(max_size=30) | st.text(st.sampled_from('{}[]":,\\u05fd7 abeslnr_i1'), max_size=30).map(str.encode))
def test_any_bytes_are_read_or_refused(body: bytes) -> None:
    """Any bytes are read or refused, and raise nothing else."""
    try:
        READER.read(body)
    except RequestRefused as refusal:
        code = refusal.refuse.reason
    else:
        code = Reason.UNREADABLE_BODY
    assert code is Reason.UNREADABLE_BODY


def test_integers_stay_integers_however_they_are_read() -> None:
    """A whole number is an int by either way of reading, so that a refusal repeats a call's id as it was."""
    for body in (b'{"id":7,"n":999999999999999999}', b'{"Session_ID":1,"id":7,"n":999999999999999999}'):
        value = READER.read(body)
        assert isinstance(value, dict)
        assert [(type(value[key]), value[key]) for key in ("id", "n")] == [(int, 7), (int, 999999999999999999)]
