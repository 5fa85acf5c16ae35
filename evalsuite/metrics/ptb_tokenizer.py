"""Penn-Treebank tokens of a caption, as the COCO caption evaluation makes them, without Java.

pycocoevalcap runs Stanford's PTBTokenizer (a Java program) on every caption, lower-cases the tokens
and drops seventeen punctuation marks. This module gives the same tokens. It was written from
observed input and output of that program, not from its source: its abbreviations were found by probing it
with everything of up to five letters and 150,000 longer words, its treatment of characters outside ASCII by
probing it with each. Each caption stands alone: the original looks across line breaks, so that the last token
of a caption can depend on the first word of the next; ours are the tokens it gives when it reads one caption only.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable
from functools import lru_cache

# ---- words with rules of their own ----------------------------------------------------------------


def _listed(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# These keep their dot, however they are written.
ABBREVIATIONS = _listed("""
    adj adm adv al ala alex apr ariz assn assoc asst atty attys aug ave bancorp bhd bldg blvd brig bros calif capt
    cf cie cmdr co col colo comdr conn corp cos cpl ct dak dec dept det dr drs elec ens esq est etc ext feb fla fri
    ft ga gen gov govs hon inc ind insp intl invt jan jos jr jul jun kan kans ky lieut lt ltd maj mar md messrs mich
    minn mlle mme mo mon mont mr mrs ms msgr mt natl neb nev nov oct okla penn pfc ph plc pres prof profs pvt rd rep
    reps rev rt sen sens sep sept seq sfc sgt spc sq sr st ste supt supts sys tel tenn thu thurs treas tue tues univ
    va vs vt wed wis wisc wm wyo
""")
# These too, with one letter that must be small: "Mfg." and "MfG.", but not "MFG.".
ONE_SMALL_LETTER = r"(?i:m)[ft](?i:g)|(?i:pp?t)[ey](?i:s)?"
_WITH_SMALL_LETTER = _listed("mfg mtg ppte pptes ppty pptys pte ptes pty ptys")
# These only with a capital.
CAPITALISED = _listed("Ark Az Del Ill La Mass Miss Ore Pa Tex Wash")
# These only before a digit.
BEFORE_DIGIT = _listed("art ca fig figs no nos op pp prop")
# After a single letter with a dot, one of these opens a new sentence: the dot is a full stop.
STARTERS = _listed("""
    a about according additionally after an as at but earlier he her here however if in it last many more now once one
    other our she since so some such that the their then there these they this we what when while yet you
""")

# File names with one of these endings are one token, even when the name is a number.
FILE_ENDINGS = _listed("""
    bat bmp c class cgi cpp dll doc docx exe gif gz h htm html jar java jpeg jpg mov mp3 pdf php pl png ppt ps py sql
    tar txt wav x xml zip
