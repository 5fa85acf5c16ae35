"""VizWiz: precision, recall and F1 of answering "unanswerable"."""

from dataclasses import asdict
from typing import Any

import datasets
import evaluate

from evalsuite.metrics.vizwiz import unanswerable

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
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
            reference_urls=["https://vizwiz.org/tasks-and-datasets/vqa/"],
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        keys = [str(number) for number in range(len(predictions))]
        scores = unanswerable(dict(zip(keys, predictions, strict=True)), dict(zip(keys, references, strict=True)))
        found = asdict(scores)
        found["per_sample"] = list(found["per_sample"].values())
        return found
