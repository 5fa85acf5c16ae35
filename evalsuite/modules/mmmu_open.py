"""MMMU's open questions."""

from typing import Any

import datasets
import evaluate

from evalsuite.metrics.open_ended import mmmu_open

_CITATION = "Yue et al., MMMU, CVPR 2024"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("mmmu_open"))
    >>> metric.compute(predictions=["The answer is 42."], references=[["42"]])["mmmu_open"]
    1.0
"""


class MmmuOpen(evaluate.Metric):
    """MMMU's open questions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
            reference_urls=["https://github.com/MMMU-Benchmark/MMMU"],
        )

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        scores = [mmmu_open(prediction, answers) for prediction, answers in zip(predictions, references, strict=True)]
        return {"mmmu_open": sum(scores) / len(scores), "per_sample": scores}
