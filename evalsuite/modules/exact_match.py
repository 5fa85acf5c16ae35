"""Exact match with any answer after VQA normalisation."""

from typing import Any

import evaluate

from evalsuite.metrics.short_answer import exact_match
from evalsuite.module_parts import info, mean_of

_CITATION = "Antol et al., VQA, ICCV 2015"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    normalizer: official, evalai or none.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("exact_match"))
    >>> metric.compute(predictions=["The dog."], references=[["dog"]])["exact_match"]
    1.0
"""


class VqaExactMatch(evaluate.Metric):
    """Exact match with any answer after VQA normalisation."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://visualqa.org/evaluation.html")

    def _compute(
        self, predictions: list[str], references: list[list[str]], normalizer: Any = "official"
    ) -> dict[str, Any]:
        scores = [
            exact_match(prediction, answers, normalizer=normalizer)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return mean_of("exact_match", scores)
