"""Options of a multiple choice in a prompt: shown as lines, found as benchmarks show them, and rotated."""

from __future__ import annotations

import itertools
import re
from collections.abc import Sequence

from evalsuite.reading.choice import LETTERS
from winnow.rows.conversations import IMAGE_MARKER

_NAMED_IMAGE = re.compile(r"<image[ _]?\d+>")  # an option of MMMU that is an image
_LINE, _BREAK = "{}. {}", "\n"
_FORMS = (_LINE, "({}) {}", "{}) {}", "{}: {}", "({}): {}", "{}.{}")
_BETWEEN = (_BREAK, ", ", "; ", " ")


def option_lines(choices: Sequence[str], form: str = _LINE, between: str = _BREAK) -> str:
    """``A. first``, ``B. second`` … on a line each, or in another form; an option that is an image has its marker."""
    texts = (_NAMED_IMAGE.sub(IMAGE_MARKER, text) for text in choices)
    return between.join(form.format(letter, text) for letter, text in zip(LETTERS, texts, strict=False))


def _shown(prompt: str, choices: Sequence[str]) -> tuple[str, str] | None:
    """The form in which the prompt shows the options, and what stands between them; None if it does not."""
    ways = itertools.product(_FORMS, _BETWEEN)
    return next((way for way in ways if choices and option_lines(choices, *way) in prompt), None)


def without_options(question: str, choices: Sequence[str]) -> str:
    """The question without the options that it shows."""
    way = _shown(question, choices)
    if way is None:
        return question
    before, _, after = question.partition(option_lines(choices, *way))
    return before.removesuffix("\n") + after


def rotated(values: Sequence[str], by: int) -> tuple[str, ...]:
    """The values from number ``by`` on, then those before it."""
    return (*values[by:], *values[:by])


def rotated_prompt(prompt: str, choices: Sequence[str], by: int) -> str | None:
    """The prompt with its options in another order; None if it does not show them."""
    way = _shown(prompt, choices)
    if way is None:
        return None
    return prompt.replace(option_lines(choices, *way), option_lines(rotated(choices, by), *way), 1)


def rotated_images(images: Sequence[str], prompt: str, choices: Sequence[str], by: int) -> tuple[str, ...]:
    """The images in the order of their markers in the rotated prompt."""
    before, _, _ = prompt.partition(option_lines(choices, *(_shown(prompt, choices) or ())))
    first = before.count(IMAGE_MARKER)
    start, parts = first, []
    for choice in choices:
        count = _NAMED_IMAGE.sub(IMAGE_MARKER, choice).count(IMAGE_MARKER)
        parts.append(images[first : first + count])
        first += count
    inside = [image for part in (*parts[by:], *parts[:by]) for image in part]
    return (*images[:start], *inside, *images[first:])


def rotated_letter(letter: str, count: int, by: int) -> str:
    """The letter that an option has after its rotation."""
    return LETTERS[(LETTERS.index(letter) - by) % count]
