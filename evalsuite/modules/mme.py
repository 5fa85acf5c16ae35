"""MME: sums of accuracy and accuracy+ over perception and cognition."""

from dataclasses import asdict
from typing import Any

import datasets
import evaluate

from evalsuite.metrics.mme import mme

_CITATION = "Fu et al., MME, 2023"
_INPUTS = """
Args:
    predictions: raw replies.
    references: yes or no.
    categories: subtask of each question.
    images: image of each question; two of one subtask make a pair.
    variant: words, official, mme or exact.
Returns:
    perception, cognition, subtasks, incomplete, unparsed and per_sample.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("mme"))
    >>> metric.compute(predictions=["Yes", "No"], references=["Yes", "No"], categories=["count"] * 2, images=["1"] * 2)[
    ...     "perception"
    ... ]
    200.0
"""


class Mme(evaluate.Metric):
    """MME: sums of accuracy and accuracy+ over perception and cognition."""

    def _info(self) -> evaluate.MetricInfo:
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {
                    "predictions": datasets.Value("string"),
                    "references": datasets.Value("string"),
                    "categories": datasets.Value("string"),
                    "images": datasets.Value("string"),
                }
            ),
            reference_urls=["https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models"],
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        categories: list[str],
        images: list[str],
        variant: Any = "words",
    ) -> dict[str, Any]:
        keys = [str(number) for number in range(len(predictions))]
        scores = mme(
            *(dict(zip(keys, one, strict=True)) for one in (predictions, references, categories, images)),
            variant=variant,
        )
        found = asdict(scores)
        found["per_sample"] = list(found["per_sample"].values())
        return found
