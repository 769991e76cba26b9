"""Bad settings through the real command line: all of them at once, in readable lines, exit 2."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from sidecar.command_line import commands
from tests.support.processes import run_to_end

BAD = {
    "SIDECAR_LISTEN": "nowhere",
    "SIDECAR_UPSTREAM": "ftp://memory",
    "SIDECAR_CACHE_SIZE": "0",
    "SIDECAR_CACHE_TTL": "soon",
    "SIDECAR_MAX_BODY": "10MB",
    "SIDECAR_MODE": "maybe",
    "SIDECAR_FAST_LANE": "yes",
    "SIDECAR_PROFILE": "nobody",
    "SIDECAR_TRUSTED_PROXIES": "10.0.0.0/99",
    "SIDECAR_REGISTER_AS": "memory_service",
}


@pytest.mark.parametrize("command", ["serve", "check"])
def test_one_run_names_every_bad_variable_and_ends_with_2(tmp_path: Path, command: str) -> None:
    """Each line has the variable, its value and what is allowed."""
    ended = run_to_end("sidecar", command, env=BAD, cwd=tmp_path)
    assert ended.process.returncode == 2
    for name, value in BAD.items():
        assert [line for line in ended.stderr if name in line and value in line], (name, ended.stderr)
    assert len(ended.stderr) == len(BAD)


def test_check_prints_what_is_in_effect_and_masks_secrets(tmp_path: Path) -> None:
    """Defaults, values from .env and values from the environment, the environment winning."""
    (tmp_path / ".env").write_text("SIDECAR_CACHE_TTL=90s\nSIDECAR_MODE=shadow\n")
    env = {"SIDECAR_CACHE_TTL": "2m", "SIDECAR_ADMIN_TOKEN": "very-secret"}
    ended = run_to_end("sidecar", "check", "--verbose", env=env, cwd=tmp_path)
    assert ended.process.returncode == 0
    assert {"SIDECAR_CACHE_TTL=120s", "SIDECAR_MODE=shadow", "SIDECAR_MAX_BODY=10MiB"} <= set(ended.stdout)
    assert "very-secret" not in "\n".join(ended.stdout + ended.stderr)
    assert "SIDECAR_ADMIN_TOKEN=**********" in ended.stdout


@pytest.mark.parametrize(("arguments", "code"), [(["check"], 0), (["check", "--strict"], 2)])
def test_an_unknown_variable_is_a_warning_with_the_nearest_name_and_an_error_if_strict(
    tmp_path: Path, arguments: list[str], code: int
) -> None:
    """Orchestrators inject names like SIDECAR_PORT, so that alone must not stop anybody."""
    ended = run_to_end("sidecar", *arguments, env={"SIDECAR_CACHE_TLL": "5"}, cwd=tmp_path)
    assert ended.process.returncode == code
    assert any("SIDECAR_CACHE_TLL is not a setting; did you mean SIDECAR_CACHE_TTL?" in line for line in ended.stderr)


def test_help_is_everywhere_and_an_unknown_command_is_bad_usage(tmp_path: Path) -> None:
    """Exit 0 with a text, exit 2 with one."""
    for command in ([], ["up"], ["serve"], ["check"], ["outbox"], ["backfill"]):
        helped = CliRunner().invoke(commands, [*command, "--help"])
        assert helped.exit_code == 0
        assert helped.stdout.startswith("Usage:")
    helped = run_to_end("sidecar", "--help", env={}, cwd=tmp_path)
    assert helped.process.returncode == 0
    assert any("Usage:" in line for line in helped.stdout)
    assert run_to_end("sidecar", "nothing", env={}, cwd=tmp_path).process.returncode == 2
