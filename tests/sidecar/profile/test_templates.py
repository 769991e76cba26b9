"""What path templates and globs match, and which of them cover each other."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.profile.templates import Template, captured_name, compile_globs, glob_covers, parse_template


def match(template: str, path: str, *, exact: bool = False) -> object:
    return parse_template(template).match(tuple(path.strip("/").split("/")), exact=exact)


@pytest.mark.parametrize(
    ("template", "path", "captured"),
    [
        ("/a/b", "/a/b", {}),
        ("/a/b", "/a/c", None),
        ("/a/b", "/a", None),
        ("/a/b", "/a/b/c", None),
        ("/a/{x}", "/a/b", {"x": "b"}),
        ("/a/{x}/c/{y_2}", "/a/b/c/d", {"x": "b", "y_2": "d"}),
        ("/a/{x}/c", "/a/b/d", None),
        ("/a/*/c", "/a/b/c", {}),
        ("/a/*/c", "/a/b/d", None),
        ("/a/**", "/a/b", {}),
        ("/a/**", "/a/b/c/d", {}),
        ("/a/**", "/a", None),
        ("/a/**", "/b/c", None),
        ("/{x}/**", "/a/b", {"x": "a"}),
        ("/**", "/a", {}),
    ],
)
def test_what_a_template_matches(template: str, path: str, captured: object) -> None:
    """A literal matches itself, a name and * match one segment, and ** matches one or more at the end."""
    assert match(template, path) == captured


def test_letter_case_of_literals_matters_only_when_asked() -> None:
    """Literals are compared in any letter case where the caller asks for it, and exactly otherwise."""
    assert match("/Session/{x}", "/sESSION/Ab") == {"x": "Ab"}
    assert match("/session/{x}", "/Session/Ab", exact=True) is None
    assert match("/session/{x}", "/session/Ab", exact=True) == {"x": "Ab"}
    assert match("/a/*", "/a/b", exact=True) == {}
    assert match("/straße", "/STRASSE") == {}


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("a/b", "it must start with / and have at least one segment"),
        ("", "it must start with / and have at least one segment"),
        ("/", "it must start with / and have at least one segment"),
        ("/a//b", "its segments may not be empty, . or .."),
        ("/a/", "its segments may not be empty, . or .."),
        ("/a/./b", "its segments may not be empty, . or .."),
        ("/a/..", "its segments may not be empty, . or .."),
        ("/**/a", "** may only stand at the end"),
        ("/{x}/{x}", "it captures one name twice"),
        ("/{X}", "'{X}' is neither literal text nor {name}, * or **"),
        ("/a{x}", "'a{x}' is neither literal text nor {name}, * or **"),
        ("/a*", "'a*' is neither literal text nor {name}, * or **"),
        ("/a%20b", "'a%20b' is neither literal text nor {name}, * or **"),
        ("/a?b", "'a?b' is neither literal text nor {name}, * or **"),
        ("/{}", "'{}' is neither literal text nor {name}, * or **"),
    ],
)
def test_what_is_no_template(text: str, complaint: str) -> None:
    """A pattern that could never match, or not as meant, is refused with the reason."""
    with pytest.raises(ValueError) as error:
        parse_template(text)
    assert str(error.value) == f"{text!r} is not a path template: {complaint}"


def test_a_template_is_written_as_it_was_read() -> None:
    """A template is printed as it was written in the profile."""
    assert str(parse_template("/a/{x}/*/**")) == "/a/{x}/*/**"


def test_names_of_a_template() -> None:
    """The names that a template captures are known before anything is matched."""
    assert parse_template("/a/{x}/*/{y}/**").names == {"x", "y"}
    assert parse_template("/a").names == set()
    assert captured_name("{x}") == "x"
    assert captured_name("x") is None
    assert captured_name("{x}y") is None


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("/a", "/a", True),
        ("/a", "/A", True),
        ("/a", "/b", False),
        ("/a", "/a/b", False),
        ("/{x}", "/a", True),
        ("/*", "/{x}", True),
        ("/a", "/{x}", False),
        ("/a", "/*", False),
        ("/a/**", "/a/b", True),
        ("/a/**", "/a", False),
        ("/a/**", "/a/**", True),
        ("/a/**", "/a/b/**", True),
        ("/a/b/**", "/a/**", False),
        ("/a/*/**", "/a/**", False),
        ("/a/*", "/a/**", False),
        ("/*/**", "/**", False),
        ("/**", "/a/b", True),
        ("/**", "/**", True),
        ("/a/{x}/c", "/a/b/c", True),
        ("/a/b/c", "/a/b/d", False),
    ],
)
def test_which_template_covers_which(one: str, other: str, covers: bool) -> None:
    """One template covers another if it matches all paths that the other matches."""
    assert parse_template(one).covers(parse_template(other)) is covers


segments = st.lists(st.sampled_from(["a", "b", "*", "{x}"]), min_size=1, max_size=3)
templates = st.builds(
    lambda parts, rest: Template((*parts, "**") if rest else tuple(parts)), segments, st.booleans()
).filter(lambda template: template.segments.count("{x}") < 2)
paths = st.lists(st.sampled_from(["a", "b", "c"]), min_size=1, max_size=5).map(tuple)


@given(templates, templates, paths)
def test_a_covered_template_matches_nothing_else(one: Template, other: Template, path: tuple[str, ...]) -> None:
    """No generated path matches a covered template and not the one that covers it."""
    if one.covers(other) and other.match(path, exact=False) is not None:
        assert one.match(path, exact=False) is not None


@pytest.mark.parametrize(
    ("template", "prefix", "may"),
    [
        ("/a/b", ("a",), True),
        ("/a", ("a",), True),
        ("/A", ("a",), True),
        ("/a", ("a", "b"), False),
        ("/b", ("a",), False),
        ("/*/b", ("a", "b"), True),
        ("/{x}/c", ("a", "b"), False),
        ("/**", ("a", "b"), True),
        ("/a/**", ("a", "b"), True),
        ("/b/**", ("a",), False),
    ],
)
def test_whether_a_template_may_start_with_a_prefix(template: str, prefix: tuple[str, ...], may: bool) -> None:
    """The check says whether a template can match below a prefix."""
    assert parse_template(template).may_start_with(prefix) is may


@pytest.mark.parametrize(
    ("globs", "text", "matches"),
    [
        (["get_*"], "get_x", True),
        (["get_*"], "get_", True),
        (["get_*"], "forget_x", False),
        (["*_x"], "a\n_x", True),
        (["a.c"], "abc", False),
        (["a*b*c"], "a--b--c", True),
        (["a", "b*"], "bb", True),
        (["a", "b*"], "ab", False),
        (["*"], "", True),
        ([], "", False),
        ([], "a", False),
    ],
)
def test_what_globs_match(globs: list[str], text: str, matches: bool) -> None:
    """A star matches any text, and every other character matches itself."""
    assert (compile_globs(globs).fullmatch(text) is not None) is matches


@pytest.mark.parametrize(
    ("one", "other", "covers"),
    [
        ("*", "get_*", True),
        ("get_*", "get_a*", True),
        ("get_*", "get_a", True),
        ("get_a*", "get_*", False),
        ("get_a", "get_a", True),
        ("*_a", "*_b", False),
        ("a*c", "a*b*c", True),
        ("a*b*c", "a*c", False),
    ],
)
def test_which_glob_covers_which(one: str, other: str, covers: bool) -> None:
    """One glob covers another if it matches all texts that the other matches."""
    assert glob_covers(one, other) is covers


globs = st.text(st.sampled_from("ab*"), max_size=5)


@given(globs, globs, st.text(st.sampled_from("abc"), max_size=6))
def test_a_covered_glob_matches_nothing_else(one: str, other: str, text: str) -> None:
    """No generated text matches a covered glob and not the one that covers it."""
    if glob_covers(one, other) and compile_globs([other]).fullmatch(text):
        assert compile_globs([one]).fullmatch(text)
