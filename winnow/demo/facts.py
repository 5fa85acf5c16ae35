"""What a question and its answer say about an easy-vqa image: one shape of one colour."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")

QuestionType = Literal["yes_no", "color", "shape"]


@dataclass(frozen=True, slots=True)
class Facts:
    """The colours and shapes that the answers so far leave possible."""

    colours: frozenset[str] = frozenset(COLOURS)
    shapes: frozenset[str] = frozenset(SHAPES)

    @property
    def colour(self) -> str | None:
        """The colour, if only one is left."""
        return next(iter(self.colours)) if len(self.colours) == 1 else None

    @property
    def shape(self) -> str | None:
        """The shape, if only one is left."""
        return next(iter(self.shapes)) if len(self.shapes) == 1 else None


def question_type(question: str) -> QuestionType:
    """``yes_no``, ``color`` or ``shape``, from the question's wording."""
    words = _words(question)
    if words[0] != "what":
        return "yes_no"
    return "color" if "color" in words else "shape"


def answers_of(kind: QuestionType) -> tuple[str, ...]:
    """Every answer that a question of this type can have."""
    return {"yes_no": ("yes", "no"), "color": COLOURS, "shape": SHAPES}[kind]


def facts(questions_and_answers: Iterable[tuple[str, str]]) -> Facts:
    """What the answered questions about one image prove together.

    Yes/no questions count too: 'is there a red shape?' answered 'no' rules red out, and a colour is
    known once seven of eight are ruled out. An open question says what it presumes: 'what color is
    the circle?' says that there is a circle.

    Raises:
        ValueError: the answers contradict each other.
    """
    known = Facts()
    for question, answer in questions_and_answers:
        said = [_narrow(answer)] if question_type(question) != "yes_no" else []
        named = [word for word in _words(question) if word in COLOURS or word in SHAPES]
        excluded = question_type(question) == "yes_no" and (answer == "yes") == _negated(question)
        said += [_narrow(word, excluded=excluded) for word in named]
        for fact in said:
            known = Facts(known.colours & fact.colours, known.shapes & fact.shapes)
    if not known.colours or not known.shapes:
        raise ValueError("the answers contradict each other")
    return known


def _narrow(word: str, *, excluded: bool = False) -> Facts:
    if word in COLOURS:
        return Facts(colours=frozenset(COLOURS) - {word} if excluded else frozenset({word}))
    return Facts(shapes=frozenset(SHAPES) - {word} if excluded else frozenset({word}))


def _negated(question: str) -> bool:
    return bool({"not", "no"} & set(_words(question)))


def _words(question: str) -> list[str]:
    return question.lower().rstrip("?").split()
