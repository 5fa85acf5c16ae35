"""Multiple choice by MMMU's or ScienceQA's rules, without the coin toss."""

from typing import Any

import evaluate

from evalsuite.metrics.multiple_choice import multiple_choice_accuracy
from evalsuite.module_parts import TEXT, TEXTS, info, mean_of

_CITATION = "Yue et al., MMMU, CVPR 2024"
_INPUTS = """
Args:
    predictions: one short answer a question.
    references: a list of accepted answers for each.
    choices: texts of the options of each question; the first is A.
    variant: mmmu, mmmu-official, lenient or scienceqa.
Returns:
    the mean and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("multiple_choice"))
    >>> metric.compute(predictions=["(B)"], references=[["B"]], choices=[["cat", "dog"]])["multiple_choice"]
    1.0
"""


class MultipleChoice(evaluate.Metric):
    """Multiple choice by MMMU's or ScienceQA's rules, without the coin toss."""

    def _info(self) -> evaluate.MetricInfo:
        return info(
            __doc__,
            _CITATION,
            _INPUTS,
            "https://github.com/MMMU-Benchmark/MMMU",
            {
                "predictions": TEXT,
                "references": TEXTS,
                "choices": TEXTS,
            },
        )

    def _compute(
        self, predictions: list[str], references: list[list[str]], choices: list[list[str]], variant: Any = "mmmu"
    ) -> dict[str, Any]:
        scores = [
            multiple_choice_accuracy(prediction, answers, options, variant=variant)
            for prediction, answers, options in zip(predictions, references, choices, strict=True)
        ]
        return mean_of("multiple_choice", scores)
