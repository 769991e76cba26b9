"""What texts are found by, without a database."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from memory_service.search import MAX_INDEXED, MAX_TERM, read_query, search_terms


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Running foxes", "run fox"),
        ("connected connection connecting", "connect connect connect"),
        ("well-known, isn't it?", "well known isn t it"),
        ("我在北京", "我 在 北 京"),
        ("GPT4模型", "gpt4 模 型"),
        ("白色T恤衫", "白 色 t 恤 衫"),
        ("ＡＢＣ ｶﾞ", "abc ガ"),
        ("STRASSE straße", "strass strass"),
        ("你好，世界！", "你 好 世 界"),
        ("snake_case", "snake case"),
        ("good 🙂 day", "good 🙂 day"),
        ("한국어", "한 국 어"),
        ("ไทย", "ไ ท ย"),
        ("", ""),
        (" \n\t.,;!", ""),
    ],
)
def test_a_text_is_found_by_its_terms(text: str, terms: str) -> None:
    """Words are stemmed and folded, scripts without spaces taken apart, punctuation left out."""
    assert search_terms(text) == terms


def test_a_long_word_is_known_by_its_beginning() -> None:
    """An index entry has a largest size, so a word of any length becomes a term of a bounded one."""
    assert search_terms("é" * 5_000) == "é" * MAX_TERM
    assert len(search_terms("x" * 5_000)) == MAX_TERM


def test_a_long_text_is_found_by_its_beginning() -> None:
    """What lies far inside a huge text is not taken apart."""
    assert len(search_terms("字" * (MAX_INDEXED + 10)).split()) == MAX_INDEXED


def test_a_query_is_read_as_phrases() -> None:
    """Spaces separate what may stand apart; anything else holds together."""
    assert read_query("well-known 北京 Foxes").phrases == (("well", "known"), ("北", "京"), ("fox",))


@pytest.mark.parametrize("text", ["", "  ", "...", "，。", "\u200b"])
def test_a_query_of_nothing_is_no_query(text: str) -> None:
    """Without a word there is nothing to search for."""
    with pytest.raises(ValueError, match="holds no word"):
        read_query(text)


@given(st.text())
def test_terms_survive_both_indexes(text: str) -> None:
    """No term holds what an index would take for its own: a space, a quote, or ASCII that is no letter or digit."""
    for term in search_terms(text).split(" "):
        assert not any(character.isascii() and not character.isalnum() for character in term)
        assert not any(character.isspace() for character in term)
        assert term == term.strip()
