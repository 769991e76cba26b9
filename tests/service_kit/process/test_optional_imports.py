"""Imports that are to fail although the module is installed."""

from __future__ import annotations

import importlib
import sys

import pytest

from service_kit.process.optional_imports import not_found

MODULE = "wsgiref.simple_server"


@pytest.fixture(autouse=True)
def not_imported(monkeypatch: pytest.MonkeyPatch) -> None:
    """The module is not imported yet."""
    monkeypatch.delitem(sys.modules, MODULE, raising=False)


def test_an_import_in_the_block_fails() -> None:
    with not_found(MODULE), pytest.raises(ModuleNotFoundError):
        importlib.import_module(MODULE)


def test_an_import_after_the_block_succeeds_even_if_the_block_failed() -> None:
    with pytest.raises(KeyError), not_found(MODULE):
        raise KeyError
    assert importlib.import_module(MODULE).__name__ == MODULE


def test_what_is_imported_already_stays() -> None:
    importlib.import_module(MODULE)
    with not_found(MODULE):
        assert importlib.import_module(MODULE).__name__ == MODULE
    assert MODULE in sys.modules
