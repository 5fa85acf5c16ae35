"""Injected instructions, found by what they are made of in many languages.

The words are in ``languages.yaml``. RE2 searches in linear time, whatever the text. Text read off an image, and text in
which words are misspelt, is looked at again after words one or two letters away from a rule's own word were put right.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass

from rapidfuzz.distance import OSA

from serving.guard.alike import alike
from serving.guard.mention import is_mention, is_on_picture, is_question
from serving.guard.normalise import folded, mirrored, plain, unfolded
from serving.guard.rules import KINDS, forged_turns, image_rules, rules, unspaced_rules, words_by_language
from serving.guard.views import spaced, squeezed


@dataclass(frozen=True)
class Found:
    """An injected instruction.

    Attributes:
        kind: one of ``KINDS``, or ``wording``.
        rule: kind, language and view, e.g. ``override/de`` or ``override/en (folded)``.
        text: what matched: words, separated by single spaces; '' if it was the wording as a whole.
        score: the probability by the classifier of wording, None if a rule matched.
    """

    kind: str
    rule: str
    text: str
    score: float | None = None


_MOST_EXCUSED = 20  # mentions of different instructions in a text


def find(text: str, *, read_off_image: bool = False, kinds: frozenset[str] = frozenset(KINDS)) -> Found | None:
    """The first injected instruction of a text, or None.

    Args:
        text: of any length; only the first ``LONGEST_VIEW`` characters are looked at.
        read_off_image: by OCR: letters may be wrong and spaces missing, and nothing is excused as a quotation.
        kinds: that are looked for.
    """
    return look(text, read_off_image=read_off_image, kinds=kinds)[0]


def look(
    text: str, *, read_off_image: bool = False, kinds: frozenset[str] = frozenset(KINDS)
) -> tuple[Found | None, list[str]]:
    """What ``find`` finds, and what matched before it but is only spoken about or asked for, as ``Found.text``."""
    seen = plain(text)
    excused: set[str] = set()
    texts: list[str] = []
    for name, view in _views(text, seen, read_off_image=read_off_image):
        for hit in _hits(name, view, read_off_image=read_off_image):
            if hit.kind not in kinds:
                continue
            # Each excuse costs a search of the whole text, so there are few of them.
            may_be = name == "plain" and not read_off_image and len(excused) < _MOST_EXCUSED
            if squeezed(hit.text) in excused:
                continue
            if may_be and _is_excused(seen, hit):
                excused.add(squeezed(hit.text))
                texts.append(hit.text)
            else:
                return hit, texts
    phrase = alike(folded(seen)) if read_off_image and "override" in kinds else None
    return Found("override", "override/any (alike)", phrase) if phrase else None, texts


def _is_excused(seen: str, hit: Found) -> bool:
    """Whether somebody speaks about it, or asks how to do it on a device, say."""
    if hit.kind == "reveal":
        return is_mention(seen, hit.text) or is_on_picture(seen, hit.text)
    return is_mention(seen, hit.text) or (hit.kind != "forged_turn" and is_question(seen, hit.text))


def _hits(name: str, view: str, *, read_off_image: bool) -> Iterator[Found]:
    words = spaced(view)
    letters = squeezed(words)
    searches = [(rules(spaceless=False), words), (rules(spaceless=True), letters), (forged_turns(), view)]
    if read_off_image:
        searches.append((image_rules(), words))
    if name in ("joined", "ocr"):
        searches.append((unspaced_rules(), letters))
    for search, of in searches:
        for rule, hit in search.search(of):
            shown = f"{rule.kind}/{rule.language}" + (f" ({name})" if name != "plain" else "")
            yield Found(rule.kind, shown, hit.strip(" ."))


def _views(text: str, seen: str, *, read_off_image: bool) -> Iterator[tuple[str, str]]:
    """Names and views, none twice but the one that is searched without spaces."""
    yield "plain", seen
    known = {seen}
    imitated = folded(seen)
    for name, view in (
        ("joined", _only_spaced(seen)),
        ("joined", _RUN.sub(lambda run: re.sub(r"[\W_]", "", run[0]), seen)),
        ("folded", imitated),
        ("typos", respelt(imitated)),
    ):
        if view.strip(" .") and view not in known:
            known.add(view)
            yield name, view
    if read_off_image:
        yield "ocr", respelt(imitated)
    if _IN_PARTS.search(seen):
        yield "parts", _LABELS.sub(" ", seen)
        yield "parts", "".join(_QUOTED.findall(seen))
    for piece in unfolded(text):
        yield "unfolded", plain(piece)
        yield "unfolded", folded(plain(piece))
    for view in mirrored(seen):
        yield "mirrored", view


_RUN = re.compile(r"(?<!\w)\w(?:[^\w\n]{1,3}\w){5,}(?!\w)")


_LONG = re.compile(r"[^\W\d_]{18,}")


def _only_spaced(seen: str) -> str:
    """The letters of words with something between all letters, and words that are several with nothing between."""
    long = _LONG.findall(folded(seen))
    return " ".join(long) + " . " + " ".join(re.sub(r"[^\w]|_", "", run) for run in _RUN.findall(folded_letters(seen)))


def folded_letters(seen: str) -> str:
    """The folded text before spaced words are joined: letter by letter, so that a run keeps its gaps."""
    return "".join(folded(sign) if sign.isalnum() else sign for sign in seen) if not seen.isascii() else seen


_IN_PARTS = re.compile(
    r"\b(part|piece|fragment|variable|concat\w*|combine|join|append|merge|teil)\b|\b\w{1,8}\s?=\s?[\"']|[\"']\s?\+"
)
_LABELS = re.compile(
    r"\b(part|piece|fragment|step|teil|line|message|string|word) ?(one|two|three|four|\d{1,2}|[a-d])?\s?(is|=|:|-)+"
    r"|\b\w{1,8}\s?=|[\"'+.;:()]"
)
_QUOTED = re.compile(r"[\"']([^\"'\n]{1,200})[\"']")


def _vocabulary() -> dict[int, list[str]]:
    """Length → words of Latin letters of the rules, of five letters and more."""
    found: set[str] = set()
    for words in words_by_language().values():
        for value in words.values():
            if isinstance(value, str):
                found |= set(re.findall(r"[a-z]{5,}(?!\*)\b", plain(value)))
    by_length: dict[int, list[str]] = {}
    for word in sorted(found | {"previous", "instructions", "ignore", "system", "prompt", "reveal"}):
        by_length.setdefault(len(word), []).append(word)
    return by_length


_words = functools.cache(_vocabulary)


@functools.lru_cache(maxsize=50_000)
def _respelt(word: str) -> str:
    if len(word) < 5 or not word.isascii():
        return word
    most = 1 if len(word) < 8 else 2
    near: tuple[int, str] | None = None
    for length in range(len(word) - most, len(word) + most + 1):
        for known in _words().get(length, ()):
            distance = OSA.distance(word, known, score_cutoff=most)
            if distance <= most and (near is None or distance < near[0]):
                near = (distance, known)
    if near is not None:
        return near[1]
    same = (known for known in _words().get(len(word), ()) if _is_shuffled(word, known))
    return next(same, word)


def _is_shuffled(word: str, known: str) -> bool:
    """Whether only letters inside changed places."""
    return len(word) > 5 and word[0] == known[0] and word[-1] == known[-1] and sorted(word) == sorted(known)


_WORD = re.compile(r"[^\W\d_]+")
_MOST_WORDS = 4000


def respelt(view: str) -> str:
    """A folded text whose misspelt words are those of the rules they are nearest to."""
    if view.count(" ") > _MOST_WORDS:
        view = " ".join(view.split(" ", _MOST_WORDS)[:_MOST_WORDS])
    return _WORD.sub(lambda found: _respelt(found[0]), view)


def load() -> None:
    """Compile every rule now, and not with the first request."""
    find("warm", read_off_image=True)
