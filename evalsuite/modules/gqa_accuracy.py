"""GQA accuracy by four rules."""

from typing import Any

import evaluate

from evalsuite.metrics.gqa import gqa_accuracy
from evalsuite.module_parts import info, mean_of

_CITATION = "Hudson and Manning, GQA, CVPR 2019"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    variant: normalized, official, lmms-eval or vlmevalkit.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("gqa_accuracy"))
    >>> metric.compute(predictions=["Yes."], references=[["yes"]])["gqa_accuracy"]
    1.0
"""


class GqaAccuracy(evaluate.Metric):
    """GQA accuracy by four rules."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://cs.stanford.edu/people/dorarad/gqa/evaluate.html")

    def _compute(
        self, predictions: list[str], references: list[list[str]], variant: Any = "normalized"
    ) -> dict[str, Any]:
        scores = [
            gqa_accuracy(prediction, answers, variant=variant)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return mean_of("gqa_accuracy", scores)
