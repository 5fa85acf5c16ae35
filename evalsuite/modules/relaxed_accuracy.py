"""Relaxed accuracy, the score of ChartQA: numbers may be 5 % off."""

from typing import Any

import evaluate

from evalsuite.metrics.relaxed import relaxed_accuracy
from evalsuite.module_parts import info, mean_of

_CITATION = "Masry et al., ChartQA, ACL Findings 2022"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    variant: pix2struct or strict.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("relaxed_accuracy"))
    >>> found = metric.compute(predictions=["14.7", "2019"], references=[["14"], ["2010"]], variant="strict")
    >>> found["relaxed_accuracy"]
    0.5
"""


class RelaxedAccuracy(evaluate.Metric):
    """Relaxed accuracy, the score of ChartQA: numbers may be 5 % off."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://github.com/vis-nlp/ChartQA")

    def _compute(
        self, predictions: list[str], references: list[list[str]], variant: Any = "pix2struct"
    ) -> dict[str, Any]:
        scores = [
            relaxed_accuracy(prediction, answers, variant=variant)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return mean_of("relaxed_accuracy", scores)
