"""The table of patterns that cuts a caption into Penn-Treebank tokens.

At every position the longest match wins, ties go to the earlier row. A row with a group consumes the
group only: what follows the group is a condition.
"""

from __future__ import annotations

import re
from functools import lru_cache

from evalsuite.metrics.ptb_characters import letter_ranges
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

_APOSTROPHE = "(?:['’‘‛`]|&apos;)"
TWO_WORDS = "can not|gon na|got ta|wan na|lem me|gim me"


@lru_cache(maxsize=2)
def lexer_rules(ascii_only: bool) -> tuple[re.Pattern[str], ...]:
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
