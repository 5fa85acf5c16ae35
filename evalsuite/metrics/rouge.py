"""ROUGE-L as the COCO caption evaluation computes it (Lin and Hovy 2004, beta 1.2; pycocoevalcap 1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from evalsuite.metrics.captions import CaptionScores, check_captions
from evalsuite.metrics.tokenizers import Tokenize, TokenizerName, caption_tokens

_BETA_SQUARED = 1.2**2


def rouge_l(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> CaptionScores:
    """ROUGE-L F score, mean over images and per image, 0 to 1.

    Precision and recall are maximised separately over the references. An empty caption counts as
    one empty word, as in the original: against an empty reference it scores 1.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for Chinese ``zh``, for Japanese ``ja-mecab``, for
            any unspaced script ``char``: see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    check_captions(predictions, references)
    tokens_of = caption_tokens(tokenize)
    scores = {key: _score(predictions[key], references[key], tokens_of) for key in predictions}
    return CaptionScores(sum(scores.values()) / len(scores), scores)


def _score(prediction: str, references: Sequence[str], tokens_of: Tokenize) -> float:
    candidate = tokens_of(prediction) or [""]
    where: dict[str, int] = {}
    for position, token in enumerate(candidate):
        where[token] = where.get(token, 0) | 1 << position
    precision = recall = 0.0
    for reference in references:
        tokens = tokens_of(reference) or [""]
        common = _common_subsequence(where, len(candidate), tokens)
        precision, recall = max(precision, common / len(candidate)), max(recall, common / len(tokens))
    if not precision or not recall:
        return 0.0
    return (1 + _BETA_SQUARED) * precision * recall / (recall + _BETA_SQUARED * precision)


def _common_subsequence(where: Mapping[str, int], length: int, tokens: Sequence[str]) -> int:
    """Length of the longest common subsequence, one integer operation per token (Hyyrö 2004).

    Args:
        where: token → bit mask of its positions in the candidate.
        length: tokens in the candidate.
    """
    full = (1 << length) - 1
    row = full
    for token in tokens:
        matches = row & where.get(token, 0)
        row = (row + matches | row - matches) & full
    return length - row.bit_count()
