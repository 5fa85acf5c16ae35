"""Captions that are hard to tokenise, and caption sets to score."""

from __future__ import annotations

import random
from pathlib import Path

# Whole captions: contractions, possessives, abbreviations, numbers, brackets, scripts, blanks.
HARD = [
    "A man's dog isn't (here), is it?",
    "in the sun. at noon a.m. e.g. the U.S. is",
    "The U.S. The u.s.a. was here",
    "3 1/2 cups and (555) 123-4567 and 1/2-inch",
    "two men on St. Louis St. at 5 p.m. w/ a T-shirt",
    "plan B. The dog",
    "letter p. on a sign",
    "sign reads no. 5 and no. five",
    "boys' bikes in the '90s, class of '07",
    "rock 'n' roll, rock'n'roll",
    "a black-and-white photo -- of a 3-year-old",
    "R&B and AT&T but rock&roll &amp; &lt;b&gt;",
    "the (man) [on] {top} costs $5.00, 50% off",
    "café 日本語 £5 €3 ½ cup … “quoted” ‘text’",
    "smile :) and :( and ;-) !!! ?? ?!",
    "cannot gonna gotta 'tis 'twas won't can't",
    "see foo.com and www.foo.com/ab, mail a.b@foo.com. @user #tag",
    "wait... what . . . ....",
    "",
    " ",
    ".",
    "!!!",
    "a\u00a0b\u3000c\td",
    "emoji 😀 gone ❤️ kept",
    "x\u00ady soft hyphen",
]

# Lines of short pieces; each piece is tried again between two words.
LINES = Path(__file__).with_name("hard_lines.txt").read_text(encoding="utf-8").splitlines()

_WORDS = str.split(
    "a the man woman dog cat two three is on in with of red blue t-shirt man's isn't standing, sitting holding "
    'table. "stop" (left) & 5 p.m. street St. next to large small black-and-white 1/2 50% hat'
)
_ENDS = (".", " .", "", "!", " ?")


def caption_set(rng: random.Random) -> tuple[dict[str, str], dict[str, list[str]]]:
    """Predictions and references of 120 images: few words, many repetitions, some empty or equal captions."""
    predictions: dict[str, str] = {}
    references: dict[str, list[str]] = {}
    for number in range(120):
        base = [rng.choice(_WORDS) for _ in range(rng.randint(1, 14))]

        def variant(base: list[str] = base) -> str:
            words = [word if rng.random() < 0.7 else rng.choice(_WORDS) for word in base]
            return " ".join(words[: rng.randint(1, len(words))]) + rng.choice(_ENDS)

        predictions[f"image {number}"] = "" if number % 17 == 3 else variant()
        references[f"image {number}"] = [variant() for _ in range(rng.choice((1, 2, 5)))]
    return predictions, references
