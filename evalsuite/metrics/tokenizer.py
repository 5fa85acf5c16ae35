"""Penn-Treebank tokens of a caption, as the COCO caption evaluation makes them, without Java.

pycocoevalcap runs Stanford's PTBTokenizer (a Java program) on every caption, lower-cases the tokens
and drops seventeen punctuation marks. This module gives the same tokens. It was written from
observed input and output of that program, not from its source. Each caption stands alone: the
original looks across line breaks, so that the last token of a caption can depend on the first word
of the next; ours are the tokens it gives when it reads one caption only.

The lexer is a table of patterns. At every position the longest match wins, ties go to the earlier
row. A row with a group consumes the group only: what follows the group is a condition.
"""

from __future__ import annotations

import re
from functools import lru_cache

from evalsuite.metrics.ptb_characters import CURRENCY, FRACTIONS, SILENT, letter_ranges, plain
from evalsuite.metrics.ptb_words import (
    ABBREVIATIONS,
    ANY_CASE,
    BEFORE_DIGIT,
    CAPITAL,
    CAPITALISED,
    FILE_ENDINGS,
    STARTERS,
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
_APOSTROPHE = "(?:['’‘‛`]|&apos;)"
_CONTRACTION = re.compile("n(?:[’‘‛`]|&apos;)t|(?:’|&apos;)(?:s|m|d|ll|re|ve)")
_TWO_WORDS = "can not|gon na|got ta|wan na|lem me|gim me"


@lru_cache(maxsize=2)
def _rules(ascii_only: bool) -> tuple[re.Pattern[str], ...]:
    """The lexer's table; for non-ASCII text letters include every script the original knows."""
    letter = "[A-Za-z]" if ascii_only else f"[A-Za-z{letter_ranges()}]"
    alnum = "[A-Za-z0-9]" if ascii_only else f"[A-Za-z0-9{letter_ranges()}]"
    prefixed = rf"[A-HJ-XZdlno]{_APOSTROPHE}{alnum}{{2,}}"
    markup = (
        r"""</[A-Za-z][A-Za-z0-9_.:@-]*\s*>|<[!?][A-Za-z-][^<>]*>""",
        r"""<[A-Za-z][A-Za-z0-9_.:@-]*\s*>|<[A-Za-z][A-Za-z0-9_.:-]*(?:\s+[A-Za-z][A-Za-z0-9_.:-]*(?:\s*=\s*(?:"[^"<>]*"|'[^'<>]*'))?)*\s*/?\s*>""",
    )
    accented = "&[AEIOUaeiou](?i:acute|grave|uml);"
    dotted = rf"{letter}{alnum}*(?:\.{letter}{alnum}*)*"
    asked = rf"{dotted}(?:[!?]{dotted})+"
    initials = r"(?:[A-Za-z]\.){2,}"
    hyphened = (
        rf"(?:{prefixed}|{alnum}+(?:_{alnum}+)*)(?:-(?:{initials}|(?:{prefixed}|{alnum}+)(?:_{alnum}+)*))+",
        rf"{alnum}{alnum[:-1]}.,]*(?:-(?:{initials}|{prefixed}|{alnum}+))+",
    )
    plain_words = (
        rf"{alnum}(?:{alnum}|[_‐‑]{alnum})*",
        rf"(?={alnum}*&)(?:{alnum}|{accented})*{accented}(?:{alnum}|{accented})*(?:\.{dotted})*",
    )
    last_path = r"""[^\s"<>|.!?(){},-]"""
    path = rf"""(?:/[^\s"<>|()]+{last_path})?"""
    capitalised = "|".join(f"{word[0]}(?i:{word[1:]})" for word in CAPITALISED)
    table = [
        # markup, addresses, names
        *markup,
        rf"""(?i:https?)://[^\s"<>|()]+{last_path}""",
        rf"""(?i:www)\.(?:[^\s"<>|.!?(){{}},/]+\.)+[A-Za-z]{{2,4}}{path}""",
        rf"""(?:[A-Za-z*~+%&’][A-Za-z0-9*~+%&’]*\.)+(?:com|net|org|edu){path}""",
        r"""<?[A-Za-z0-9][^\s"<>|(){}\[\]@]*@(?:[^\s"<>|(){}.]+\.)*[^\s"<>|(){}.]+>?""",
        rf"(?:[A-Za-z0-9]+\.)+(?i:{'|'.join(FILE_ENDINGS)})(?=[\s,.!?]|$)",
        r"@[A-Za-z_][A-Za-z0-9_]*",
        rf"#{letter}+",
        # faces
        r"""[<>]?[:;=][-'o*]?[()DdPpO@|\\\[\]{](?![A-Za-z0-9])|\^_\^|-_-|'_'|\([-^x=~<>'][_.-]?[-^x=~<>']\)""",
        # numbers; the blank inside the first three stays in the token
        r"(?:\(\d{2,3}\) ?\d{3,4}[ -]\d{3,5}|(?:\d{1,4}[ -]){0,2}\d{2,4} \d{3,4}[ -]\d{3,5})(?![\w-])",
        r"\d{2,4} \d{6,9}",
        r"\d{1,4}[- ]\d{1,4}/\d{1,4}(?!\d)",
        r"[+-]?\d+(?:[.,:]\d+)*|[+-]?(?:[.,:]\d+)+",
        r"['’][0-9]0s",
        r"(['’]\d\d)(?=\s|$)",
        # words with an apostrophe
        rf"({letter}{alnum}*|\d+{alnum}*)(?:['’]|&apos;)(?i:s|m|d|ll|re|ve)(?![A-Za-z])",
        rf"([A-Za-z]*[A-MO-Za-mo-z])[Nn]{_APOSTROPHE}[Tt]",
        rf"[Nn]{_APOSTROPHE}[Tt]",
        r"((?:['’]|&apos;)(?i:s|m|d|ll|re|ve))(?![A-Za-z])",
        r"['’][Nn]['’]|['’](?i:em|till?|cause)|(['’][Nn])(?=\s|$)",
        rf"[DJLdjl]['’]|([Yy]['’])(?={alnum})|(?i:ol['’]|cap['’]n|nat'l|li'l)",
        prefixed,
        rf"{letter}+[AEIOUYaeiouy]{_APOSTROPHE}[A-Zaeiou]{letter}*|[Ee]['’]er",
        # words with hyphens, slashes, dots, marks between letters
        *hyphened,
        r"(?i:anti|pro)-",
        r"[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}(?:\\?/[A-Za-z0-9]+(?:-[A-Za-z]+){0,2}){1,2}",
        r"([Pp]h\.[Dd]\.)s(?![A-Za-z])",
        rf"{letter}{alnum}*(?:\.{letter}{alnum}*)+",
        r"[A-Za-z](?:\.[A-Za-z])+\.|[Pp]h\.[Dd]\.",
        asked,
        r"[A-Z]+(?:(?:&(?:amp;)?|\+)[A-Z]+)+",
        # abbreviations
        rf"(?:(?i:{'|'.join(ABBREVIATIONS)})|{capitalised})\.|((?:[A-HJ-XZdlno]['’](?={alnum}{{2}})|[A-Z]+&|(?:{letter}{alnum}*\.)+)?{alnum}+\.)[,:;]",
        rf"((?:{spellings(BEFORE_DIGIT, ANY_CASE)})\.)\s?\d",
        rf"([A-Za-z]\.)(?!\s+(?:{spellings(STARTERS, CAPITAL)}|M[Rr]\.|{'|'.join(markup)})(?:\s|$))",
        # words
        *(rf"((?i:{one}))(?i:{two})(?![A-Za-z0-9])" for one, two in map(str.split, _TWO_WORDS.split("|"))),
        r"('[Tt])(?i:is|was)",
        *plain_words,
        rf"(?=\S*\.[,:;])((?:{'|'.join((*hyphened, *plain_words, asked))})\.)[,:;]",
        r"[Cc]\+\+|[CcFf]#",
        r"[A-Z]+\$",
        # runs of one mark, and entities
        r"-(?i:[lr][rsc]b)-|\.\.\.|-{5,}|---?|(?:\\\*)+|\*+|_+|[!?]{2,}|@{2,}|#{2,}|<<|>>|''|``",
        r"&(?i:lt|gt|amp|quot|apos|nbsp|mdash|ndash);|&#\d+;",
    ]
    return tuple(re.compile(row) for row in table)


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
    rules = _rules(text.isascii())
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
    word.lower() for word in (*_TWO_WORDS.replace(" ", "").split("|"), *ABBREVIATIONS, *CAPITALISED, *BEFORE_DIGIT)
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
