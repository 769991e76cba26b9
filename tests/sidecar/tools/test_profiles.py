"""The command that lists and shows the shipped profiles."""

from __future__ import annotations

import pytest
from click.testing import CliRunner

from sidecar.command_line import commands
from sidecar.profile.loading import find_profile, load_profile, shipped_profiles
from sidecar.profile.problems import ProfileError


def test_each_shipped_profile_has_a_line() -> None:
    """Each profile has its name and its summary; `generic` comes last."""
    result = CliRunner().invoke(commands, ["profiles"])
    assert result.exit_code == 0
    lines = result.output.splitlines()
    assert [line.split()[0] for line in lines] == [*shipped_profiles(), "generic"]
    assert {"isa", "isa-platform", "adk", "langgraph", "agno", "agent-memory-server", "mem0"} <= set(shipped_profiles())
    assert all(len(line.split()) > 3 for line in lines)


@pytest.mark.parametrize("name", [*shipped_profiles(), "generic"])
def test_a_shown_profile_can_be_read_again(name: str) -> None:
    """`--show` prints the file as it is, with its comments."""
    result = CliRunner().invoke(commands, ["profiles", "--show", name])
    assert result.exit_code == 0
    assert result.output.startswith("#")
    assert load_profile(result.output).name == name


def test_an_unknown_name_is_a_usage_error() -> None:
    """An unknown name is a usage error that lists the known ones, on standard error."""
    result = CliRunner().invoke(commands, ["profiles", "--show", "nowhere"])
    assert (result.exit_code, result.stdout) == (2, "")
    assert result.stderr.startswith("session-sidecar: 'nowhere' is no shipped profile: adk, agent-memory-server, agno,")


def test_generic_is_not_for_running() -> None:
    """`generic` cannot be chosen for running."""
    with pytest.raises(ProfileError, match="a text to start from"):
        find_profile("generic")
