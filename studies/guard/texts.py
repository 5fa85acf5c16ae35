"""What the classifier learns from: public texts, phrases of this project, cases that rules were written by."""

from __future__ import annotations

import functools
import itertools
import random
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from serving.guard.trial.cases import SHIPPED, UNSEEABLE, read_cases
from studies.guard.sources import SOURCES, Text, texts_of
from winnow.strict_yaml import read_mapping

PHRASES = Path(__file__).with_name("phrases.yaml")
SEEN = ("seen.jsonl", "opened.jsonl", "third_seen.jsonl")
UNREAD = ("unseen.jsonl", "third_unseen.jsonl")
# Only measured with: harmless texts, of which two sets have the words or the form of attacks.
HELD_OUT = ("notinject", "open_assistant", "wildguard")
_SLOT = re.compile(r"\{([^{}]*)\}")
_EACH = {"en": 60}  # phrases of a line
_OTHERS_EACH = 24
# Of sets that have more than are needed: of each language.
_MOST = {"tatoeba": 350, "xgqa": 400, "vqa_rad": 800, "mgsm": 100, "sroie": 300}


def phrases(each: dict[str, int] | None = None) -> Iterator[Text]:
    """Phrases of ``phrases.yaml``: of each line so many, chosen by the line."""
    for language, kinds in read_mapping(PHRASES).items():
        most = (_EACH if each is None else each).get(language, _OTHERS_EACH)
        for kind, lines in kinds.items():
            for number, line in enumerate(lines):
                for made in _made(line, most):
                    name = f"phrases/{language}"
                    yield Text(made, kind == "attack", "phrases", language, f"{name}/{kind}/{number}")


def _made(line: str, most: int) -> list[str]:
    """Some of the phrases that a line stands for, without two that are the same."""
    slots = [slot.split("|") for slot in _SLOT.findall(line)]
    rest = _SLOT.split(line)[::2]
    chance = random.Random(line)
    total = 1
    for slot in slots:
        total *= len(slot)
    if total <= most:
        chosen: Iterable[Sequence[str]] = itertools.product(*slots)
    else:
        chosen = [[chance.choice(slot) for slot in slots] for _ in range(most)]
    found = ("".join(itertools.chain(*zip(rest, [*words, ""], strict=True))) for words in chosen)
    return list(dict.fromkeys(re.sub(" +", " ", text).strip() for text in found))


def cases(names: Sequence[str] = SEEN) -> Iterator[Text]:
    """The texts of cases that speak in a request."""
    for name in names:
        for case in read_cases([SHIPPED / name]):
            text = case.image.text if case.image else case.text
            if text is not None and not case.reply and case.kind not in (*UNSEEABLE, "split", "encoded"):
                yield Text(text, case.attack, name.removesuffix(".jsonl"), case.language, name)


def public(folder: Path) -> Iterator[Text]:
    """The public texts, of large sets a part, and without those that are only measured with."""
    for name in SOURCES:
        if name not in HELD_OUT:
            yield from sampled(texts_of(folder, name))


def sampled(texts: Sequence[Text]) -> list[Text]:
    """Of large sets so many of each language, the same ones every time."""
    most = _MOST.get(texts[0].source)
    if most is None:
        return list(texts)
    chosen: list[Text] = []
    for language in sorted({text.language for text in texts}):
        of = [text for text in texts if text.language == language]
        many = most * (6 if language == "en" else 1)
        chosen += random.Random(language).sample(of, min(many, len(of)))
    return chosen


@functools.cache
def everything(folder: Path) -> tuple[Text, ...]:
    """All that is learnt from, each text once, and none that an unread case has word for word."""
    found = itertools.chain(public(folder), phrases(), cases())
    unread = {text.text for text in cases(UNREAD)}
    return tuple({text.text: text for text in found if text.text not in unread}.values())
