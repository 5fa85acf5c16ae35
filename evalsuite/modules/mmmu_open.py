"""MMMU's open questions."""

from typing import Any

import evaluate

from evalsuite.metrics.open_ended import mmmu_open
from evalsuite.module_parts import info, mean_of

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
        return info(__doc__, _CITATION, _INPUTS, "https://github.com/MMMU-Benchmark/MMMU")

    def _compute(self, predictions: list[str], references: list[list[str]]) -> dict[str, Any]:
        scores = [mmmu_open(prediction, answers) for prediction, answers in zip(predictions, references, strict=True)]
        return mean_of("mmmu_open", scores)
