"""POPE: accuracy, precision, recall, F1 and the yes ratio of the predictions."""

from dataclasses import asdict
from typing import Any

import datasets
import evaluate

from evalsuite.metrics.yes_no import pope

_CITATION = "Li et al., POPE, EMNLP 2023"
_INPUTS = """
Args:
    predictions: raw replies.
    references: yes or no.
    variant: words, official, mme or exact.
Returns:
    accuracy, precision, recall, f1, yes_ratio, unparsed and per_sample.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("pope"))
    >>> metric.compute(predictions=["Yes, a dog.", "no"], references=["yes", "yes"])["recall"]
    0.5
"""


class Pope(evaluate.Metric):
    """POPE: accuracy, precision, recall, F1 and the yes ratio of the predictions."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Value("string")}
            ),
            reference_urls=["https://github.com/RUCAIBox/POPE"],
        )

    def _compute(self, predictions: list[str], references: list[str], variant: Any = "words") -> dict[str, Any]:
        keys = [str(number) for number in range(len(predictions))]
        scores = pope(
            dict(zip(keys, predictions, strict=True)), dict(zip(keys, references, strict=True)), variant=variant
        )
        found = asdict(scores)
        found["per_sample"] = list(found["per_sample"].values())
        return found
