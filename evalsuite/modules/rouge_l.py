"""ROUGE-L as the COCO caption evaluation computes it, without Java."""

from typing import Any

import datasets
import evaluate

from evalsuite.metrics.rouge import rouge_l

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
        return evaluate.MetricInfo(
            description=__doc__,
            citation=_CITATION,
            inputs_description=_INPUTS,
            features=datasets.Features(
                {"predictions": datasets.Value("string"), "references": datasets.Sequence(datasets.Value("string"))}
            ),
            reference_urls=["https://github.com/tylin/coco-caption"],
        )

    def _compute(self, predictions: list[str], references: list[list[str]], tokenize: Any = "ptb") -> dict[str, Any]:
        keys = [str(number) for number in range(len(predictions))]
        scores = rouge_l(
            dict(zip(keys, predictions, strict=True)), dict(zip(keys, references, strict=True)), tokenize=tokenize
        )
        return {"rouge_l": scores.corpus, "per_sample": list(scores.per_sample.values())}