""")

ANY_CASE = (str.lower, str.title, str.upper)
CAPITAL = (str.title, str.upper)


def spellings(words: Iterable[str], forms: Iterable[Callable[[str], str]]) -> str:
    """Regex alternation of the words as the given functions spell them, longest first."""
    spelled = {form(word) for word in words for form in forms}
    return "|".join(sorted(spelled, key=lambda word: (-len(word), word)))


# ---- characters outside ASCII ---------------------------------------------------------------------

CURRENCY = {"£": "#", "€": "$", "¤": "$", "₠": "$", "¢": "cents"}
FRACTIONS = {"½": "1/2", "¼": "1/4", "¾": "3/4", "⅓": "1/3", "⅔": "2/3"}
# Dashes, the ellipsis and hyphens: tokens that are dropped when they stand alone.
SILENT = frozenset("–—―…‐‑֊")
_STRAIGHT_QUOTES = str.maketrans({"‹": " ", "›": " ", "“": '"', "”": '"', "«": '"', "»": '"'})
# Single quotes that may be an apostrophe; inside a word they stay as they are.
_CURLY = frozenset("‘’‛")
# Symbols that stay as tokens of their own; all others outside ASCII become a blank.
_KEPT_SYMBOLS = re.compile(
    "[\u00a1\u00a5-\u00a9\u00ac\u00ae-\u00b4\u00b6-\u00b9\u00bf\u00d7\u00f7\u037e\u0387\u0589\u05be\u05c0\u05c3\u05c6"
    "\u05f3\u05f4\u0606-\u060c\u061b\u061e\u061f\u066a\u066d\u06d4\u0700-\u070d\u07f6-\u07f8\u0964\u0965\u0e3f\u0e4f"
    "\u1fbd\u2016\u2017\u201a\u201e-\u2023\u2030-\u2038\u203b\u203e-\u2042\u2044\u2070\u2074-\u207e\u2080-\u208e\u20a4"
    "\u2100-\u214f\u2155-\u215e\u2190-\u2bff\u3001\u3002\u3012\u30fb\uff01-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65"
    "\uffe0\uffe1\uffe5\uffe6]"
)
_SIGNS_LIKE_LETTERS = (0x0375, 0x0384, 0x0385)  # Greek; and all modifier letters
_SCRIPTS_WITHOUT_SIGNS = (0x0B00, 0x0C80, 0x0D80)  # Oriya, Kannada, Sinhala: their vowel signs become blanks


def plain(caption: str) -> str:
    """Curly double quotes as straight ones; what the original does not know becomes a blank."""
    text = caption.translate(_STRAIGHT_QUOTES)
    return "".join(character if character.isascii() else _known(character) for character in text)


@lru_cache(maxsize=1 << 14)
def _known(character: str) -> str:
    if character == "\u00ad":
        return ""
    if (
        character in FRACTIONS
        or character in CURRENCY
        or character in SILENT
        or character in _CURLY
        or _is_letter(character)
    ):
        return character
    return character if _KEPT_SYMBOLS.match(character) else " "


def _is_letter(character: str) -> bool:
    """Letters, vowel signs and digits of the scripts the original knows (Unicode 6, Basic Multilingual Plane)."""
    code, category = ord(character), unicodedata.category(character)
    if 0x02B0 <= code < 0x0300 or code in _SIGNS_LIKE_LETTERS:
        return True
    if category in ("Mn", "Mc"):
        return code < 0x0F00 and not any(first <= code < first + 0x80 for first in _SCRIPTS_WITHOUT_SIGNS)
    return code < 0x10000 and category in ("Lu", "Ll", "Lt", "Lm", "Lo", "Nd")


@lru_cache(maxsize=1)
def letter_ranges() -> str:
    """Character-class ranges of the non-ASCII letters, marks and digits of the Basic Multilingual Plane."""
    ranges: list[str] = []
    start = None
    for code in range(0x80, 0x10001):
        inside = code < 0x10000 and _is_letter(chr(code))
        if inside and start is None:
            start = code
        elif not inside and start is not None:
            ranges.append(chr(start) if start == code - 1 else f"{chr(start)}-{chr(code - 1)}")
            start = None
    return "".join(ranges)


# ---- the table of patterns ------------------------------------------------------------------------

_APOSTROPHE = "(?:['’‘‛`]|&apos;)"
TWO_WORDS = "can not|gon na|got ta|wan na|lem me|gim me"


@lru_cache(maxsize=2)
def lexer_rules(ascii_only: bool) -> tuple[re.Pattern[str], ...]:
    """The patterns that cut a caption; for non-ASCII text letters include every script the original knows.

    At every position the longest match wins, ties go to the earlier row. A row with a group consumes the
    group only: what follows the group is a condition.
    """
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
        rf"(?:(?i:{'|'.join(ABBREVIATIONS)})|{ONE_SMALL_LETTER}|{capitalised})\.|((?:[A-HJ-XZdlno]['’](?={alnum}{{2}})|[A-Z]+&|(?:{letter}{alnum}*\.)+)?{alnum}+\.)[,:;]",
        rf"((?:{spellings(BEFORE_DIGIT, ANY_CASE)})\.)\s?\d",
        rf"([A-Za-z]\.)(?!\s+(?:{spellings(STARTERS, CAPITAL)}|M[Rr]\.|{'|'.join(markup)})(?:\s|$))",
        # words
        *(rf"((?i:{first}))(?i:{second})(?![A-Za-z0-9])" for first, second in map(str.split, TWO_WORDS.split("|"))),
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


# ---- captions to tokens ---------------------------------------------------------------------------

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
    word.lower()
    for listed in (TWO_WORDS.replace(" ", "").split("|"), ABBREVIATIONS, _WITH_SMALL_LETTER, CAPITALISED, BEFORE_DIGIT)
    for word in listed
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
