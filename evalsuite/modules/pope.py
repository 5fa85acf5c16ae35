"""POPE: accuracy, precision, recall, F1 and the yes ratio of the predictions."""

from typing import Any

import evaluate

from evalsuite.metrics.yes_no import pope
from evalsuite.module_parts import TEXT, all_of, by_number, info

_CITATION = "Li et al., POPE, EMNLP 2023"
_INPUTS = """
Args:
    predictions: raw replies.
    references: yes or no.
    variant: words, official, mme, mme-lmms-eval, exact or vlmevalkit.
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
        return info(
            __doc__, _CITATION, _INPUTS, "https://github.com/RUCAIBox/POPE", {"predictions": TEXT, "references": TEXT}
        )

    def _compute(self, predictions: list[str], references: list[str], variant: Any = "words") -> dict[str, Any]:
        scores = pope(*by_number(predictions, references), variant=variant)
        return all_of(scores)
