"""Metrics: one ``Metric`` object each, listed in ``METRICS``, and the plain functions behind them.

Caption metrics (``bleu``, ``rouge_l``, ``cider``) take ``predictions: Mapping[id, str]`` and
``references: Mapping[id, Sequence[str]]`` and return an object with ``.corpus`` and ``.per_sample``.
``vqa_accuracy``, ``exact_match``, ``anls``, ``relaxed_accuracy``, ``gqa_accuracy``,
``multiple_choice_accuracy`` and ``mmmu_open`` score one prediction, 0 to 1. ``pope``, ``mme`` and
``unanswerable`` score a whole set of raw replies. METEOR and SPICE are left out by design: they exist
only as Java programs.
"""

from evalsuite.metrics.base import Answers, Metric, MetricColumn, MetricOptions, Reading
from evalsuite.metrics.caption import BLEU, CIDER, ROUGE_L, BleuScores, CaptionScores, bleu, cider, rouge_l
from evalsuite.metrics.mme_subtasks import MME, MmeScores, mme
from evalsuite.metrics.multiple_choice import MMMU, MULTIPLE_CHOICE, mmmu_open, multiple_choice_accuracy, parse_choice
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize
from evalsuite.metrics.short_answer import ANLS, GQA, RELAXED_ACCURACY, anls, gqa_accuracy, relaxed_accuracy
from evalsuite.metrics.vqa import ACCURACY, VQA_ACCURACY, exact_match, vqa_accuracy
from evalsuite.metrics.yes_no import (
    POPE,
    UNANSWERABLE,
    UnanswerableScores,
    YesNoScores,
    parse_yes_no,
    pope,
    unanswerable,
)

METRICS: dict[str, Metric] = {
    metric.name: metric
    for metric in (
        ACCURACY, VQA_ACCURACY, ANLS, RELAXED_ACCURACY, GQA, MULTIPLE_CHOICE, MMMU, POPE, MME, UNANSWERABLE, BLEU,
        ROUGE_L, CIDER,
    )
}  # fmt: skip

__all__ = [
    "METRICS",
    "Answers",
    "BleuScores",
    "CaptionScores",
    "Metric",
    "MetricColumn",
    "MetricOptions",
    "MmeScores",
    "Reading",
    "UnanswerableScores",
    "YesNoScores",
    "anls",
    "bleu",
    "cider",
    "exact_match",
    "gqa_accuracy",
    "mme",
    "mmmu_open",
    "multiple_choice_accuracy",
    "parse_choice",
    "parse_yes_no",
    "pope",
    "ptb_tokenize",
    "relaxed_accuracy",
    "rouge_l",
    "unanswerable",
    "vqa_accuracy",
]
