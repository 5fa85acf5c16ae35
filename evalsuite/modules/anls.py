"""ANLS, the score of DocVQA and InfographicVQA."""

from typing import Any

import evaluate

from evalsuite.metrics.anls import anls
from evalsuite.module_parts import info, mean_of

_CITATION = "Biten et al., Scene Text VQA, ICCV 2019"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    threshold: a similarity below it counts 0.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("anls"))
    >>> metric.compute(predictions=["abcd"], references=[["abxy"]])["anls"]
    0.5
"""


class Anls(evaluate.Metric):
    """ANLS, the score of DocVQA and InfographicVQA."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://rrc.cvc.uab.es/?ch=17&com=tasks")

    def _compute(self, predictions: list[str], references: list[list[str]], threshold: float = 0.5) -> dict[str, Any]:
        scores = [
            anls(prediction, answers, threshold=threshold)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return mean_of("anls", scores)
