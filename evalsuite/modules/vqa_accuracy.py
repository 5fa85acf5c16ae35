"""VQA accuracy: agreement with ten people, leave-one-out as the official code does it."""

from typing import Any

import evaluate

from evalsuite.metrics.short_answer import vqa_accuracy
from evalsuite.module_parts import info, mean_of

_CITATION = "Antol et al., VQA, ICCV 2015"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    normalizer: official (VQAv2) or evalai (TextVQA, VizWiz, OK-VQA).
    unanimous: normalize, or raw as the official code since 2021.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("vqa_accuracy"))
    >>> metric.compute(predictions=["Two."], references=[["2"] * 4 + ["3"] * 6])["vqa_accuracy"]
    1.0
"""


class VqaAccuracy(evaluate.Metric):
    """VQA accuracy: agreement with ten people, leave-one-out as the official code does it."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://visualqa.org/evaluation.html")

    def _compute(
        self,
        predictions: list[str],
        references: list[list[str]],
        normalizer: Any = "official",
        unanimous: Any = "normalize",
    ) -> dict[str, Any]:
        scores = [
            vqa_accuracy(prediction, answers, normalizer=normalizer, unanimous=unanimous)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return mean_of("vqa_accuracy", scores)
