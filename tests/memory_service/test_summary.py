"""Summaries are made of what was said."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from memory_service.model import Compression
from memory_service.summary import MAX_SENTENCE, SENTENCES, Spoken, summarize


def test_nothing_said_is_no_summary() -> None:
    """Silence and punctuation have no summary."""
    assert summarize([]) is None
    assert summarize([Spoken("user", " ... ", 0.5)]) is None


def test_sentences_keep_their_order_and_their_speaker() -> None:
    """A short conversation is its own summary."""
    said = [Spoken("user", "I live in Paris. I love pizza!", 0.5), Spoken("assistant", "Paris has good pizza.", 0.5)]
    assert summarize(said) == "user: I live in Paris.\nuser: I love pizza!\nassistant: Paris has good pizza."


def test_what_is_talked_about_most_is_told() -> None:
    """Sentences about the matter win over small talk."""
    matter = [
        Spoken("user", f"The invoice number {number} for the boiler repair is wrong.", 0.5) for number in range(5)
    ]
    talk = [Spoken("assistant", text, 0.5) for text in ("Hello!", "Sure.", "One moment.", "Of course.", "Bye!")]
    summary = summarize([*talk, *matter])
    assert summary is not None
    assert "invoice" in summary
    assert "Bye" not in summary


def test_what_is_important_is_told() -> None:
    """Of equal sentences the more important ones are chosen."""
    said = [Spoken("user", f"Fact{number} stands alone.", 1.0 if number == 7 else 0.0) for number in range(20)]
    assert "Fact7" in (summarize(said) or "")


def test_chinese_is_taken_apart_into_sentences() -> None:
    """Chinese sentences end without a space."""
    assert summarize([Spoken("user", "我喜欢烤鸭。今天下雨！", 0.5)]) == "user: 我喜欢烤鸭。\nuser: 今天下雨！"


@given(st.lists(st.builds(Spoken, st.just("user"), st.text(max_size=2_000), st.floats(0, 1)), max_size=20))
def test_a_summary_is_short(said: list[Spoken]) -> None:
    """However much was said, few and bounded sentences come out, each of them said."""
    summary = summarize(said)
    if summary is not None:
        assert len(summary) <= SENTENCES[Compression.MEDIUM] * (MAX_SENTENCE + len("user: ") + 1)
