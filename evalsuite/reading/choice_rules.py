"""Rules that read a multiple choice: Winnow's own, and those of benchmarks and tools as their code has them."""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Sequence
from typing import Literal, get_args

from evalsuite.reading.choice import LETTERS, read_choice
from evalsuite.reading.strip import plain_words, without_special_tokens, without_thinking
from winnow.errors import UserError

ChoiceVariant = Literal[
    "lenient", "mmmu", "mmmu-official", "mmmu-pro", "mmmu-pro-official", "scienceqa", "lmms-eval", "vlmevalkit"
]
CHOICE_VARIANTS: tuple[ChoiceVariant, ...] = get_args(ChoiceVariant)
Options = dict[str, str]  # letter → text
_DRAWING = ("mmmu-official", "mmmu-pro-official", "lmms-eval")
_ENDS = ",.!?;:'"
_FEW_WORDS = 5  # up to this length a reply is not searched for the text of an option
_THE_ANSWER_IS = re.compile(r"The answer is ([A-Z]).")
_VLMEVALKIT_ANSWER = re.compile(r"(?i)(?:correct\s+)?answer\s+is\s+\**([ABCD])\**")
_VLMEVALKIT_REFUSALS = (
    "Sorry, I can't help with images of people yet.", "I can't process this file.",
    "I'm sorry, but without the image provided", "Cannot determine the answer", "Failed to obtain answer via API",
)  # fmt: skip


def parse_choice(text: str, choices: Sequence[str], *, variant: ChoiceVariant = "lenient", key: str = "") -> str | None:
    """The letter of the option that a reply names, or None.

    Args:
        choices: texts of the options; the first is A.
        variant: ``lenient`` is Winnow's own reader (``evalsuite.reading.choice``), behind thinking, special
            tokens and Markdown. The others read the reply as it is. ``mmmu`` follows MMMU's evaluation code:
            ``(A)``, else `` A ``, else, in replies of more than five words, an option's text; of several the one
            named last. ``mmmu-pro`` is MMMU-Pro's: first the only letter behind the last ``Answer:``, then MMMU's
            rule, which there, as in ``lmms-eval``, also takes ``B `` and ``B.`` inside words ("FAILED after" is
            D). ``mmmu-official``, ``mmmu-pro-official`` and ``lmms-eval`` draw at random where nothing is named, as
            the originals do, here seeded by ``key``. ``scienceqa`` takes the letter alone, ``B. …``, or a single
            ``The answer is B.``; ``vlmevalkit`` is its rule before a judge is asked: the only letter that
            stands alone among the last words, else the only option whose text occurs.
        key: the sample's id.

    Raises:
        UserError: no choice, more than 26, or an unknown variant.
    """
    if variant not in CHOICE_VARIANTS:
        raise UserError(f"unknown variant {variant!r}; known: {', '.join(CHOICE_VARIANTS)}")
    if isinstance(choices, str) or not choices:
        raise UserError("choices must be a non-empty list of texts")
    if len(choices) > len(LETTERS):
        raise UserError(f"{len(choices)} choices; letters name at most {len(LETTERS)}")
    if variant == "lenient":
        marked_up = without_special_tokens(without_thinking(text)).strip()
        return read_choice(plain_words(marked_up), choices, marked_up)
    options = dict(zip(LETTERS, choices, strict=False))
    found = _RULES[variant](text, options)
    return random.Random(key).choice(list(options)) if found is None and variant in _DRAWING else found


def _mmmu(reply: str, options: Options) -> str | None:
    text = _padded(reply)
    for spelling in ("({})", " {} "):
        places = {letter: text.rfind(spelling.format(letter)) for letter in options}
        if max(places.values()) >= 0:
            return max(places, key=lambda letter: places[letter])
    if len(text.split()) <= _FEW_WORDS:
        return None
    places = {letter: text.lower().rfind(option.lower()) for letter, option in options.items()}
    return max(places, key=lambda letter: places[letter]) if max(places.values()) >= 0 else None


def _padded(reply: str) -> str:
    for mark in _ENDS:
        reply = reply.strip(mark)
    return f" {reply} "


def _lmms_eval(reply: str, options: Options) -> str | None:
    text = _padded(reply)
    if not any(f"({letter})" in text for letter in options):
        for spelling in ("{} ", "{}."):
            named = [letter for letter in options if spelling.format(letter) in text]
            if named:
                return max(named, key=lambda letter: text.rfind(f" {letter} "))
    return _mmmu(reply, options)


def _mmmu_pro(reply: str, options: Options) -> str | None:
    _, stated, behind = reply.rpartition("Answer:")
    named = [letter for letter in options if letter in behind.strip()] if stated else []
    return named[0] if len(named) == 1 else _lmms_eval(reply, options)


def _scienceqa(reply: str, options: Options) -> str | None:
    text = reply.strip()
    if text and text[0] in options and (len(text) == 1 or text[1:3] == ". "):
        return text[0]
    named = _THE_ANSWER_IS.findall(text)
    return named[0] if len(named) == 1 and named[0] in options else None


def _vlmevalkit(reply: str, options: Options) -> str | None:
    if any(refusal in reply for refusal in _VLMEVALKIT_REFUSALS):
        return None
    words = reply.translate(dict.fromkeys(map(ord, ".()[],:;!*#{}"), " ")).split()
    named = [letter for letter in options if letter in words]
    if len(named) == 1 and words.index(named[0]) > len(words) - 5:
        return named[0]
    stated = _VLMEVALKIT_ANSWER.search(reply)
    if stated and stated[1].upper() in options:
        return stated[1].upper()
    lowered = reply.lower()
    if len(lowered) > 2 * sum(map(len, options.values())):
        return None
    found = [letter for letter, option in options.items() if option.lower() in lowered]
    return found[0] if len(found) == 1 else None


_RULES: dict[str, Callable[[str, Options], str | None]] = {
    "mmmu": _mmmu, "mmmu-official": _mmmu, "mmmu-pro": _mmmu_pro, "mmmu-pro-official": _mmmu_pro,
    "scienceqa": _scienceqa, "lmms-eval": _lmms_eval, "vlmevalkit": _vlmevalkit,
}  # fmt: skip
