"""Which paths have one reading, and what the others might be read as."""

from __future__ import annotations

from urllib.parse import quote_from_bytes, unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.extract.request_path import is_under, possible_readings, read_path, without_origin


@pytest.mark.parametrize(
    ("target", "path"),
    [
        (b"/a/b", b"/a/b"),
        (b"http://host/a/b", b"/a/b"),
        (b"HTTPS://user@host:80/a", b"/a"),
        (b"http://host", b"/"),
        (b"http://[::1]:8080/a", b"/a"),
        (b"http://host\\a/b", b"\\a/b"),
        (b"http://host#a", b"#a"),
        (b"*", b"*"),
        (b"http:/a", b"http:/a"),
        (b"1http://host/a", b"1http://host/a"),
        (b"/http://host/a", b"/http://host/a"),
        (b"", b""),
    ],
)
def test_the_origin_of_a_target_plays_no_part(target: bytes, path: bytes) -> None:
    """The path of a target in absolute form is read, and a target in no known form is left as it is."""
    assert without_origin(target) == path


@pytest.mark.parametrize(
    ("path", "segments"),
    [
        (b"/", ()),
        (b"/a", ("a",)),
        (b"/a/", ("a",)),
        (b"/a/b.c/d", ("a", "b.c", "d")),
        (b"/%73tore", ("store",)),
        (b"/a%20b", ("a b",)),
        (b"/%E4%BD%A0", ("你",)),
        (b"/a+b", ("a+b",)),
        (b"/a%2Bb", ("a+b",)),
        (b"/.a/...", (".a", "...")),
        (b"/%2ea", (".a",)),
        (b"/a%25", ("a%",)),
        (b"/a:b@c|d~e=f,g!h$i&j'k(l)m*n", ("a:b@c|d~e=f,g!h$i&j'k(l)m*n",)),
        (b"/<a>", ("<a>",)),
        (b"/a%20/", ("a ",)),
    ],
)
def test_a_path_with_one_reading(path: bytes, segments: tuple[str, ...]) -> None:
    """The segments are what every server decodes the path to; a trailing slash adds none."""
    assert read_path(path) == segments


@pytest.mark.parametrize(
    "path",
    [
        b"", b"a", b"*", b"http:/a",
        b"//", b"//a", b"/a//b", b"/a//",
        b"/.", b"/..", b"/a/./b", b"/a/../b", b"/%2e", b"/%2E%2e/a", b"/.%2e", b"/a/..",
        b"/a%2Fb", b"/a%2fb", b"/a\\b", b"/a%5Cb", b"/a;b", b"/a%3Bb", b"/a%3Fb", b"/a%23b", b"/a#b",
        b"/a%00", b"/a%0A", b"/a%1f", b"/a%7F", b"/a\x00", b"/a b", b"/a\tb", b"/a\x7f",
        b"/a%", b"/a%4", b"/a%zz", b"/a%%41", b"/%2541", b"/%25%34%31",
        b"/%ff", b"/%C0%AF", b"/\xe4\xbd\xa0", b"/%ED%A0%80",
    ],
)  # fmt: skip
def test_a_path_that_can_be_read_two_ways(path: bytes) -> None:
    """A path on which servers differ has no reading."""
    assert read_path(path) is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1, max_size=4), st.booleans())
def test_a_single_reading_is_what_decoding_gives(parts: list[str], trailing: bool) -> None:
    """Where a path has one reading, it is the path cut at slashes and decoded once."""
    path = "/" + "/".join(quote_from_bytes(part.encode(), safe="") for part in parts) + "/" * trailing
    reading = read_path(path.encode())
    if reading is not None:
        assert list(reading) == parts


@given(st.text(st.sampled_from("/%aA2fFeE5cC.;\\?#~"), max_size=12))
def test_a_single_reading_is_among_the_possible_ones(text: str) -> None:
    """The single reading is among those that a lenient server may find."""
    path = f"/{text}".encode()
    reading = read_path(path)
    if reading is not None:
        assert reading in set(possible_readings(path))
        assert reading == tuple(unquote(part) for part in path.decode().strip("/").split("/") if part)


@pytest.mark.parametrize(
    "path",
    [
        b"/p/q", b"//p/q", b"/p//q", b"/./p/q", b"/x/../p/q", b"/p/x/../q", b"/p%2fq", b"/%2570/q", b"/%25%37%30/q",
        b"/p;x/q", b"/p/q;x=y", b"\\p\\q", b"/p%5cq", b"/p%00/q", b"/p/q%3Fz", b"/p/q#z", b"/p/q%23z", b"//host/p/q",
        b"/%3f/../p/q", b"/x/..%2fp/q", b"/x/%2e%2e/p/q", b"/x/..;/p/q", b"/%09p/q", b"http:/p/q", b"http:p/q", b"p/q",
        b"/p/./q", b"//x/../p/q", b"/../../p/q", b"/p/q/", b"/%252570/q", b"/p//../q", b"/p//../%71", b"/p//..//q",
    ],
)  # fmt: skip
def test_what_might_be_read_as_a_guarded_path(path: bytes) -> None:
    """Each of these paths is `/p/q` to some server."""
    assert ("p", "q") in set(possible_readings(path))


@pytest.mark.parametrize("path", [b"/x/p/q", b"/pq", b"/p%20q", b"/x//p/q", b"/%25252570/q", b"/q/p/.."])
def test_what_no_server_reads_as_that_path(path: bytes) -> None:
    """An odd path is a guarded one only where some server reads it so."""
    assert ("p", "q") not in set(possible_readings(path))


def test_dots_are_kept_dropped_and_resolved() -> None:
    """A dot segment may be kept, dropped or resolved."""
    assert set(possible_readings(b"/a/./b/../c")) == {("a", ".", "b", "..", "c"), ("a", "b", "..", "c"), ("a", "c")}


def test_a_path_without_oddities_has_just_its_own_reading() -> None:
    """A path without oddities has its own reading and no other."""
    assert list(possible_readings(b"/a/b")) == [("a", "b")]


def test_decoding_stops_after_a_few_layers() -> None:
    """Only a few layers of encoding are decoded, and a long chain costs no more than a short one."""
    layered = b"/%" + b"25" * 1000 + b"41"
    assert len(list(possible_readings(layered))) == 3


def test_what_lies_under_a_prefix() -> None:
    """A path is under a prefix at it or below it, in any letter case, and never beside it."""
    assert is_under(("a", "b"), ("a", "b"))
    assert is_under(("A", "b", "c"), ("a", "b"))
    assert is_under(("ſtore",), ("store",))
    assert not is_under(("a",), ("a", "b"))
    assert not is_under(("ab",), ("a",))
    assert not is_under(("x", "a"), ("a",))
