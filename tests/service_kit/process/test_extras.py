"""A missing extra is one line that names what is missing and the command that installs it."""

from __future__ import annotations

from importlib import metadata

import pytest

from service_kit.process import extras


def only_missing(monkeypatch: pytest.MonkeyPatch, *names: str) -> None:
    real = metadata.distribution

    def distribution(name: str) -> metadata.Distribution:
        if name in names:
            raise metadata.PackageNotFoundError(name)
        return real(name)

    monkeypatch.setattr(metadata, "distribution", distribution)


def test_a_complete_extra_lacks_nothing() -> None:
    assert extras.missing("services") == []


def test_each_missing_distribution_is_named_once_on_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    only_missing(monkeypatch, "sqlalchemy", "fastapi")
    with pytest.raises(SystemExit) as exit_code:
        extras.require_extra("services", "session-service")
    assert exit_code.value.code == 2
    assert capsys.readouterr().err == (
        "session-service: not installed: fastapi, sqlalchemy; run pip install 'session-sidecar[services]'\n"
    )


def test_a_distribution_of_another_extra_is_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    only_missing(monkeypatch, "hypothesis")
    assert extras.missing("services") == []


def test_a_source_tree_without_metadata_requires_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    def requires(name: str) -> list[str]:
        raise metadata.PackageNotFoundError(name)

    monkeypatch.setattr(metadata, "requires", requires)
    assert extras.missing("services") == []
