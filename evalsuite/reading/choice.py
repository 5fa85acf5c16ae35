"""Which option of a multiple choice a reply names.

The strongest sign decides: an explicit statement (the last one), a letter that opens the reply, "option B is
correct", a letter that ends the reply, the text of one option. A capital letter somewhere in prose is no sign: "A
lion has a mane" names no option by its first word.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import NamedTuple

from evalsuite.reading.statement import statements
from evalsuite.reading.strip import plain_words

LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
_OPEN = r"[\s*_`\"'“‘(（\[【{<$]*"
_CLOSE = r"[\s*_`\"'”’)）\]】}>$.。,，:：;；!！?？]*"
_LEAD_IN = (
    r"(?:(?:option|choice|letter|answer|number|therefore|thus|so|hence|clearly|likely|probably|most\s+likely|definitely"
    r"|still|the|选项|選項|opción|opção|opzione|antwort|réponse|вариант)[\s:：]*[*_`\"'(（\[【]*)*"
)
_GOES_ON = (
    r"(?:because|since|as|is|was|are|has|for|which|where|due|not|and\s+not|rather|instead|with|but|so|based|would|will"
    r"|[-–—=→(（|])"
)
_ALTERNATIVE = r"\s*[)\]*_]*\s*(?:,|/|&|\bor\b|\band\b|,\s*(?:or|and)\b|或|和|、)\s*(?:option\s+)?[(（*_]*"
_NOT = re.compile(
    r"[\s*_(]*(?:not|neither|none)\b(?:\s+(?:option|choice))?\s+[(（]?[A-Z][)）]?\s*[,;]?\s*(?:but|rather|it'?s|it\s+is)"
    r"\s+(?:rather\s+)?",
)
_NEGATED = re.compile(
    r"(?:\bnot|n't|\bnever|\bno|\bneither|\bnor|\brather\s+than|\binstead\s+of|\bunlike|\bexcept|\bthan|不是|而非|非)"
    r"\s*(?:(?:a|an|the|in|at|on|be|to|of|just|any)\s+)?[\"'(]*$",
    re.IGNORECASE,
)
_BOLD_LETTER = re.compile(r"(?:\*\*|__)\s*[(（\[]?([A-Z])[)）\].:]?\s*(?:\*\*|__)")
_ARTICLE = re.compile(r"\A(?:a|an|the)\s+", re.IGNORECASE)
_EDGES = " \t\n.,;:!?*_`\"'“”‘’()[]{}$\\。，：；！？"
_CONCLUSION = re.compile(r"(?<=[.!?。])\s+|\n+")
_CONCLUDES = re.compile(
    r"\b(?:therefore|thus|so|hence|overall|conclu\w+|answer|correct|best|most|likely|must\s+be|indicat\w+|suggest\w*"
    r"|closest|match\w*)\b|因此|所以|故",
    re.IGNORECASE,
)
_SAYS = re.compile(  # what the last sentence says something is
    r"(?:\b(?:is|are|was|were|equals)|[=≈:：])\s+(?:(?:about|approximately|roughly|exactly|equal\s+to|only)\s+)?"
    r"([^=≈:：]{1,200}?)$"
)
# Every match of the pattern ``chosen`` has one of these or a capital letter that stands alone.
_CHOOSING = re.compile(
    r"correct|right|best|accurate|appropriate|suitable|closest|answer|choose|select|pick|go\s|opt|say|choice|正|对"
)
_CAPITAL = re.compile(r"(?<!\w)[A-Z](?!\w)")
_AFTER_LETTER = " \t\n\r\f\v)）*\"'.!。"
_FULL_WIDTH = {ord("Ａ") + number: letter for number, letter in enumerate(LETTERS)}
_NAMED_AT_LEAST = 3  # letters and digits of an option whose text is searched for in prose
_SHORT_LINE = 40
_FEW_WORDS = 5  # of a reply that opens with the text of an option
_OCCURRENCES = 20  # of an option's text that are looked at


class _Patterns(NamedTuple):
    alone: re.Pattern[str]
    marked: re.Pattern[str]
    spaced: re.Pattern[str]
    glued: re.Pattern[str]
    before_words: re.Pattern[str]
    lower: re.Pattern[str]
    alternative: re.Pattern[str]
    ends: re.Pattern[str]
    label_line: re.Pattern[str]
    chosen: re.Pattern[str]
    mentioned: re.Pattern[str]


@lru_cache(maxsize=32)
def _patterns(count: int) -> _Patterns:
    """Patterns for that many options, compiled once."""
    upper = f"[A-{LETTERS[count - 1]}]"
    either = f"[A-{LETTERS[count - 1]}a-{LETTERS[count - 1].lower()}]"
    judged = (
        r"(?:the\s+)?(?:only\s+|single\s+|most\s+)?(?:correct|right|best|accurate|appropriate|suitable|closest|answer)"
    )
    return _Patterns(
        alone=re.compile(rf"{_OPEN}(?:option\s*|choice\s*|选\s*)?{_OPEN}({either}){_CLOSE}", re.IGNORECASE),
        marked=re.compile(
            rf"{_OPEN}{_LEAD_IN}({upper})(?:\s*[)）\]】}}.。:：,，;；!！?？、*_`$>\\]|\s*[\"'”’](?!\w)|\s*$|\s*\n|选项|です|だ)",
            re.IGNORECASE,
        ),
        spaced=re.compile(rf"{_OPEN}(?i:{_LEAD_IN})({upper})\s+{_GOES_ON}"),
        glued=re.compile(rf"{_OPEN}({upper})(?=[(（])"),
        before_words=re.compile(rf"{_OPEN}(?i:{_LEAD_IN})({upper})(?=\s)(?:(?<![AI])|(?=\s+[^a-z\s]))"),
        lower=re.compile(rf"{_OPEN}{_LEAD_IN}({either})[*_`]*\s*(?:[)）\]】:：]|\.(?:\s|$)|$)", re.IGNORECASE),
        alternative=re.compile(rf"{_ALTERNATIVE}({upper})(?![\w'])"),
        ends=re.compile(
            r"(?:\b(?i:is|are|be|by|to|with|ist|est|es|like)|\b(?i:that|it)['’]s|[=:：])\s+(?:(?i:option|choice|point|graph|figure|image|label|diagram)\s+)?"
            rf"[(（*\"']*({upper})[)）*\"']*[.!。]?\s*$"
        ),
        label_line=re.compile(r"^[\s*_\-•]*(?:option\s+)?[(（]?([A-Z])[)）.:：][*_]*(?=\s)", re.MULTILINE),
        chosen=re.compile(
            rf"(?<![\w'])[(（]?({upper})[)）]?(?:[.:)]\s[^\n.]{{1,80}}?)?\s+(?:is|would\s+be|must\s+be|seems|appears\s+to\s+be)"
            rf"\s+(?:therefore\s+|thus\s+|clearly\s+|likely\s+|probably\s+|indeed\s+)?{judged}\b"
            r"|(?<!\w)(?:i|we)(?:\s+would|\s+will|'d|'ll)?\s+(?:choose|select|pick|go\s+with|opt\s+for|answer|say)\s+"
            rf"(?:option\s+|choice\s+|answer\s+|letter\s+)?[(（*\"']*(?-i:({upper}))(?![\w'])"
            r"|(?<!\w)(?:match(?:es|ing)?|corresponds?|corresponding|closest|aligns?|choose|choosing|select|selecting|pick"
            r"|represents?|indicates?|supports?|suggests?)\s+(?:to\s+|with\s+|best\s+|is\s+)*(?:the\s+)?(?:provided\s+)?"
            rf"(?:option|choice|answer)\s*:?\s*[(（*\"']*(?-i:({upper}))(?![\w'])"
            rf"|(?<!\w)(?:is|be|to|with)\s*:?\s+(?:option|choice)\s+[(（*\"']*(?-i:({upper}))(?![\w'])"
            r"|(?<!\w)(?:it\s+is|it's|so|thus|therefore|hence)\s*,?\s+(?:it\s+is\s+|it's\s+|the\s+|option\s+|choice\s+)*"
            rf"[(（*\"']*(?-i:({upper}))[)）]?[*\"']*(?=[.,;!]|\s*$)"
            rf"|(?-i:({upper}))\s*(?:选项|項|项)?\s*(?:是|为|為)?(?:正确|正確|对的)",
            re.IGNORECASE,
        ),
        mentioned=re.compile(rf"(?:(?<!\w)(?:[Oo]ption|[Cc]hoice)\s+[(（*\"']*|[(（])({upper})(?:[)）]|(?![\w']))"),
    )


def read_choice(text: str, options: Sequence[str], marked_up: str = "") -> str | None:
    """The letter of the option that a reply names, or None.

    Args:
        text: the reply, without thinking and special tokens.
        options: texts of the options; the first is A. Those behind Z have no letter and are left out.
        marked_up: the reply with its Markdown, where ``text`` has lost it: a letter alone in bold is a sign.
    """
    options = options[: len(LETTERS)]
    patterns = _patterns(len(options))
    if not text.isascii():
        text = text.translate(_FULL_WIDTH)
    if len(text) < 12 and (alone := patterns.alone.fullmatch(text)):
        return alone[1].upper()
    for statement in reversed(statements(text)):
        if letter := _stated(statement.content, options, patterns):
            return letter
    return (
        _opening(text, options, patterns)
        or _chosen(text, patterns)
        or _closing(text, patterns)
        or _bold(marked_up, patterns, len(options))
        or (None if _lists_options(text, patterns) else _named(text, options) or _mentioned(text, patterns))
    )


def _stated(content: str, options: Sequence[str], patterns: _Patterns) -> str | None:
    """The option that the words of a statement name."""
    if contrast := _NOT.match(content):
        content = content[contrast.end() :]
    same = _same_text(content, options)
    if same or re.match(r"[\s*_(]*(?:not|neither|none|either)\b", content, re.IGNORECASE):
        return same
    letter = _label(content, patterns)
    if letter is not None:
        return letter or None
    if spaced := patterns.spaced.match(content) or patterns.glued.match(content):
        return spaced[1].upper()
    if (before := patterns.before_words.match(content)) and not _begins_with(content, options):
        other = patterns.alternative.match(content, before.end(1))
        return None if other and other[1] != before[1] else before[1]
    return _begins_with(content, options) or _only_named(content, options) or _one(list(_mentions(content, patterns)))


def _label(text: str, patterns: _Patterns) -> str | None:
    """The letter that opens a text as a label ("B.", "(b)", "B"); '' if it is one of several."""
    found = patterns.marked.match(text)
    if found is None or (found[1].islower() and not patterns.lower.match(text)):
        return None
    other = patterns.alternative.match(text, found.end(1))
    return "" if other and other[1].upper() != found[1].upper() else found[1].upper()


def _opening(text: str, options: Sequence[str], patterns: _Patterns) -> str | None:
    """A label that opens the reply, unless the reply goes through several options line by line."""
    if same := _same_text(text, options):
        return same
    if _lists_options(text, patterns) or ("(a)" in text and "(b)" in text):
        return None
    letter = _label(text, patterns)
    if letter is not None:
        return letter or None
    if spaced := patterns.spaced.match(text):
        return None if spaced[1] in "AI" and text[spaced.end(1) :].lstrip()[:1].isalpha() else spaced[1]
    first = text.lstrip(_EDGES)[:1]
    if first and first in LETTERS[: len(options)] and _same_text(text.lstrip(_EDGES)[1:], options) == first:
        return first
    begins = _begins_with(text, options)
    if begins and (_ends_clause(text, options[LETTERS.index(begins)]) or len(text.split()) <= _FEW_WORDS):
        return begins
    return None


def _ends_clause(text: str, option: str) -> bool:
    """Whether a mark of punctuation follows the option that opens the text."""
    rest = text.lstrip(_EDGES)[len(option.strip()) :]
    return rest[:1] in ",.;:!\n—" and rest[1:2].isspace()


def _lists_options(text: str, patterns: _Patterns) -> bool:
    """Whether lines of the reply begin with several letters: the options again, or a word on each."""
    return len(set(patterns.label_line.findall(text))) > 1


def _chosen(text: str, patterns: _Patterns) -> str | None:
    last = None
    if not (_CAPITAL.search(text) or _CHOOSING.search(text.lower())):
        return None
    for last in patterns.chosen.finditer(text):  # noqa: B007
        pass
    return next(letter.upper() for letter in last.groups() if letter) if last else None


def _closing(text: str, patterns: _Patterns) -> str | None:
    """A letter alone in the last line, or at its end ("the next shape is C."), or that labels it behind a colon."""
    before, _, line = text.rstrip().rpartition("\n")
    if len(line) < _SHORT_LINE and (found := patterns.alone.fullmatch(line)):
        return found[1].upper()
    last = _CONCLUSION.split(line)[-1]
    if last.rstrip(_AFTER_LETTER)[-1:].isupper() and (ends := patterns.ends.search(last)):
        return ends[1]
    if len(last) < len(line) < _SHORT_LINE and (found := patterns.alone.fullmatch(last)) and found[1].isupper():
        return found[1]
    announced = before.rstrip().endswith((":", "："))
    return _label(line, patterns) or None if announced and patterns.label_line.match(line) else None


def _bold(marked_up: str, patterns: _Patterns, count: int) -> str | None:
    found = [letter for letter in _BOLD_LETTER.findall(marked_up) if letter in LETTERS[:count]] if marked_up else []
    return found[-1] if found else None


def _mentioned(text: str, patterns: _Patterns) -> str | None:
    """The only option that is mentioned by its letter; in a reply that mentions several, in its conclusion."""
    found = _mentions(text, patterns)
    if len(found) > 1:
        found = _mentions(_CONCLUSION.split(text.rstrip())[-1], patterns)
    return found.pop() if len(found) == 1 else None


def _mentions(text: str, patterns: _Patterns) -> set[str]:
    """Letters that a text mentions; of a list ("option A, B or C") two; a list in brackets, an aside, is left out."""
    found = set()
    for mention in patterns.mentioned.finditer(text):
        other = patterns.alternative.match(text, mention.end(1))
        if other and mention[0][0] in "(（" and mention[0][-1] not in ")）":
            continue
        found |= {mention[1], other[1]} if other else {mention[1]}
    return found


def _one(found: Sequence[str]) -> str | None:
    distinct = set(found)
    return distinct.pop() if len(distinct) == 1 else None


# ---- by the text of an option ---------------------------------------------------------------------------


def _plain(text: str) -> str:
    return _ARTICLE.sub("", " ".join(plain_words(text).lower().strip(_EDGES).split()), count=1).strip(_EDGES)


@lru_cache(maxsize=4096)
def _plain_options(options: tuple[str, ...]) -> tuple[str, ...]:
    """Options in plain words; '' for one whose text is the letter of an option: replies mean the letter."""
    letters = LETTERS[: len(options)].lower()
    return tuple("" if option in letters else option for option in map(_plain, options))


def _same_text(text: str, options: Sequence[str]) -> str | None:
    """The only option whose text this is."""
    if len(text) > max(map(len, options)) + 40:
        return None
    plain = _plain(text)
    same = [number for number, option in enumerate(_plain_options(tuple(options))) if option == plain and plain]
    return LETTERS[same[0]] if len(same) == 1 else None


def _begins_with(content: str, options: Sequence[str]) -> str | None:
    """The longest option that the words begin with."""
    plain = _plain(content[:500])
    found = [
        (len(option), number)
        for number, option in enumerate(_plain_options(tuple(options)))
        if option and plain.startswith(option) and not plain[len(option) : len(option) + 1].isalnum()
    ]
    longest = [number for length, number in found if length == max(found)[0]]
    return LETTERS[longest[0]] if len(longest) == 1 else None


def _named(text: str, options: Sequence[str]) -> str | None:
    """The only option that a reply names; in a reply that names several, the only one in its conclusion."""
    conclusion = _CONCLUSION.split(text.rstrip())[-1]
    if (found := _SAYS.search(conclusion)) and (same := _same_text(found[1], options)):
        return same
    if named := _only_named(text, options):
        return named
    named = _only_named(conclusion, options) if len(conclusion) < len(text) else None
    return named if named and _CONCLUDES.search(conclusion) else None


def _only_named(text: str, options: Sequence[str]) -> str | None:
    lowered = " ".join(text.lower().split())
    spans: list[tuple[int, int, int]] = []
    for number, option in enumerate(_plain_options(tuple(options))):
        if not option or (sum(map(str.isalnum, option)) < _NAMED_AT_LEAST and not _wide(option)):
            continue
        begin = lowered.find(option)
        for _ in range(_OCCURRENCES):
            if begin < 0:
                break
            end = begin + len(option)
            if not (_joins(lowered, begin) or _joins(lowered, end)):
                spans.append((begin, end, number))
            begin = lowered.find(option, end)
    alone = {
        number
        for begin, end, number in spans
        if not any(b <= begin and end <= e and e - b > end - begin for b, e, _ in spans)
        and not _NEGATED.search(lowered[max(0, begin - 30) : begin])
    }
    return LETTERS[alone.pop()] if len(alone) == 1 else None


def _wide(option: str) -> bool:
    """Written without blanks between words, so that two characters are a word."""
    return len(option) > 1 and not option.isascii()


def _joins(text: str, place: int) -> bool:
    """Whether the characters before and at a place belong to one word or number."""
    before, after = text[place - 1 : place] if place else "", text[place : place + 1]
    if before.isascii() and after.isascii():
        if before.isalnum() and after.isalnum():
            return True
        return (before in ".," and after.isdigit() and text[place - 2 : place - 1].isdigit()) if before else False
    return False
