"""easy-vqa as its package carries it, what its questions prove about an image, and captions that say no more.

Every image (64 × 64 PNG) shows one shape of one colour.
"""

from __future__ import annotations

import random
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import pyarrow as pa

from winnow.errors import UserError
from winnow.files import sha256_file
from winnow.rows.records import Sample, Turn

COLOURS = ("black", "blue", "brown", "gray", "green", "red", "teal", "yellow")
SHAPES = ("circle", "rectangle", "triangle")

CAPTION_SOURCE = "easy_vqa_captions"
REQUESTS = (
    "Describe the image.",
    "What does the image show?",
    "Write a short caption.",
    "Describe the image in one sentence.",
)
PHRASINGS = (
    "a {colour} {shape}",
    "there is a {colour} {shape} in the image",
    "the image shows a {shape} that is {colour}",
    "the image contains a {colour} {shape}",
    "a {shape} in {colour}",
    "an image of a {colour} {shape}",
    "the {shape} in the image is {colour}",
    "a {shape}, colored {colour}",
)
REFERENCES = 5

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


@dataclass(frozen=True, slots=True)
class Caption:
    """A request and the references that answer it; the first one is what training uses."""

    request: str
    references: tuple[str, ...]


def caption(known: Facts, rng: random.Random) -> Caption | None:
    """A caption row about an image, or None unless both its colour and its shape are known.

    Five of eight phrasings in random order, so that references differ from image to image as those
    of human annotators do and no single phrasing is always among them.
    """
    if known.colour is None or known.shape is None:
        return None
    chosen = rng.sample(PHRASINGS, REFERENCES)
    references = tuple(phrasing.format(colour=known.colour, shape=known.shape) for phrasing in chosen)
    return Caption(rng.choice(REQUESTS), references)


def caption_samples(grouped: Mapping[int, list[Question]], split: str, rng: random.Random) -> list[Sample]:
    """One caption row for every image whose questions give away both colour and shape."""
    samples = []
    for image_id, asked in grouped.items():
        made = caption(facts((question.text, question.answer) for question in asked), rng)
        if made:
            turns = (Turn("user", made.request), Turn("assistant", made.references[0]))
            samples.append(
                Sample(
                    id=f"{CAPTION_SOURCE}/{split}/{image_id}",
                    image=(f"images/{split}/{image_id}.png",),
                    conversations=turns,
                    answers=made.references,
                    source=CAPTION_SOURCE,
                    split=split,
                    meta={"question_type": "caption"},
                )
            )
    return samples


def caption_table(samples: Iterable[Sample]) -> pa.Table:
    """Caption rows as a plain table: id, image, question, answers, split, source."""
    rows = [(s.id, s.image[0], s.question, list(s.answers), s.split, s.source) for s in samples]
    names = ("id", "image", "question", "answers", "split", "source")
    schema = pa.schema([(name, pa.list_(pa.string()) if name == "answers" else pa.string()) for name in names])
    return pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in rows], schema=schema)
