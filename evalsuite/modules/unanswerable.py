"""VizWiz: precision, recall and F1 of answering "unanswerable"."""

from typing import Any

import evaluate

from evalsuite.metrics.vizwiz import unanswerable
from evalsuite.module_parts import all_of, by_number, info

_CITATION = "Gurari et al., VizWiz, CVPR 2018"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: the answers of people.
Returns:
    precision, recall, f1 and per_sample.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("unanswerable"))
    >>> metric.compute(predictions=["unanswerable"], references=[["unanswerable"] * 10])["f1"]
    1.0
"""


class Unanswerable(evaluate.Metric):
    """VizWiz: precision, recall and F1 of answering "unanswerable"."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://vizwiz.org/tasks-and-datasets/vqa/")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        scores = unanswerable(*by_number(predictions, references))
        return all_of(scores)
