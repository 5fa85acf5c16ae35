"""easy-vqa as its package carries it: questions, answers and 64 × 64 PNG images."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path

from winnow.demo.facts import QuestionType, question_type
from winnow.errors import UserError
from winnow.files import sha256_file


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
