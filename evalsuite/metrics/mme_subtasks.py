"""MME (Fu et al. 2023): two yes/no questions an image, 14 subtasks, perception and cognition."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from evalsuite.metrics.base import (
    RIGHT_FROM,
    Answers,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Scores,
    check_pairs,
    divide,
    other_tool,
    rule_of,
)
from evalsuite.metrics.yes_no import read_yes_no, read_yes_no_row, true_yes_no
from evalsuite.reading.yes_no import YES_NO_VARIANTS, YesNoVariant, parse_yes_no
from evalsuite.statistics import Estimate, Floats
from winnow.errors import UserError

_CATEGORY = "category"  # the slice that names the subtask
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
    read = {key: parse_yes_no(text, variant=variant) for key, text in predictions.items()}
    right = {key: float(read[key] == references[key].strip().lower()) for key in read}
    pairs: dict[tuple[str, str], list[float]] = {}
    for key in predictions:
        if key not in images:
            raise UserError(f"id {key!r}: the prediction has no image")
        pairs.setdefault((categories[key], images[key]), []).append(right[key])
    subtasks = {}
    for name in (*PERCEPTION, *COGNITION):
        groups = [scores for (category, _), scores in pairs.items() if category == name]
        if groups:
            every = [score for scores in groups for score in scores]
            whole = [min(scores) for scores in groups if len(scores) == QUESTIONS_PER_IMAGE]
            subtasks[name] = Subtask(sum(every) / len(every), sum(whole) / len(whole) if whole else 0.0)
    return MmeScores(
        perception=sum(subtasks[name].score for name in PERCEPTION if name in subtasks),
        cognition=sum(subtasks[name].score for name in COGNITION if name in subtasks),
        subtasks=subtasks,
        incomplete=sum(len(scores) != QUESTIONS_PER_IMAGE for scores in pairs.values()),
        unparsed=sum(answer is None for answer in read.values()),
        per_sample=right,
    )


def _score_mme(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    read, truth = read_yes_no(answers, options), true_yes_no(answers, "mme")
    right = np.array([float(a == b) for a, b in zip(read, truth, strict=True)])
    subtasks = (*PERCEPTION, *COGNITION)
    place = np.array([_subtask(answers, row, subtasks) for row in range(len(right))])
    # Of every subtask: right rows, rows, images with both questions right, images with both questions.
    sums = np.zeros((len(right), len(subtasks), 4))
    rows = np.arange(len(right))
    sums[rows, place, 0], sums[rows, place, 1] = right, 1.0
    pairs: dict[tuple[int, str], list[int]] = defaultdict(list)
    for row, image in enumerate(answers.images):
        pairs[int(place[row]), image].append(row)
    complete = [members for members in pairs.values() if len(members) == QUESTIONS_PER_IMAGE]
    for members in complete:  # a pair counts where its first question stands; both share their image
        sums[members[0], place[members[0]], 2:] = right[members].min(), 1.0
    lost = len(pairs) - len(complete)
    variant = f"sum of 100 × (accuracy + accuracy+), {rule_of(options)}"
    variant += f"; {lost:,} images without exactly two questions count for accuracy only" if lost else ""
    flat = sums.reshape(len(right), -1)
    found = {}
    for kind, names in (("_perception", PERCEPTION), ("_cognition", COGNITION)):
        wanted = [subtasks.index(name) for name in names]
        inside = np.isin(place, wanted)
        if inside.any():
            per_row, estimate = np.where(inside, right, np.nan), _sum_of_subtasks(wanted, len(subtasks))
            found[kind] = Scores(per_row=per_row, sums=flat, estimate=estimate, variant=variant)
    return found


def _subtask(answers: Answers, row: int, known: Sequence[str]) -> int:
    given = answers.slices[row].get(_CATEGORY, "")
    if given not in known:
        raise UserError(
            f"{answers.ids[row]}: mme needs the slice {_CATEGORY!r}, one of {', '.join(known)}; found {given!r}"
        )
    return known.index(given)


def _sum_of_subtasks(wanted: Sequence[int], subtasks: int) -> Estimate:
    def estimate(totals: Floats) -> Floats:
        parts = totals.reshape(len(totals), subtasks, 4)[:, list(wanted)]
        scores = 100 * (divide(parts[:, :, 0], parts[:, :, 1]) + divide(parts[:, :, 2], parts[:, :, 3]))
        total: Floats = scores.sum(axis=1)
        return total

    return estimate


def _sum_up_to(title: str, top: float) -> Quantity:
    return Quantity(title=title, unit="points", top=top, right_from=RIGHT_FROM, mean_of_rows=False)


MME = Metric(
    name="mme",
    about="Sums of accuracy and accuracy+ over perception and cognition (Fu et al. 2023).",
    numbers={
        "_perception": _sum_up_to("MME perception", 2000.0),
        "_cognition": _sum_up_to("MME cognition", 800.0),
    },
    score=_score_mme,
    whole_set=True,
    options=("variant",),
    variants=YES_NO_VARIANTS,
    reads_raw=True,
    references="yes_no",
    read_row=read_yes_no_row,
    other_tools=(
        other_tool("official code", read_yes_no_row, variant="mme"),
        other_tool("lmms-eval", read_yes_no_row, variant="mme-lmms-eval"),
        other_tool("VLMEvalKit", read_yes_no_row, variant="vlmevalkit"),
    ),
    modules=(
        HubModule(
            name="mme",
            about="MME: sums of accuracy and accuracy+ over perception and cognition.",
            citation="Fu et al., MME, 2023",
            url="https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models",
            score=mme,
            whole_set=True,
            columns={
                "predictions": "raw replies.",
                "references": "yes or no.",
                "categories": "subtask of each question.",
                "images": "image of each question; two of one subtask make a pair.",
            },
            lists=(),
            options={"variant": "words, official, mme, mme-lmms-eval, exact or vlmevalkit."},
            example=(
                'two = dict(categories=["count"] * 2, images=["1"] * 2)\n'
                'metric.compute(predictions=["Yes", "No"], references=["Yes", "No"], **two)["perception"]\n200.0'
            ),
            gives="perception, cognition, subtasks, incomplete, unparsed and per_sample.",
        ),
    ),
)
