"""Sizes, durations and booleans as people write them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.quantities import parse_boolean, parse_duration, parse_size, write_duration, write_size


@pytest.mark.parametrize(
    ("text", "size"),
    [("0", 0), ("4096", 4096), ("64KiB", 65536), ("10 MiB", 10 << 20), ("1GiB", 1 << 30), ("7B", 7), (" 5 ", 5)],
)
def test_a_size_is_bytes_or_a_number_with_a_binary_unit(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "MiB", "-1", "1.5MiB", "10MB", "10mib", "10 M", "1e3", "٣", "1  KiB", "10MiB x"])
def test_anything_else_is_no_size_and_the_error_says_what_is_allowed(text: str) -> None:
    allowed = r"^a size in bytes is allowed, or a whole number followed by KiB, MiB or GiB$"
    with pytest.raises(ValueError, match=allowed):
        parse_size(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5", 5.0), ("0.5", 0.5), ("500ms", 0.5), ("5s", 5.0), ("2m", 120.0), ("1h", 3600.0), ("1.5 s", 1.5), ("0", 0.0)],
)
def test_a_duration_is_seconds_or_a_number_with_a_unit(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds


@pytest.mark.parametrize("text", ["", "s", "-1s", "5 sec", "1d", "1e3", "inf", "nan", ".5", "5."])
def test_anything_else_is_no_duration_and_the_error_says_what_is_allowed(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a number of seconds is allowed, or a number followed by ms, s, m or h$"):
        parse_duration(text)


def test_only_true_and_false_are_booleans() -> None:
    assert parse_boolean("true") is True
    assert parse_boolean("false") is False
    for text in ("True", "1", "yes", "", "on"):
        with pytest.raises(ValueError, match=r"^true or false is allowed$"):
            parse_boolean(text)


@given(st.integers(min_value=0, max_value=10**12))
def test_a_written_size_reads_as_the_same_size(size: int) -> None:
    assert parse_size(write_size(size)) == size


@pytest.mark.parametrize(
    ("size", "text"), [(0, "0"), (1023, "1023"), (10 << 20, "10MiB"), (3 << 30, "3GiB"), (1536, "1536")]
)
def test_a_size_is_written_in_the_largest_unit_that_loses_nothing(size: int, text: str) -> None:
    assert write_size(size) == text


@given(st.integers(min_value=0, max_value=86_400_000))
def test_a_written_duration_reads_as_the_same_duration(milliseconds: int) -> None:
    seconds = milliseconds / 1000
    assert parse_duration(write_duration(seconds)) == pytest.approx(seconds, rel=1e-5)
