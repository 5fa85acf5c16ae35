"""BLEU-1 to BLEU-4 as the COCO caption evaluation computes them, without Java."""

from typing import Any

import evaluate

from evalsuite.metrics.caption import bleu
from evalsuite.module_parts import by_number, info

_CITATION = "Papineni et al., BLEU, ACL 2002"
_INPUTS = """
Args:
    predictions: one caption an image.
    references: a list of captions for each.
    tokenize: ptb, or for other languages zh, ja-mecab, ko-mecab, char, 13a, intl.
Returns:
    the corpus score and per_sample, in the order given.

Examples:
    >>> metric = evaluate.load(evalsuite.module_path("bleu"))
    >>> round(metric.compute(predictions=["a red dog runs"], references=[["A red dog runs."]])["bleu_4"], 6)
    1.0
"""


class CocoBleu(evaluate.Metric):
    """BLEU-1 to BLEU-4 as the COCO caption evaluation computes them, without Java."""

    def _info(self) -> evaluate.MetricInfo:
        return info(__doc__, _CITATION, _INPUTS, "https://github.com/tylin/coco-caption")

    def _compute(self, predictions: list[str], references: list[list[str]], tokenize: Any = "ptb") -> dict[str, Any]:
        scores = bleu(*by_number(predictions, references), tokenize=tokenize)
        return {
            **{f"bleu_{order}": value for order, value in enumerate(scores.corpus, start=1)},
            "per_sample": list(scores.per_sample.values()),
        }
