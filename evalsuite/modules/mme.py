"""MME: sums of accuracy and accuracy+ over perception and cognition."""

from typing import Any

import evaluate

from evalsuite.metrics.mme import mme
from evalsuite.module_parts import TEXT, all_of, by_number, info

_CITATION = "Fu et al., MME, 2023"
_INPUTS = """
Args:
    predictions: raw replies.
    references: yes or no.
    categories: subtask of each question.
    images: image of each question; two of one subtask make a pair.
    variant: words, official, mme, mme-lmms-eval, exact or vlmevalkit.
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
        return info(
            __doc__,
            _CITATION,
            _INPUTS,
            "https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models",
            {
                "predictions": TEXT,
                "references": TEXT,
                "categories": TEXT,
                "images": TEXT,
            },
        )

    def _compute(
        self,
        predictions: list[str],
        references: list[str],
        categories: list[str],
        images: list[str],
        variant: Any = "words",
    ) -> dict[str, Any]:
        scores = mme(
            *by_number(predictions, references, categories, images),
            variant=variant,
        )
        return all_of(scores)
