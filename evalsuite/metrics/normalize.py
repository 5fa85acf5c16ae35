"""Normalisation of VQA answers before they are compared.

``official`` is the rule of the VQA challenge's evaluation code, ``evalai`` the one of the EvalAI server
(TextVQA, VizWiz, OK-VQA). Their quirks are kept, because published numbers have them.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache

from evalsuite.reading.punctuation import official_punctuation, vlmevalkit_punctuation

Normalizer = Callable[[str], str]

_NUMBER_WORDS = "zero one two three four five six seven eight nine ten"
_NUMBERS = {"none": "0", **{word: str(value) for value, word in enumerate(_NUMBER_WORDS.split())}}
_ARTICLES = frozenset(["a", "an", "the"])

# Spelled without its apostrophe, each of these gets it back …
_ONE_APOSTROPHE = """ain't aren't can't could've couldn't didn't doesn't don't hadn't hasn't haven't he'd he's how'd
    how'll how's isn't it'd it'll ma'am mightn't might've mustn't must've needn't not've o'clock oughtn't shan't
    should've shouldn't somebody'll somebody's someone'd someone'll someone's something'd something'll that's there'd
    there're there's they'd they'll they're they've 'twas wasn't we've weren't what'll what're what's what've when's
    where'd where's where've who'd who'll who's who've why'll why're why's won't would've wouldn't y'all you'd you'll
    you're you've"""
# … and each of these wherever exactly one of its apostrophes is missing.
_MORE_APOSTROPHES = """couldn't've hadn't've he'd've it'd've mightn't've 'ow's'at she'd've shouldn't've somebody'd've
    someone'd've something'd've there'd've they'd've we'd've who'd've wouldn't've y'all'll y'all'd've you'd've"""


def _contractions() -> dict[str, str]:
    table = {word.replace("'", ""): word for word in _ONE_APOSTROPHE.split()}
    for word in _MORE_APOSTROPHES.split():
        table.update({word[:i] + word[i + 1 :]: word for i, mark in enumerate(word) if mark == "'"})
    table["somebody'd"] = "somebodyd"  # the original has it this way round
    return table


_CONTRACTIONS = _contractions()


def one_line(text: str) -> str:
    """Replace line breaks and tabs by blanks and strip; the original does this first."""
    return text.replace("\n", " ").replace("\t", " ").strip()


@lru_cache(maxsize=1 << 16)
def official(answer: str) -> str:
    """The VQA challenge's rule: punctuation, number words, articles, contractions."""
    return _words(official_punctuation(one_line(answer)))


@lru_cache(maxsize=1 << 16)
def evalai(answer: str) -> str:
    """EvalAI's rule: as ``official``, after lower-casing, dropping ``,`` and ``?``, and a blank before ``'s``."""
    text = answer.lower().replace(",", "").replace("?", "").replace("'s", " 's").strip()
    return _words(official_punctuation(one_line(text)))


def vlmevalkit(answer: str) -> str:
    """VLMEvalKit's rule: as ``official``, but a dot behind a digit stays ("3." is not "3")."""
    return _words(vlmevalkit_punctuation(one_line(answer)))


def verbatim(answer: str) -> str:
    """Strip blanks at the ends, nothing else."""
    return answer.strip()


NORMALIZERS: dict[str, Normalizer] = {"official": official, "evalai": evalai, "none": verbatim}


def _words(text: str) -> str:
    words = (_NUMBERS.get(word, word) for word in text.lower().split())
    return " ".join(_CONTRACTIONS.get(word, word) for word in words if word not in _ARTICLES)
