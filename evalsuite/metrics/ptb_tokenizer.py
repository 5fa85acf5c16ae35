"""Penn-Treebank tokens of a caption, as the COCO caption evaluation makes them, without Java.

pycocoevalcap runs Stanford's PTBTokenizer (a Java program) on every caption, lower-cases the tokens
and drops seventeen punctuation marks. This module gives the same tokens. It was written from
observed input and output of that program, not from its source. Each caption stands alone: the
original looks across line breaks, so that the last token of a caption can depend on the first word
of the next; ours are the tokens it gives when it reads one caption only.
"""

from __future__ import annotations

import re
from functools import lru_cache

from evalsuite.metrics.ptb_characters import CURRENCY, FRACTIONS, SILENT, plain
from evalsuite.metrics.ptb_rules import TWO_WORDS, lexer_rules
from evalsuite.metrics.ptb_words import (
    ABBREVIATIONS,
    ANY_CASE,
    BEFORE_DIGIT,
    CAPITALISED,
    spellings,
)

# Dropped when a token equals one of them. Brackets are not dropped: they are "-lrb-" by then.
DROPPED = frozenset(
    ["''", "'", "``", "`", "-LRB-", "-RRB-", "-LCB-", "-RCB-", ".", "?", "!", ",", ":", "-", "--", "...", ";"]
)
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_QUOTES = dict.fromkeys("\"'`‘’‛", "''")
# How a token of one character is written; all of ``_QUOTES`` are dropped in the end.
_ALONE = {**_BRACKETS, **_QUOTES, **CURRENCY, **FRACTIONS}
_ENTITIES = {"lt": "<", "gt": ">", "amp": "&", "quot": "''", "apos": "'", "nbsp": "", "mdash": "--", "ndash": "--"}
_CONTRACTION = re.compile("n(?:[’‘‛`]|&apos;)t|(?:’|&apos;)(?:s|m|d|ll|re|ve)")


# What can only be decided by looking over a blank; every other token lies within one run of non-blanks.
_BLANK = re.compile(r"\s")
_NUMBERS_APART = re.compile(r"[0-9]\)? [0-9]")
_DOT_THEN_BLANK = re.compile(
    rf"(?<![^\W\d]|')[A-Za-z]\. |(?<!\w)(?:{spellings(BEFORE_DIGIT, ANY_CASE)})\. [0-9]|<[^<>]* [^<>]*>"
)


def ptb_tokenize(caption: str) -> list[str]:
    """Lower-case PTB tokens of one caption without punctuation; ``[]`` for a blank one.

    A token may hold a no-break space (``"3\u00a01/2"``): BLEU and CIDEr count its parts as words,
    ROUGE-L counts one word, as in the original.
    """
    return list(_tokens_of_caption(caption))


def words(caption: str) -> list[str]:
    """The words BLEU and CIDEr count: tokens, split where they hold a no-break space."""
    tokens = _tokens_of_caption(caption)
    return " ".join(tokens).split() if "\u00a0" in "".join(tokens) else list(tokens)


# BLEU, ROUGE-L and CIDEr of one task read the same captions.
@lru_cache(maxsize=1 << 16)
def _tokens_of_caption(caption: str) -> tuple[str, ...]:
    if not caption.isprintable():
        caption = _BLANK.sub(" ", caption)
    if not caption.isascii():
        caption = plain(caption)
    if _reaches_over_blanks(caption):
        return _tokens_of(caption)
    tokens: list[str] = []
    for chunk in caption.split(" "):
        tokens += _cached_tokens(chunk)
    return tuple(tokens)


def _reaches_over_blanks(caption: str) -> bool:
    if (". " in caption or "<" in caption) and _DOT_THEN_BLANK.search(caption):
        return True
    return _NUMBERS_APART.search(caption) is not None


def _tokens_of(text: str) -> tuple[str, ...]:
    rules = lexer_rules(text.isascii())
    tokens: list[str] = []
    position = 0
    while position < len(text):
        if text[position] == " ":
            position += 1
            continue
        token, position = _next_token(text, position, rules)
        tokens += _written(token)
    return tuple(token for token in tokens if token not in DROPPED)


# A word of letters, perhaps with a mark behind it, needs no lexer unless it is one of these.
_PLAIN_WORD = re.compile(r"([A-Za-z]+)[,!?]?|([A-Za-z]{2,})\.")
_TREATED_APART = frozenset(
    word.lower() for word in (*TWO_WORDS.replace(" ", "").split("|"), *ABBREVIATIONS, *CAPITALISED, *BEFORE_DIGIT)
)


# Captions share most of their words, so most chunks are looked up.
@lru_cache(maxsize=1 << 17)
def _cached_tokens(chunk: str) -> tuple[str, ...]:
    if found := _PLAIN_WORD.fullmatch(chunk):
        word = (found[1] or found[2]).lower()
        if word not in _TREATED_APART:
            return (word,)
    return _tokens_of(chunk)


def _next_token(text: str, position: int, rules: tuple[re.Pattern[str], ...]) -> tuple[str, int]:
    reach, end = position, position + 1
    for rule in rules:
        match = rule.match(text, position)
        if match and match.end() > reach:
            reach = match.end()
            end = match.end(match.lastindex) if match.lastindex else reach
    return text[position:end], end


def _written(token: str) -> list[str]:
    """How the original writes a token: brackets by name, currency, contractions in two, lower case."""
    lower = token.lower()
    if token in SILENT:
        return []
    if len(token) == 1:
        return [_ALONE.get(token, lower)]
    if _CONTRACTION.fullmatch(lower):
        return [_straight(lower)]
    if token[0] == "&" and (entity := _ENTITIES.get(lower.strip("&;"))) is not None:
        return [entity] if entity else []
    if token[0] == "(" or (token[0] in "<>:;=" and token[-1] != ">"):
        lower = lower.replace("(", "-lrb-").replace(")", "-rrb-")
    if token in ("---", "----"):
        return ["--"]
    lower = lower.replace(" ", "\u00a0")
    return [lower if token[0] == "<" else lower.replace("&amp;", "&")]


def _straight(contraction: str) -> str:
    """Curly apostrophes of contractions become straight; all other words keep theirs."""
    return contraction.replace("&apos;", "'").replace("’", "'").replace("‘", "`").replace("‛", "`")
