"""Options of a multiple choice as lines of a prompt, and their rotations."""

from __future__ import annotations

import re
from collections.abc import Sequence

from evalsuite.reading.choice import LETTERS
from winnow.conversations import IMAGE_MARKER

_NAMED_IMAGE = re.compile(r"<image[ _]?\d+>")  # an option of MMMU that is an image


def option_lines(choices: Sequence[str]) -> str:
    """``A. first``, ``B. second`` … on a line each; an option that is an image has its marker."""
    lines = zip(LETTERS, choices, strict=False)
    return "\n".join(f"{letter}. {_NAMED_IMAGE.sub(IMAGE_MARKER, text)}" for letter, text in lines)


def without_options(question: str, choices: Sequence[str]) -> str:
    """The question without the lines of its options, if it ends with them or has them inside."""
    return question.replace(f"\n{option_lines(choices)}", "", 1)


def rotated(values: Sequence[str], by: int) -> tuple[str, ...]:
    """The values from number ``by`` on, then those before it."""
    return (*values[by:], *values[:by])


def rotated_prompt(prompt: str, choices: Sequence[str], by: int) -> str | None:
    """The prompt with its option lines in another order; None if it does not have them."""
    lines = option_lines(choices)
    return prompt.replace(lines, option_lines(rotated(choices, by)), 1) if lines in prompt else None


def rotated_images(images: Sequence[str], prompt: str, choices: Sequence[str], by: int) -> tuple[str, ...]:
    """The images in the order of their markers in the rotated prompt."""
    before, _, _ = prompt.partition(option_lines(choices))
    start, parts = before.count(IMAGE_MARKER), []
    first = start
    for choice in choices:
        count = _NAMED_IMAGE.sub(IMAGE_MARKER, choice).count(IMAGE_MARKER)
        parts.append(images[first : first + count])
        first += count
    inside = [image for part in (*parts[by:], *parts[:by]) for image in part]
    return (*images[:start], *inside, *images[first:])


def rotated_letter(letter: str, count: int, by: int) -> str:
    """The letter that an option has after its rotation."""
    return LETTERS[(LETTERS.index(letter) - by) % count]
