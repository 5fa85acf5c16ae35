"""Question rows: the originals, and what is put between them. Every injected row or change is in the truth."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from winnow.demo.defects import Shares, count
from winnow.demo.facts import answers_of, question_type
from winnow.demo.package import Question
from winnow.records import Sample, Turn

SOURCE = "easy_vqa"
NEAR_SHARE = 0.5  # of the injected groups: directly behind their originals; the others anywhere


@dataclass(frozen=True, slots=True)
class Row:
    """A row of the output and where it goes: sorted by ``place``."""

    place: tuple[int, int, int]
    own_id: str
    image: str
    text: str
    answer: str


@dataclass(frozen=True, slots=True)
class Truth:
    """One affected row: what was done to it and which row it copies, contradicts or leaks."""

    sample_id: str
    defect: str
    detail: str
    twin_id: str | None = None


def sample_id(own_id: str | int, split: str = "train") -> str:
    """The full id of a row."""
    return f"{SOURCE}/{split}/{own_id}"


def truth(own_id: str | int, defect: str, detail: Mapping[str, Any], twin_id: str | None = None) -> Truth:
    """A truth row of the train split, ``detail`` as JSON."""
    return Truth(sample_id(own_id), defect, json.dumps(detail, sort_keys=True), twin_id)


def to_sample(row: Row, split: str) -> Sample:
    """The row as a record with question and answer type in ``meta``."""
    kind = question_type(row.text)
    return Sample(
        id=sample_id(row.own_id, split),
        image=(row.image,),
        conversations=(Turn("user", row.text), Turn("assistant", row.answer)),
        answers=(row.answer,),
        source=SOURCE,
        split=split,
        meta={"question_type": kind, "answer_type": "yes/no" if kind == "yes_no" else "other"},
    )


def original(question: Question, split: str) -> Row:
    """The row of a question as the package has it."""
    image = f"images/{split}/{question.image_id}.png"
    return Row((question.number, 0, question.number), str(question.number), image, question.text, question.answer)


def other_answer(question: Question, rng: random.Random) -> str:
    """A wrong answer of the right type."""
    return rng.choice([answer for answer in answers_of(question_type(question.text)) if answer != question.answer])


def spoil_answers(
    rows: Sequence[Row], clean: Sequence[Question], shares: Shares, rng: random.Random
) -> tuple[list[Row], list[Truth]]:
    """Make some answers wrong and contradict some others by an extra row.

    Args:
        rows: the original rows.
        clean: the questions that may be touched; each gets one defect at most.
    """
    index = {row.own_id: at for at, row in enumerate(rows)}
    counts = {name: count(share, len(rows)) for name, share in shares.some("wrong_answer", "contradictory").items()}
    drawn = rng.sample(clean, sum(counts.values()))
    changed, known = list(rows), []
    for question in drawn[: counts["wrong_answer"]]:
        wrong = other_answer(question, rng)
        at = index[str(question.number)]
        changed[at] = replace(rows[at], answer=wrong)
        detail = {"right_answer": question.answer, "wrong_answer": wrong}
        known.append(truth(question.number, "wrong_answer", detail))
    for question in drawn[counts["wrong_answer"] :]:
        wrong, own_id = other_answer(question, rng), f"con-{question.number}"
        place = _places([question], len(rows), rng)[0]
        changed.append(Row(place, own_id, rows[index[str(question.number)]].image, question.text, wrong))
        detail = {"right_answer": question.answer, "wrong_answer": wrong}
        known.append(truth(question.number, "contradictory", detail, sample_id(own_id)))
        known.append(truth(own_id, "contradictory", detail, sample_id(question.number)))
    return changed, known


def repeat(questions: Sequence[Question], image: str, total: int, rng: random.Random) -> list[Row]:
    """The questions again, under ids ``dup-<number>``, about a copy of their image."""
    places = _places(questions, total, rng)
    return [
        Row(place, f"dup-{question.number}", image, question.text, question.answer)
        for place, question in zip(places, questions, strict=True)
    ]


def leak(questions: Sequence[Question], image: str, total: int, rng: random.Random) -> list[Row]:
    """Test questions as train rows, under ids ``leak-<number>``, together at a random place."""
    base = rng.randrange(total)
    return [
        Row((base, 3, question.number), f"leak-{question.number}", image, question.text, question.answer)
        for question in questions
    ]


def _places(questions: Iterable[Question], total: int, rng: random.Random) -> list[tuple[int, int, int]]:
    if rng.random() < NEAR_SHARE:
        return [(question.number, 1, question.number) for question in questions]
    base = rng.randrange(total)
    return [(base, 2, question.number) for question in questions]
