"""Which ids are let in, and how new ones are made."""

from __future__ import annotations

import re
import uuid

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sidecar.extract.ids import (
    FOREIGN_USERS,
    IdFormat,
    is_prefixed_uuid,
    is_safe,
    is_session_uuid,
    is_text,
    is_uuid,
    new_session_id,
    new_session_id_for,
    new_user_id,
    session_id_check,
    user_id_check,
    user_uuid,
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
    """Nothing else is one."""
    expected = 1 <= len(text) <= 255 and set(text) <= set(SAFE) and text not in {".", ".."}
    assert is_safe(text) is expected


@pytest.mark.parametrize("character", SAFE)
def test_each_allowed_character_is_an_id_by_itself(character: str) -> None:
    """All allowed characters are equal, but for the dot that would be a path segment with a meaning."""
    assert is_safe(character) is (character != ".")


@pytest.mark.parametrize("character", [chr(code) for code in range(128) if chr(code) not in SAFE])
def test_no_other_ascii_character_is_allowed(character: str) -> None:
    """Whatever could end a path segment, a header or a log line is kept out, wherever it stands."""
    assert not is_safe(character)
    assert not is_safe(f"a{character}")
    assert not is_safe(f"{character}a")


@pytest.mark.parametrize(
    ("text", "safe"), [("a" * 255, True), ("a" * 256, False), ("", False), (".", False), ("..", False), ("...", True)]
)
def test_the_ends_of_the_grammar(text: str, safe: bool) -> None:
    """The length has two ends, and dot segments are no ids, though they consist of allowed characters."""
    assert is_safe(text) is safe


def test_dots_inside_an_id_are_harmless() -> None:
    """Only an id that is nothing but one or two dots means something else in a path."""
    assert is_safe("..a")
    assert is_safe(".a")
    assert is_safe("a..")


@pytest.mark.parametrize("text", [UUID, UUID.upper(), "00000000-0000-0000-0000-000000000000"])
def test_hyphenated_uuids_are_recognised_in_either_case(text: str) -> None:
    """RFC 9562 lets readers take both cases."""
    assert is_uuid(text)
    assert is_session_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        "",
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
    """An id is compared byte for byte, so only one spelling counts."""
    assert not is_uuid(text)


@pytest.mark.parametrize("prefix", ["u", "user", "user_abc123", "_", "a.b", "x" * 218])
def test_a_prefix_before_a_uuid_is_recognised(prefix: str) -> None:
    """Session ids may show whose they are."""
    text = f"{prefix}_{UUID}"
    assert is_prefixed_uuid(text)
    assert is_session_uuid(text)
    assert not is_uuid(text)


@pytest.mark.parametrize(
    "text",
    [
        UUID,
        f"_{UUID}",
        f"user-{UUID}",
        f"user{UUID}",
        f"a b_{UUID}",
        f"user_{UUID[:-1]}g",
        f"user_{UUID}_",
        "x" * 219 + "_" + UUID,
    ],
)
def test_what_is_no_prefixed_uuid(text: str) -> None:
    """A prefix is not empty, is safe, ends in an underscore, and the whole is not too long."""
    assert not is_prefixed_uuid(text)


def test_opaque_ids_need_only_be_safe() -> None:
    """By default an id is any safe text."""
    assert session_id_check(IdFormat.OPAQUE)("cli_session_20251008_194657")
    assert user_id_check(IdFormat.OPAQUE)("auth0|abc")
    assert not session_id_check(IdFormat.OPAQUE)("a b")
    assert not user_id_check(IdFormat.OPAQUE)("")


def test_uuid_ids_must_be_uuids() -> None:
    """Where UUIDs are demanded, sessions may have a prefix and users may not."""
    assert session_id_check(IdFormat.UUID)(UUID)
    assert session_id_check(IdFormat.UUID)(f"user_{UUID}")
    assert not session_id_check(IdFormat.UUID)("cli_session_20251008_194657")
    assert user_id_check(IdFormat.UUID)(UUID)
    assert not user_id_check(IdFormat.UUID)(f"user_{UUID}")


def test_new_session_ids_are_random_uuids() -> None:
    """A made id passes every check, and no two are the same."""
    made = {new_session_id() for _ in range(100)}
    assert len(made) == 100
    assert all(is_uuid(text) and uuid.UUID(text).version == 4 for text in made)


def test_new_user_ids_are_random_uuids() -> None:
    """So is a user's."""
    made = {new_user_id() for _ in range(100)}
    assert len(made) == 100
    assert all(is_uuid(text) and uuid.UUID(text).version == 4 for text in made)


@given(st.text(min_size=1, max_size=40))
def test_a_session_id_for_a_user_passes_every_check(user_id: str) -> None:
    """Whatever the user is called, the id made for them is a prefixed UUID."""
    made = new_session_id_for(user_id)
    assert is_prefixed_uuid(made)
    assert len(made) == min(len(user_id), 12) + 37


def test_a_session_id_for_a_user_begins_with_the_user() -> None:
    """Twelve characters are kept, and what is not safe becomes a hyphen."""
    assert re.fullmatch(r"user_abc1234_[0-9a-f-]{36}", new_session_id_for("user_abc12345"))
    assert re.fullmatch(r"a-b--c_[0-9a-f-]{36}", new_session_id_for("a b//c"))
    assert new_session_id_for("u") != new_session_id_for("u")


def test_nobody_has_no_session_id() -> None:
    """A prefix cannot be empty."""
    with pytest.raises(ValueError) as error:
        new_session_id_for("")
    assert str(error.value) == "a session id for a user needs a user id, and it is empty"


def test_a_foreign_user_id_has_one_uuid_for_ever() -> None:
    """The mapping may never change: rows already carry it."""
    assert user_uuid("auth0|abc") == "53c46e9f-c44a-5097-a491-04aaf48bed3c"
    assert user_uuid("cli_user_1") == "2b24763c-3021-5e62-8e08-da8686c0fa72"
    assert str(FOREIGN_USERS) == "34f76983-49dc-5357-9e3a-e0895ac52c9f"


@given(st.text(min_size=1))
def test_a_foreign_user_id_maps_to_a_uuid_of_version_5(foreign: str) -> None:
    """Every id has one, stable and well formed."""
    made = user_uuid(foreign)
    assert is_uuid(made)
    assert made == user_uuid(foreign)
    assert is_uuid(foreign) or uuid.UUID(made).version == 5


def test_a_uuid_stands_for_itself() -> None:
    """What is a UUID already keeps its value; its one spelling is lower case."""
    assert user_uuid(UUID.upper()) == UUID


def test_an_empty_user_id_stands_for_nobody() -> None:
    """There is no such user."""
    with pytest.raises(ValueError) as error:
        user_uuid("")
    assert str(error.value) == "an empty user id stands for nobody"


@pytest.mark.parametrize("text", ["my chat", "chat #1?", "会话", "a%2Fb", "x" * 255, "..."])
def test_the_wider_grammar_takes_text(text):
    """Spaces, other scripts and what must be escaped in a URL."""
    assert is_text(text)


@pytest.mark.parametrize("text", ["", ".", "..", "a/b", "a\\b", "a\nb", "a\x00", "\x7f", "\x85", "\ud800", "x" * 256])
def test_the_wider_grammar_takes_no_controls_and_slashes(text):
    """They would change the meaning of a path or a header."""
    assert not is_text(text)
