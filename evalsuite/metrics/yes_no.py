"""Metrics of questions with two answers: POPE (yes or no) and VizWiz' "unanswerable"."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from evalsuite.metrics.base import (
    RIGHT_FROM,
    Answers,
    HubModule,
    Metric,
    MetricOptions,
    Quantity,
    Reading,
    Row,
    Scores,
    check_captions,
    check_pairs,
    divide,
    mean_scores,
    other_tool,
    ratio_of_sums,
    rule_of,
)
from evalsuite.metrics.normalize import evalai
from evalsuite.reading.yes_no import YES_NO_VARIANTS, YesNoVariant, parse_yes_no
from evalsuite.statistics import Floats
from winnow.errors import UserError

# ---- POPE ------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class YesNoScores:
    """Scores of yes/no questions; "yes" is the positive class.

    Attributes:
        accuracy: right answers among all questions.
        precision: right among those answered yes; 0 if there are none of those.
        recall: answered yes among those whose answer is yes; 0 if there are none of those.
        f1: harmonic mean of the two.
        yes_ratio: share of all questions that were *answered* yes.
        unparsed: number of predictions that say neither; they are wrong and stay in every denominator.
        per_sample: id → 1 right, 0 wrong.
    """

    accuracy: float
    precision: float
    recall: float
    f1: float
    yes_ratio: float
    unparsed: int
    per_sample: dict[str, float]


def pope(
    predictions: Mapping[str, str], references: Mapping[str, str], *, variant: YesNoVariant = "words"
) -> YesNoScores:
    """POPE's scores of raw replies against "yes" and "no".

    Raises:
        UserError: ids differ, there are none, a reference is neither yes nor no, or an unknown variant.
    """
    check_pairs(predictions, references, ("yes", "no"))
    read = {key: parse_yes_no(text, variant=variant) for key, text in predictions.items()}
    truth = {key: references[key].strip().lower() for key in predictions}
    right = {key: float(read[key] == truth[key]) for key in read}
    answered_yes = sum(answer == "yes" for answer in read.values())
    hits = sum(answer == "yes" == truth[key] for key, answer in read.items())
    actual = sum(answer == "yes" for answer in truth.values())
    precision, recall, f1 = precision_recall_f1(hits, answered_yes, actual)
    return YesNoScores(
        accuracy=sum(right.values()) / len(right),
        precision=precision,
        recall=recall,
        f1=f1,
        yes_ratio=answered_yes / len(read),
        unparsed=sum(answer is None for answer in read.values()),
        per_sample=right,
    )


def precision_recall_f1(hits: int, predicted: int, actual: int) -> tuple[float, float, float]:
    """From counts; a ratio without denominator is 0."""
    precision = hits / predicted if predicted else 0.0
    recall = hits / actual if actual else 0.0
    return precision, recall, 2 * precision * recall / (precision + recall) if hits else 0.0


def read_yes_no(answers: Answers, options: MetricOptions) -> list[str | None]:
    """``yes``, ``no`` or None of every row: by the task's extraction, or by the variant's own rule."""
    variant: Any = options.variant
    if variant is None:
        return [text.lower() if text else None for text in answers.texts]
    return [None if raw is None else parse_yes_no(raw, variant=variant) for raw in answers.raws]


def true_yes_no(answers: Answers, metric: str) -> list[str]:
    """``yes`` or ``no``: the reference of every row.

    Raises:
        UserError: a reference is something else.
    """
    truth = [references[0].strip().lower() for references in answers.references]
    for key, answer in zip(answers.ids, truth, strict=True):
        if answer not in ("yes", "no"):
            raise UserError(f"{key}: {metric} needs the answer yes or no, not {answer!r}")
    return truth


def read_yes_no_row(row: Row, options: MetricOptions, rule: str) -> Reading:
    """One reply as yes or no, against the row's reference."""
    variant: Any = options.variant
    read = row["extracted"] if variant is None else parse_yes_no(row["raw"] or "", variant=variant)
    right = read is not None and read.lower() == row["references"][0].strip().lower()
    return Reading(rule, read, read if right and read else "", float(right))


