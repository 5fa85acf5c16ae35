"""Metrics: one ``Metric`` object each, found in ``METRICS``, and the plain functions behind them.

Caption metrics (``bleu``, ``rouge_l``, ``cider``) take ``predictions: Mapping[id, str]`` and
``references: Mapping[id, Sequence[str]]`` and return an object with ``.corpus`` and ``.per_sample``.
``vqa_accuracy``, ``exact_match``, ``anls``, ``relaxed_accuracy``, ``gqa_accuracy``,
``multiple_choice_accuracy`` and ``mmmu_open`` score one prediction, 0 to 1. ``pope``, ``mme`` and
``unanswerable`` score a whole set of raw replies. METEOR and SPICE are left out by design: they exist
only as Java programs.
"""

from evalsuite.metrics import caption, mme_subtasks, multiple_choice, short_answer, vqa, yes_no
from evalsuite.metrics.base import Answers, Metric, MetricColumn, MetricOptions, Reading
from evalsuite.metrics.caption import BleuScores, CaptionScores, bleu, cider, rouge_l
from evalsuite.metrics.mme_subtasks import MmeScores, mme
from evalsuite.metrics.multiple_choice import mmmu_open, multiple_choice_accuracy, parse_choice
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize
from evalsuite.metrics.short_answer import anls, gqa_accuracy, relaxed_accuracy
from evalsuite.metrics.vqa import exact_match, vqa_accuracy
from evalsuite.metrics.yes_no import UnanswerableScores, YesNoScores, parse_yes_no, pope, unanswerable

# Every ``Metric`` of these modules, by name.
METRICS: dict[str, Metric] = {
    metric.name: metric
    for module in (vqa, short_answer, multiple_choice, yes_no, mme_subtasks, caption)
    for metric in vars(module).values()
    if isinstance(metric, Metric)
}

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
