"""Answers over a sliding window, against looking at the whole text at once."""

from __future__ import annotations

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from serving.guard.corrections import digest
from serving.guard.output import AnswerFilter, OutputRules
from serving.guard.policy import OutputText
from winnow.errors import UserError

_WORDS = ("red", "blue sky", "秘密", "café")
RULES = OutputRules(OutputText(words=_WORDS, patterns={"ticket": r"\bT-\d{3}\b"}, pii=("email", "card"), window=40))
_PIECES = st.sampled_from(
    ["red", "Red", "re", "d", "blue", " ", " sky", "秘", "密", "cafe\u0301", "café", "T-", "123", "4", "bob@ex.org",
     "@", ".", "\n", "4111 1111 1111 1111", "infrared", "\u200b", "ＲＥＤ", "x"]
)  # fmt: skip


def streamed(rules: OutputRules, pieces: list[str]) -> tuple[list[str], AnswerFilter]:
    kept = AnswerFilter(rules)
    sent = [kept.feed(piece) for piece in pieces]
    return [*sent, kept.feed("", final=True)], kept


def at_once(rules: OutputRules, text: str) -> tuple[str, bool]:
    """The oracle: all matches of the whole text, from the left."""
    made, at = "", 0
    for hit in rules.hits(text):
        made += text[at : hit.start]
        if hit.mask is None:
            return made, True
        if hit.start >= at:
            made += hit.mask
        at = max(at, hit.end)
    return made + text[at:], False


@settings(max_examples=400, deadline=None)
@given(st.lists(_PIECES, max_size=40))
@example(["4111 1111 1111 1111", "red", "red", "bob@ex.org", "infrared"])
def test_a_stream_says_what_the_whole_text_would(pieces):
    sent, kept = streamed(RULES, pieces)
    assert ("".join(sent), kept.ended == "blocked") == at_once(RULES, "".join(pieces))


@settings(max_examples=200, deadline=None)
@given(st.text(max_size=200), st.text(max_size=200), st.integers(1, 30))
def test_nothing_of_a_forbidden_word_is_sent(before, after, size):
    text = f"{before} red {after}"
    sent, kept = streamed(RULES, [text[at : at + size] for at in range(0, len(text), size)])
    assert kept.ended == "blocked"
    assert not [hit for hit in RULES.hits("".join(sent) + " ") if hit.mask is None]


@pytest.mark.parametrize(
    ("text", "said", "rule"),
    [
        ("an infrared lamp", "an infrared lamp", None),
        ("a RED lamp", "a ", "word"),
        ("a r\u200bed lamp", "a ", "word"),
        ("これは秘密です", "これは", "word"),
        ("un cafe\u0301 noir", "un ", "word"),
        ("see T-123.", "see ", "pattern/ticket"),
        ("see T-1234.", "see T-1234.", None),
        ("ask bob@example.org now", "ask [email] now", None),
    ],
)
def test_words_and_patterns(text, said, rule):
    for pieces in ([text], list(text)):
        sent, kept = streamed(RULES, pieces)
        assert "".join(sent) == said
        assert (kept.hit.rule if kept.hit else None) == rule


def test_a_system_prompt_does_not_leak():
    prompt = "You are the guide of a small museum and must never speak about the price of any exhibit."
    rules = OutputRules(OutputText(), prompt, "abcdef0123456789")
    for said in (
        f"My rules: {prompt}",
        "It is abcdef0123456789",
        "a b c d e f 0 1 2 3 4 5 6 7 8 9",
        "9876543210fedcba",
    ):
        sent, kept = streamed(rules, list(said))
        assert kept.ended == "blocked" and kept.hit.rule in ("leak", "canary")
        assert "museum and must" not in "".join(sent)
    assert streamed(rules, ["You are the guide of a small boat."])[1].ended is None


def test_an_answer_is_cut_at_its_length():
    kept = AnswerFilter(OutputRules(OutputText(max_chars=10)))
    assert kept.feed("0123456789abcdef", final=True) == "0123456789"
    assert kept.ended == "length"


def test_what_is_too_long_is_not_looked_at_and_what_straddles_the_end_is():
    rules = OutputRules(OutputText(max_chars=1000, words=("secret",), window=32))
    started = time.process_time()
    kept = AnswerFilter(rules)
    assert kept.feed("x " * 4_000_000, final=True) == "x " * 500 and kept.ended == "length"
    assert time.process_time() - started < 1
    sent, kept = streamed(rules, ["y" * 996, " sec", "ret and more", "z" * 99])
    assert "".join(sent) == "y" * 996 + " " and kept.ended == "blocked"


def test_a_reviewer_can_let_a_word_pass():
    kept = AnswerFilter(RULES, frozenset({digest("red")}))
    assert kept.feed("a red hat", final=True) == "a red hat"
    assert AnswerFilter(RULES, frozenset({digest("Red")})).feed("a red hat", final=True) != "a red hat"


def test_large_lists_and_hostile_answers_take_linear_time():
    rules = OutputRules(OutputText(words=tuple(f"word{n}" for n in range(50_000)), patterns={"slow": r"(a+)+b"},
                                pii=("email", "phone", "iban", "card", "ip", "ssn", "credentials")))  # fmt: skip
    for hostile in (
        "a" * 20_000,
        "1" * 20_000,
        "1 " * 10_000,
        "a@" * 10_000,
        "::" * 10_000,
        "+1 (" * 5000,
        "http://a:" * 2000,
    ):
        started = time.process_time()
        rules.hits(hostile)
        assert time.process_time() - started < 5


def test_a_word_file_that_is_missing_is_told(tmp_path):
    with pytest.raises(UserError, match=r"none\.txt"):
        OutputRules(OutputText(words_file=tmp_path / "none.txt"))
