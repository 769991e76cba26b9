"""Which ids are let in, and how new ones are made."""

from __future__ import annotations

import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.extract.ids import (
    IdFormat,
    is_prefixed_uuid,
    is_safe,
    is_session_uuid,
    is_text,
    is_uuid,
    session_id_check,
    user_id_check,
)

SAFE = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._~:@|+=-"
UUID = "550e8400-e29b-41d4-a716-446655440000"

safe_ids = st.text(st.sampled_from(SAFE), min_size=1, max_size=255).filter(lambda text: text not in {".", ".."})


@given(safe_ids)
def test_text_in_the_grammar_is_safe(text: str) -> None:
    """Every text of 1 to 255 allowed characters is an id."""
    assert is_safe(text)


@given(st.text(max_size=300))
@example("\n")
@example("a\n")
@example("é")
@example("ａ")
@example("a b")
@example("a%2Fb")
def test_text_outside_the_grammar_is_not(text: str) -> None:
    """No text outside the grammar is safe."""
    expected = 1 <= len(text) <= 255 and set(text) <= set(SAFE) and text not in {".", ".."}
    assert is_safe(text) is expected


@pytest.mark.parametrize("character", SAFE)
def test_each_allowed_character_is_an_id_by_itself(character: str) -> None:
    """Each allowed character is an id by itself, but for the dot, which is a path segment with a meaning."""
    assert is_safe(character) is (character != ".")


@pytest.mark.parametrize("character", [chr(code) for code in range(128) if chr(code) not in SAFE])
def test_no_other_ascii_character_is_allowed(character: str) -> None:
    """A character that may end a segment, a header or a log line is refused at every position."""
    assert not is_safe(character)
    assert not is_safe(f"a{character}")
    assert not is_safe(f"{character}a")


@pytest.mark.parametrize(
    ("text", "safe"), [("a" * 255, True), ("a" * 256, False), ("", False), (".", False), ("..", False), ("...", True)]
)
def test_the_ends_of_the_grammar(text: str, safe: bool) -> None:
    """An id has 1 to 255 characters, and is neither `.` nor `..`."""
    assert is_safe(text) is safe


def test_dots_inside_an_id_are_harmless() -> None:
    """Dots are refused only where the id is nothing but one or two of them."""
    assert is_safe("..a")
    assert is_safe(".a")
    assert is_safe("a..")


@pytest.mark.parametrize("text", [UUID, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff"])
def test_canonical_uuids_are_recognised(text: str) -> None:
    """A canonical UUID of any version is recognised, the nil and the max UUID included."""
    assert is_uuid(text)
    assert is_session_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
        UUID.upper(),
        UUID[:-1] + "A",
        UUID.replace("-", ""),
        "{" + UUID + "}",
        "urn:uuid:" + UUID,
        UUID + "\n",
        " " + UUID,
        UUID[:-1],
        UUID + "0",
        UUID.replace("5", "g"),
        "550e840-0e29b-41d4-a716-446655440000",
    ],
)
def test_other_spellings_of_a_uuid_are_not(text: str) -> None:
    """Another spelling of a UUID is refused, because ids are compared byte for byte."""
    assert not is_uuid(text)
    assert not is_session_uuid(text)


@given(st.uuids(), st.sampled_from(["{}", "{{{}}}", "urn:uuid:{}", "uuid:{}", "{}\n"]), st.booleans(), st.booleans())
def test_what_a_parser_takes_is_an_id_only_as_it_would_write_it(
    value: uuid.UUID, around: str, upper: bool, hyphens: bool
) -> None:
    """A text that Python reads as a UUID counts only in the spelling that Python writes."""
    text = str(value) if hyphens else value.hex
    text = around.format(text.upper() if upper else text)
    assert is_uuid(text) is (text == str(value))


@pytest.mark.parametrize("prefix", ["u", "user", "user_abc123", "_", "a.b", "x" * 218])
def test_a_prefix_before_a_uuid_is_recognised(prefix: str) -> None:
    """A prefix, an underscore and a UUID are recognised as a session id."""
    text = f"{prefix}_{UUID}"
    assert is_prefixed_uuid(text)
    assert is_session_uuid(text)
    assert not is_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        UUID,
        f"_{UUID}",
        f"user_{UUID.upper()}",
        f"user-{UUID}",
        f"user{UUID}",
        f"a b_{UUID}",
        f"user_{UUID[:-1]}g",
        f"user_{UUID}_",
        "x" * 219 + "_" + UUID,
    ],
)
def test_what_is_no_prefixed_uuid(text: str) -> None:
    """A prefix must be safe, not empty, end in an underscore, and leave the id within its length."""
    assert not is_prefixed_uuid(text)


def test_opaque_ids_need_only_be_safe() -> None:
    """With `opaque` any safe text is an id."""
    assert session_id_check(IdFormat.OPAQUE)("cli_session_20251008_194657")
    assert user_id_check(IdFormat.OPAQUE)("auth0|abc")
    assert not session_id_check(IdFormat.OPAQUE)("a b")
    assert not user_id_check(IdFormat.OPAQUE)("")


def test_uuid_ids_must_be_uuids() -> None:
    """With `uuid` a session id may have a prefix, and a user id may not."""
    assert session_id_check(IdFormat.UUID)(UUID)
    assert session_id_check(IdFormat.UUID)(f"user_{UUID}")
    assert not session_id_check(IdFormat.UUID)("cli_session_20251008_194657")
    assert user_id_check(IdFormat.UUID)(UUID)
    assert not user_id_check(IdFormat.UUID)(f"user_{UUID}")


@pytest.mark.parametrize("text", ["my chat", "chat #1?", "会话", "a%2Fb", "x" * 255, "..."])
def test_the_wider_grammar_takes_text(text):
    """The grammar `text` accepts spaces, other scripts and what must be escaped in a URL."""
    assert is_text(text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x00", "\x7f", "\x85", "\ud800", "x" * 256])
def test_the_wider_grammar_takes_no_controls_and_slashes(text):
    """The grammar `text` refuses characters that change the meaning of a path or a header."""
    assert not is_text(text)
