"""Profiles as files: shipped ones by name, others by path, and the examples in the documentation."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from sidecar.profile.loading import find_profile, load_profile, shipped_profiles
from sidecar.profile.problems import ProfileError

ROOT = Path(__file__).parents[3]
PAGE = ROOT / "docs" / "operators" / "profiles.md"
EXAMPLES = re.findall(r"```toml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
BASE = 'name = "x"\nprefixes = ["/a"]\n'


@pytest.mark.parametrize("name", shipped_profiles())
def test_shipped_profiles_are_found_by_name(name: str) -> None:
    """A shipped profile has the name of its file, and none of its rules is unreachable."""
    profile = find_profile(name)
    assert profile.name == name
    assert profile.unreachable_rules() == []


def test_isa_is_shipped() -> None:
    """`isa` is among the shipped profiles, and is the default."""
    assert "isa" in shipped_profiles()


def test_any_profile_is_found_by_its_path(tmp_path: Path) -> None:
    """A profile of one's own is found by its path and has the format of the shipped ones."""
    path = tmp_path / "mine.toml"
    path.write_text(BASE + 'owner = "none"\n[session_service]\nstyle = "put"\n', encoding="utf-8")
    assert find_profile(str(path)).name == "x"


@pytest.mark.parametrize("name", ["nowhere", "/nowhere/x.toml", "", ".", "isa.toml\0"])
def test_what_is_no_profile_is_said_so(name: str) -> None:
    """The error for an unknown name lists the names of the shipped profiles."""
    with pytest.raises(ProfileError) as error:
        find_profile(name)
    assert str(error.value) == (
        f"{name!r} is no profile: the path of a readable file is allowed, or one of {', '.join(shipped_profiles())}"
    )


def test_a_profile_that_is_no_text_is_no_profile(tmp_path: Path) -> None:
    """A binary file is refused as a profile."""
    path = tmp_path / "x.toml"
    path.write_bytes(b"\xff\xfe")
    with pytest.raises(ProfileError, match="is no profile"):
        find_profile(str(path))


def test_a_mistake_in_a_profile_is_named_with_its_file(tmp_path: Path) -> None:
    """The error for a mistake begins with the path of the file, so that an operator knows which one is meant."""
    path = tmp_path / "x.toml"
    path.write_text(BASE, encoding="utf-8")
    with pytest.raises(ProfileError) as error:
        find_profile(str(path))
    assert str(error.value).splitlines() == [
        f"{path}:1: owner is missing: one of 'required', 'optional', 'none' is needed",
        f"{path}:1: session_service is missing: a table is needed",
    ]


def test_the_first_example_in_the_documentation_is_isa() -> None:
    """The first example of the page on profiles parses to the same profile as the shipped `isa`."""
    assert load_profile(EXAMPLES[0]) == find_profile("isa")


@pytest.mark.parametrize(("example", "name"), [*zip(EXAMPLES[1:], ("adk", "isa-platform"), strict=True)])
def test_the_other_examples_in_the_documentation_are_those_of_shipped_profiles(example: str, name: str) -> None:
    """A session service that a reader copies is asked as the shipped profile asks it."""
    owner = "" if "owner =" in example else 'owner = "required"\n'
    assert load_profile(BASE + owner + example).service == find_profile(name).service
