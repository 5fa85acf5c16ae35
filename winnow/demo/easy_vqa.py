"""easy-vqa as its package carries it, and what its questions say about an image.

Every image (64 × 64 PNG) shows one shape of one colour.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from winnow.errors import UserError
from winnow.files import sha256_file

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
    known once seven of eight are ruled out. An open question counts with what it presumes: 'what color
    is the circle?' means that there is a circle.

    Raises:
        ValueError: the answers contradict each other.
    """
    known = Facts()
    for question, answer in questions_and_answers:
        found = [_narrow(answer)] if question_type(question) != "yes_no" else []
        named = [word for word in _words(question) if word in COLOURS or word in SHAPES]
        excluded = question_type(question) == "yes_no" and (answer == "yes") == _negated(question)
        found += [_narrow(word, excluded=excluded) for word in named]
        for fact in found:
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


@dataclass(frozen=True, slots=True)
class Question:
    """One question; ``number`` is its place in the package's own list."""

    number: int
    text: str
    answer: str
    image_id: int


def load_questions(
    split: str, images: int | None = None, kinds: Collection[QuestionType] | None = None
) -> list[Question]:
    """The questions about the first ``images`` images of 'train' or 'test', in the package's order; None takes all."""
    import easy_vqa

    texts, answers, image_ids = getattr(easy_vqa, f"get_{split}_questions")()
    questions = [Question(*row) for row in zip(range(len(texts)), texts, answers, image_ids, strict=True)]
    return [
        question
        for question in questions
        if (images is None or question.image_id < images) and (kinds is None or question_type(question.text) in kinds)
    ]


def image_paths(split: str) -> dict[int, Path]:
    """Image id → PNG of the installed package."""
    import easy_vqa

    return {number: Path(path) for number, path in getattr(easy_vqa, f"get_{split}_image_paths")().items()}


def package_inputs() -> dict[str, str]:
    """Digest of the package's question files.

    Raises:
        UserError: ``easy-vqa`` is not installed.
    """
    try:
        import easy_vqa
    except ImportError as error:
        raise UserError("the package easy-vqa is not installed: run `pip install easy-vqa==1.0`") from error
    folder = Path(easy_vqa.__file__).parent / "data"
    return {f"easy_vqa/{split}": sha256_file(folder / split / "questions.json") for split in ("train", "test")}


def by_image(questions: Iterable[Question]) -> dict[int, list[Question]]:
    """Image id → its questions, in order."""
    grouped: defaultdict[int, list[Question]] = defaultdict(list)
    for question in questions:
        grouped[question.image_id].append(question)
    return dict(grouped)
