"""CIDEr-D as the COCO caption evaluation computes it, without Java."""

from typing import Any

import evaluate

from evalsuite.metrics.cider import cider
from evalsuite.module_parts import by_number, info

_CITATION = "Vedantam et al., CIDEr, CVPR 2015"
_INPUTS = """
Args:
    predictions: one caption an image.
    references: a list of captions for each.
    tokenize: ptb, or for other languages zh, ja-mecab, ko-mecab, char, 13a, intl.
Returns:
    the corpus score and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("cider"))
    >>> texts = ["a red dog runs", "two cats sleep here"]
    >>> metric.compute(predictions=texts, references=[[text] for text in texts])["cider"]
    10.0
"""


class CiderD(evaluate.Metric):
    """CIDEr-D as the COCO caption evaluation computes it, without Java."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://github.com/tylin/coco-caption")

    def _compute(self, predictions: list[str], references: list[list[str]], tokenize: Any = "ptb") -> dict[str, Any]:
        scores = cider(*by_number(predictions, references), tokenize=tokenize)
        return {"cider": scores.corpus, "per_sample": list(scores.per_sample.values())}
