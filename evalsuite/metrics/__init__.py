"""Metrics: one ``Metric`` object each, collected in ``METRICS``, and the plain functions behind them.

``METRICS`` holds every ``Metric`` that a module of this package defines, by name. A new metric is a new module.

Caption metrics (``bleu``, ``rouge_l``, ``cider``) take ``predictions: Mapping[id, str]`` and
``references: Mapping[id, Sequence[str]]`` and return an object with ``.corpus`` and ``.per_sample``.
``vqa_accuracy``, ``exact_match``, ``anls``, ``relaxed_accuracy``, ``gqa_accuracy``,
``multiple_choice_accuracy`` and ``mmmu_open`` score one prediction, 0 to 1. ``pope``, ``mme`` and
``unanswerable`` score a whole set of raw replies. METEOR and SPICE are left out by design: they exist
only as Java programs.
"""

import pkgutil
from importlib import import_module

from evalsuite.metrics.base import Answers, Metric, MetricColumn, MetricOptions, Reading
from evalsuite.metrics.caption import BleuScores, CaptionScores, bleu, cider, rouge_l
from evalsuite.metrics.mme_subtasks import MmeScores, mme
from evalsuite.metrics.multiple_choice import mmmu_open, multiple_choice_accuracy
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize
from evalsuite.metrics.short_answer import anls, gqa_accuracy, relaxed_accuracy
from evalsuite.metrics.vqa import exact_match, vqa_accuracy
from evalsuite.metrics.yes_no import UnanswerableScores, YesNoScores, pope, unanswerable
from evalsuite.reading.choice_rules import parse_choice
from evalsuite.reading.yes_no import parse_yes_no

_MODULES = [import_module(f"{__name__}.{found.name}") for found in pkgutil.iter_modules(__path__)]
_FOUND = [value for module in _MODULES for value in vars(module).values() if isinstance(value, Metric)]
METRICS: dict[str, Metric] = {metric.name: metric for metric in sorted(_FOUND, key=lambda metric: metric.name)}
if len(METRICS) < len({id(metric) for metric in _FOUND}):
    raise ImportError("evalsuite/metrics: two metrics have the same name")

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
