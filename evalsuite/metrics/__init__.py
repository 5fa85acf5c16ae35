"""The scores everyone quotes, computed here without Java, per corpus and per sample.

Caption metrics take ``predictions: Mapping[id, str]`` and ``references: Mapping[id, Sequence[str]]``
and return an object with ``.corpus`` and ``.per_sample``. VQA metrics score one prediction, 0 to 1.
METEOR and SPICE are left out by design: they exist only as Java programs.
"""

from evalsuite.metrics.bleu import bleu
from evalsuite.metrics.captions import BleuScores, CaptionScores
from evalsuite.metrics.cider import cider
from evalsuite.metrics.rouge import rouge_l
from evalsuite.metrics.tokenizer import ptb_tokenize
from evalsuite.metrics.vqa import exact_match, vqa_accuracy

__all__ = ["BleuScores", "CaptionScores", "bleu", "cider", "exact_match", "ptb_tokenize", "rouge_l", "vqa_accuracy"]
