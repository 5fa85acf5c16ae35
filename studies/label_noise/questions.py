"""Labels as questions: open, multiple choice, and yes or no; the answers of one picture follow from one label."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from studies.label_noise.cifar import CLASSES, Labels

OPEN = "What is in the picture?"
KINDS = ("open", "yes_no", "choice")
_OFFERED = 4  # classes of a choice


def article(name: str) -> str:
    """``a cat``, ``an airplane``."""
    return f"{'an' if name[0] in 'aeiou' else 'a'} {name}"


def yes_no(name: str) -> str:
    """Asks for one class."""
    return f"Is there {article(name)} in the picture?"


def choice(names: Sequence[str]) -> str:
    """Asks which of several classes it is."""
    return f"Which of these is in the picture: {', '.join(names)}?"


def corpus() -> list[str]:
    """Every word that is asked or answered."""
    return [OPEN, choice(CLASSES), "yes no", *map(yes_no, CLASSES), *CLASSES]


def rows_of(
    pictures: Sequence[Path], numbers: Sequence[int], asked: Labels, right: Labels, answered: Labels, *, source: str,
    seed: int, kinds: Sequence[Sequence[str]],
) -> Iterator[dict[str, Any]]:  # fmt: skip
    """Rows in Winnow's form.

    What is asked follows from ``asked`` and the seed, what is answered from ``answered``: so a set and its corrected
    version ask the same. Half of the yes/no questions are about the class ``asked``, the others about another one. A
    choice names four classes in any order; both ``asked`` and ``right`` are among them, so that it can be answered
    rightly, and nothing in it tells the two apart.

    Args:
        pictures: relative to the image root.
        numbers: of the pictures, for ids and seeds.
        asked, right, answered: classes of the pictures: that were named, that are true, that the answers follow.
        kinds: of each picture, the forms in which it is asked.
    """
    for picture, number, label, truth, answer, forms in zip(
        pictures, numbers, asked.tolist(), right.tolist(), answered.tolist(), kinds, strict=True
    ):
        rng = np.random.default_rng([seed, int(number)])
        order = rng.permutation(len(CLASSES)).tolist()
        offered = {*[label, truth], *[at for at in order if at not in (label, truth)][: _OFFERED - len({label, truth})]}
        other = int(rng.choice([name for name in range(len(CLASSES)) if name != label]))
        about = label if rng.random() < 0.5 else other
        texts = {
            "open": (OPEN, CLASSES[answer]),
            "yes_no": (yes_no(CLASSES[about]), "yes" if about == answer else "no"),
            "choice": (choice([CLASSES[at] for at in order if at in offered]), CLASSES[answer]),
        }
        for form in forms:
            question, said = texts[form]
            yield {
                "id": f"{source}/train/{number}/{form}",
                "source": source,
                "split": "train",
                "image": str(picture),
                "conversations": [
                    {"from": "user", "value": f"<image>\n{question}"},
                    {"from": "assistant", "value": said},
                ],
                "answers": [said],
                "meta": {"question_type": form},
            }