def _score_pope(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    read, truth = read_yes_no(answers, options), true_yes_no(answers, "pope")
    right = np.array([float(a == b) for a, b in zip(read, truth, strict=True)])
    called = np.array([float(answer == "yes") for answer in read])
    true = np.array([float(answer == "yes") for answer in truth])
    variant = f"yes is positive, {rule_of(options)}, rows that say neither are wrong"
    found = {
        "_accuracy": mean_scores(right, f"accuracy, {variant}", binary=True),
        **_confusion(called, true, variant),
        "_yes_ratio": mean_scores(called, "share of questions answered yes"),
    }
    categories = [slices.get("category", "") for slices in answers.slices]
    known = sorted(set(categories))
    if len(known) > 1:
        found["_f1_mean"] = _mean_f1(found["_f1"], categories, known)
    return found


def _confusion(called: Floats, true: Floats, variant: str) -> dict[str, Scores]:
    """Precision, recall and F1 of the positive class from (rows,) masks; NaN for rows outside a ratio."""
    sums = np.stack([called * true, called, true], axis=1)
    return {
        "_precision": Scores(
            per_row=np.where(called > 0, true, np.nan), sums=sums, estimate=ratio_of_sums(0, 1),
            variant=f"precision, {variant}",
        ),
        "_recall": Scores(
            per_row=np.where(true > 0, called, np.nan), sums=sums, estimate=ratio_of_sums(0, 2),
            variant=f"recall, {variant}",
        ),
        "_f1": Scores(
            per_row=(called == true).astype(np.float64), sums=sums, estimate=_f1, variant=f"F1, {variant}"
        ),
    }  # fmt: skip


def _f1(sums: Floats) -> Floats:
    return divide(2 * sums[:, 0], sums[:, 1] + sums[:, 2])


def _mean_f1(f1: Scores, categories: Sequence[str], known: Sequence[str]) -> Scores:
    """F1 of every subset, then their mean, as POPE is usually quoted."""
    place = np.array([known.index(category) for category in categories])
    sums = np.zeros((len(place), len(known) * 3))
    for part in range(3):
        sums[np.arange(len(place)), place * 3 + part] = f1.sums[:, part]

    def estimate(totals: Floats) -> Floats:
        parts = totals.reshape(len(totals), len(known), 3)
        present = parts.any(axis=2)
        each = divide(2 * parts[:, :, 0], parts[:, :, 1] + parts[:, :, 2])
        return divide((each * present).sum(axis=1), present.sum(axis=1).astype(np.float64))

    return Scores(per_row=f1.per_row, sums=sums, estimate=estimate, variant=f"mean of the F1 of {', '.join(known)}")


POPE = Metric(
    name="pope",
    about="Is the object in the image? Accuracy, precision, recall and F1 of yes (Li et al. 2023).",
    numbers={
        "_accuracy": Quantity(title="POPE accuracy", right_from=RIGHT_FROM),
        "_precision": Quantity(title="POPE precision"),
        "_recall": Quantity(title="POPE recall"),
        "_f1": Quantity(title="POPE F1", mean_of_rows=False),
        "_yes_ratio": Quantity(title="POPE yes ratio", top=None),
        "_f1_mean": Quantity(title="POPE mean F1", mean_of_rows=False),
    },
    score=_score_pope,
    options=("variant",),
    variants=YES_NO_VARIANTS,
    reads_raw=True,
    references="yes_no",
    read_row=read_yes_no_row,
    other_tools=(
        other_tool("official code", read_yes_no_row, variant="official"),
        other_tool("lmms-eval", read_yes_no_row, variant="exact"),
        other_tool("VLMEvalKit", read_yes_no_row, variant="vlmevalkit"),
    ),
    modules=(
        HubModule(
            name="pope",
            about="POPE: accuracy, precision, recall, F1 and the yes ratio of the predictions.",
            citation="Li et al., POPE, EMNLP 2023",
            url="https://github.com/RUCAIBox/POPE",
            score=pope,
            whole_set=True,
            columns={"predictions": "raw replies.", "references": "yes or no."},
            lists=(),
            options={"variant": "words, official, mme, mme-lmms-eval, exact or vlmevalkit."},
            example='metric.compute(predictions=["Yes, a dog.", "no"], references=["yes", "yes"])["recall"]\n0.5',
            gives="accuracy, precision, recall, f1, yes_ratio, unparsed and per_sample.",
        ),
    ),
)


# ---- VizWiz: questions without an answer -----------------------------------------------------------
# The accuracy of answers is ``vqa_accuracy`` with the normaliser ``evalai``, quoted per answer type. The
# challenge's second task, average precision of answerability, needs a confidence that a text does not give;
# precision, recall and F1 of answering "unanswerable" take its place.

_WORD_UNANSWERABLE = "unanswerable"


@dataclass(frozen=True)
class UnanswerableScores:
    """Scores of saying "unanswerable".

    Attributes:
        precision: unanswerable questions among those answered so; 0 if there are none of those.
        recall: answered so among the unanswerable questions; 0 if there are none of those.
        f1: harmonic mean of the two.
        per_sample: id → 1 if the prediction is right about answerability, else 0.
    """

    precision: float
    recall: float
    f1: float
    per_sample: dict[str, float]


def unanswerable(predictions: Mapping[str, str], references: Mapping[str, Sequence[str]]) -> UnanswerableScores:
    """Precision, recall and F1 of answering "unanswerable" (Gurari et al. 2018); most people decide whether it is.

    Raises:
        UserError: the ids of predictions and references differ, or there are none.
    """
    check_captions(predictions, references)
    read = {key: says_unanswerable(text) for key, text in predictions.items()}
    truth = {key: is_unanswerable(references[key]) for key in predictions}
    hits = sum(read[key] and truth[key] for key in read)
    precision, recall, f1 = precision_recall_f1(hits, sum(read.values()), sum(truth.values()))
    return UnanswerableScores(precision, recall, f1, {key: float(read[key] == truth[key]) for key in read})


def says_unanswerable(text: str) -> bool:
    """Whether a prediction is the word "unanswerable"."""
    return evalai(text) == _WORD_UNANSWERABLE


def is_unanswerable(answers: Sequence[str]) -> bool:
    """Whether the most frequent answer, the first among equals, is "unanswerable"."""
    return Counter(map(evalai, answers)).most_common(1)[0][0] == _WORD_UNANSWERABLE


def _score_unanswerable(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    called = np.array([float(text is not None and says_unanswerable(text)) for text in answers.texts])
    true = np.array([float(is_unanswerable(references)) for references in answers.references])
    return _confusion(called, true, 'answers "unanswerable" where most people did')


UNANSWERABLE = Metric(
    name="unanswerable",
    about='Precision, recall and F1 of answering "unanswerable", of VizWiz (Gurari et al. 2018).',
    numbers={
        "_precision": Quantity(title="unanswerable precision"),
        "_recall": Quantity(title="unanswerable recall"),
        "_f1": Quantity(title="unanswerable F1", right_from=RIGHT_FROM, mean_of_rows=False),
    },
    score=_score_unanswerable,
    modules=(
        HubModule(
            name="unanswerable",
            about='VizWiz: precision, recall and F1 of answering "unanswerable".',
            citation="Gurari et al., VizWiz, CVPR 2018",
            url="https://vizwiz.org/tasks-and-datasets/vqa/",
            score=unanswerable,
            whole_set=True,
            columns={"predictions": "one short answer a question.", "references": "the answers of people."},
            example=('metric.compute(predictions=["unanswerable"], references=[["unanswerable"] * 10])["f1"]\n1.0'),
            gives="precision, recall, f1 and per_sample.",
        ),
    ),
)
