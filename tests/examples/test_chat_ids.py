"""The ids that the chat example makes."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from examples.chat.ids import FOREIGN_USERS, new_session_id_for, user_uuid
from sidecar.extract.ids import is_prefixed_uuid, is_uuid

UUID = "550e8400-e29b-41d4-a716-446655440000"


@given(st.text(min_size=1, max_size=40))
def test_a_session_id_for_a_user_passes_every_check(user_id: str) -> None:
    """The id made for a user of any name is a prefixed UUID."""
    made = new_session_id_for(user_id)
    assert is_prefixed_uuid(made)
    assert len(made) == min(len(user_id), 12) + 37


def test_a_session_id_for_a_user_begins_with_the_user() -> None:
    """Twelve characters are kept, and what is not safe becomes a hyphen."""
    assert re.fullmatch(r"user_abc1234_[0-9a-f-]{36}", new_session_id_for("user_abc12345"))
    assert re.fullmatch(r"a-b--c_[0-9a-f-]{36}", new_session_id_for("a b//c"))
    assert new_session_id_for("u") != new_session_id_for("u")


def test_a_foreign_user_id_has_one_uuid_for_ever() -> None:
    """The mapping may never change: rows already carry it."""
    assert user_uuid("auth0|abc") == "53c46e9f-c44a-5097-a491-04aaf48bed3c"
    assert user_uuid("cli_user_1") == "2b24763c-3021-5e62-8e08-da8686c0fa72"
    assert str(FOREIGN_USERS) == "34f76983-49dc-5357-9e3a-e0895ac52c9f"


@given(st.text(min_size=1))
def test_a_foreign_user_id_maps_to_a_uuid_of_version_5(foreign: str) -> None:
    """Every id has one, stable and in canonical form."""
    made = user_uuid(foreign)
    assert is_uuid(made)
    assert made == user_uuid(foreign) == user_uuid(made)
    assert made == foreign.lower() or uuid.UUID(made).version == 5


def test_a_uuid_stands_for_itself() -> None:
    """Its one spelling is lower case."""
    assert user_uuid(UUID.upper()) == UUID


@pytest.mark.parametrize("make", [new_session_id_for, user_uuid])
def test_an_empty_user_id_is_refused(make: Callable[[str], str]) -> None:
    """There is no such user."""
    with pytest.raises(ValueError, match="empty"):
        make("")
