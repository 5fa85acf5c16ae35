"""ROUGE-L as the COCO caption evaluation computes it, without Java."""

from typing import Any

import evaluate

from evalsuite.metrics.rouge import rouge_l
from evalsuite.module_parts import by_number, info

_CITATION = "Lin, ROUGE, ACL workshop 2004"
_INPUTS = """
Args:
    predictions: one caption an image.
    references: a list of captions for each.
    tokenize: ptb, or for other languages zh, ja-mecab, ko-mecab, char, 13a, intl.
Returns:
    the corpus score and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("rouge_l"))
    >>> metric.compute(predictions=["a red dog"], references=[["A red dog."]])["rouge_l"]
    1.0
"""


class CocoRougeL(evaluate.Metric):
    """ROUGE-L as the COCO caption evaluation computes it, without Java."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://github.com/tylin/coco-caption")

    def _compute(self, predictions: list[str], references: list[list[str]], tokenize: Any = "ptb") -> dict[str, Any]:
        scores = rouge_l(*by_number(predictions, references), tokenize=tokenize)
        return {"rouge_l": scores.corpus, "per_sample": list(scores.per_sample.values())}
