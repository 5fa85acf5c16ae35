"""Exact match with any answer after VQA normalisation."""

from typing import Any

import datasets
import evaluate

from evalsuite.metrics.vqa import exact_match

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
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
            reference_urls=["https://visualqa.org/evaluation.html"],
        )

    def _compute(
        self, predictions: list[str], references: list[list[str]], normalizer: Any = "official"
    ) -> dict[str, Any]:
        scores = [
            exact_match(prediction, answers, normalizer=normalizer)
            for prediction, answers in zip(predictions, references, strict=True)
        ]
        return {"exact_match": sum(scores) / len(scores), "per_sample": scores}
