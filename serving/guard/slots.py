"""Which words of the rules stand together in a sentence, whatever their order and what is between them.

A rule wants its words in an order and near each other. Here only is seen that they are there, for what was learnt from
examples to weigh: the names are the same in every language.
"""

from __future__ import annotations

import functools

import re2

from serving.guard.rules import words_by_language, words_pattern
from serving.guard.views import spaced, squeezed

SINGLE = (
    "told", "void", "obey", "limits", "unbound", "asked", "free", "secretly", "whole", "ignore", "prompt",
    "instructions", "reveal",
)  # fmt: skip
PAIRS = (
    ("ignore", "instructions"), ("ignore", "prompt"), ("ignore", "told"), ("ignore", "limits"), ("reveal", "prompt"),
    ("reveal", "instructions"), ("reveal", "told"), ("instructions", "void"), ("told", "void"),
    ("which", "instructions"),
)  # fmt: skip
SLOTS = (*SINGLE, *("+".join(pair) for pair in PAIRS))
_SHORTEST = 32  # characters of a sentence; a shorter one is taken with the next
_MEMORY = 256 << 20


@functools.cache
def _search(*, letters_only: bool) -> tuple[re2.Set, tuple[tuple[str, str], ...]]:
    """Every word of the languages with or without spaces, and the language and name of each."""
    options = re2.Options()
    options.max_mem, options.log_errors = _MEMORY, False
    search = re2.Set.SearchSet(options)
    names = []
    for language, words in words_by_language().items():
        if ("spaceless" in words) == letters_only:
            for name in {*SINGLE, "which"} & words.keys():
                search.Add(words_pattern(words[name], letters_only=letters_only))
                names.append((language, name))
    search.Compile()
    return search, tuple(names)


def slots_of(seen: str) -> frozenset[str]:
    """Those of ``SLOTS`` that a plain text has in one sentence and one language."""
    found: set[str] = set()
    for sentence in _sentences(spaced(seen)):
        held: dict[str, set[str]] = {}
        for letters_only, view in ((False, sentence), (True, squeezed(sentence))):
            search, names = _search(letters_only=letters_only)
            for number in search.Match(view) or ():
                language, name = names[number]
                held.setdefault(language, set()).add(name)
        for names_held in held.values():
            found |= names_held
            found |= {"+".join(pair) for pair in PAIRS if names_held.issuperset(pair)}
    return frozenset(found) & frozenset(SLOTS)


def _sentences(words: str) -> list[str]:
    """Sentences of a spaced text, each with a space before and after it."""
    found: list[str] = []
    short = ""
    for sentence in words.split(" . "):
        short += f" {sentence.strip()} "
        if len(short) >= _SHORTEST:
            found.append(short)
            short = ""
    return [*found, short] if short.strip() else found
