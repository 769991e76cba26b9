"""What tables of the documentation say about the code is what the code says."""

from __future__ import annotations

import pytest

from scripts import tables


@pytest.fixture(scope="module")
def generated() -> tuple[dict[str, str], list[str]]:
    return tables.generate()


@pytest.mark.parametrize("page", ["configuration", "refusals", "metrics", "operating", "README"])
def test_a_page_is_as_it_would_be_generated(generated: tuple[dict[str, str], list[str]], page: str) -> None:
    """If this fails, run scripts/docs and look at what changed."""
    assert tables.PAGES[page].read_text() == generated[0][page]


def test_everything_that_the_code_knows_has_a_row_and_nothing_else_does(
    generated: tuple[dict[str, str], list[str]],
) -> None:
    """Settings of all three programs, refusals, and the metrics of a running sidecar."""
    assert generated[1] == []


def test_a_wrong_default_is_corrected() -> None:
    fill = tables.settings_row({"SIDECAR_X": "5s"})
    assert fill(["SIDECAR_X"], ["`SIDECAR_X`", "`7s`", "words"]) == ["`SIDECAR_X`", "`5s`", "words"]


def test_a_default_that_a_person_explains_is_kept() -> None:
    fill = tables.settings_row({"SIDECAR_X": None})
    assert fill(["SIDECAR_X"], ["`SIDECAR_X`", "the profile's", ""]) == ["`SIDECAR_X`", "the profile's", ""]


def test_a_wrong_status_is_corrected() -> None:
    assert tables.refusal_row(["session_gone"], ["`session_gone`", "404", ""])[1] == "410"
