"""The scores everyone quotes, computed here without Java, per corpus and per sample.

Caption metrics (``bleu``, ``rouge_l``, ``cider``) take ``predictions: Mapping[id, str]`` and
``references: Mapping[id, Sequence[str]]`` and return an object with ``.corpus`` and ``.per_sample``.
``vqa_accuracy``, ``exact_match``, ``anls``, ``relaxed_accuracy``, ``gqa_accuracy``,
``multiple_choice`` and ``mmmu_open`` score one prediction, 0 to 1. ``pope``, ``mme`` and
``unanswerable`` score a whole set of raw replies. METEOR and SPICE are left out by design: they exist
only as Java programs.
"""

from evalsuite.metrics.anls import anls
from evalsuite.metrics.caption import bleu
from evalsuite.metrics.captions import BleuScores, CaptionScores
from evalsuite.metrics.cider import cider
from evalsuite.metrics.gqa import gqa_accuracy
from evalsuite.metrics.mme import MmeScores, mme
from evalsuite.metrics.multiple_choice import multiple_choice_accuracy, parse_choice
from evalsuite.metrics.open_ended import mmmu_open
from evalsuite.metrics.ptb_tokenizer import ptb_tokenize
from evalsuite.metrics.relaxed import relaxed_accuracy
from evalsuite.metrics.rouge import rouge_l
from evalsuite.metrics.short_answer import exact_match, vqa_accuracy
from evalsuite.metrics.vizwiz import UnanswerableScores, unanswerable
from evalsuite.metrics.yes_no import YesNoScores, parse_yes_no, pope

__all__ = [
    "BleuScores",
    "CaptionScores",
    "MmeScores",
    "UnanswerableScores",
    "YesNoScores",
    "anls",
    "bleu",
    "cider",
    "exact_match",
    "gqa_accuracy",
    "mme",
    "mmmu_open",
    "multiple_choice",
    "parse_choice",
    "parse_yes_no",
    "pope",
    "ptb_tokenize",
    "relaxed_accuracy",
    "rouge_l",
    "unanswerable",
    "vqa_accuracy",
]
