"""MME (Fu et al. 2023): two yes/no questions an image, 14 subtasks, perception and cognition."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from evalsuite.metrics.captions import check_pairs
from evalsuite.metrics.yes_no import YesNoVariant, parse_yes_no
from winnow.errors import UserError

PERCEPTION = (
    "existence", "count", "position", "color", "posters", "celebrity", "scene", "landmark", "artwork", "OCR",
)  # fmt: skip
COGNITION = ("commonsense_reasoning", "numerical_calculation", "text_translation", "code_reasoning")
QUESTIONS_PER_IMAGE = 2


@dataclass(frozen=True)
class Subtask:
    """One of MME's 14 subtasks.

    Attributes:
        accuracy: right answers among questions.
        accuracy_plus: images with both questions right, among images with both questions.
        score: 100 × (accuracy + accuracy_plus), at most 200.
    """

    accuracy: float
    accuracy_plus: float

    @property
    def score(self) -> float:
        """100 × (accuracy + accuracy_plus)."""
        return 100 * (self.accuracy + self.accuracy_plus)


@dataclass(frozen=True)
class MmeScores:
    """MME's numbers.

    Attributes:
        perception, cognition: sums of the subtasks' scores, at most 2000 and 800.
        subtasks: by name, only those that occur.
        incomplete: images without exactly two questions; they count for accuracy only.
        unparsed: predictions that say neither yes nor no; they are wrong.
        per_sample: id → 1 right, 0 wrong.
    """

    perception: float
    cognition: float
    subtasks: dict[str, Subtask]
    incomplete: int
    unparsed: int
    per_sample: dict[str, float]


def mme(
    predictions: Mapping[str, str],
    references: Mapping[str, str],
    categories: Mapping[str, str],
    images: Mapping[str, str],
    *,
    variant: YesNoVariant = "words",
) -> MmeScores:
    """MME's scores of raw replies.

    Args:
        references: "yes" or "no" by id.
        categories: subtask by id, e.g. ``existence``.
        images: name of the image by id; questions of one subtask about one image are a pair.

    Raises:
        UserError: ids differ, there are none, or a reference or subtask is unknown.
    """
    check_pairs(predictions, references, ("yes", "no"))
    check_pairs(predictions, categories, (*PERCEPTION, *COGNITION))
    said = {key: parse_yes_no(text, variant=variant) for key, text in predictions.items()}
    right = {key: float(said[key] == references[key].strip().lower()) for key in said}
    pairs: dict[tuple[str, str], list[float]] = {}
    for key in predictions:
        if key not in images:
            raise UserError(f"id {key!r}: has no image")
        pairs.setdefault((categories[key], images[key]), []).append(right[key])
    subtasks = {}
    for name in (*PERCEPTION, *COGNITION):
        groups = [scores for (category, _), scores in pairs.items() if category == name]
        if groups:
            every = [one for scores in groups for one in scores]
            whole = [min(scores) for scores in groups if len(scores) == QUESTIONS_PER_IMAGE]
            subtasks[name] = Subtask(sum(every) / len(every), sum(whole) / len(whole) if whole else 0.0)
    return MmeScores(
        perception=sum(subtasks[name].score for name in PERCEPTION if name in subtasks),
        cognition=sum(subtasks[name].score for name in COGNITION if name in subtasks),
        subtasks=subtasks,
        incomplete=sum(len(scores) != QUESTIONS_PER_IMAGE for scores in pairs.values()),
        unparsed=sum(one is None for one in said.values()),
        per_sample=right,
    )
