"""BLEU-1 to BLEU-4 as the COCO caption evaluation computes them (closest reference length).

Papineni et al. 2002; constants and order of operations as in pycocoevalcap 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evalsuite.metrics.captions import BleuScores
from evalsuite.metrics.ngrams import ORDER, Corpus, Ints, build_corpus, find
from evalsuite.metrics.tokenizers import TokenizerName

_TINY, _SMALL = 1e-15, 1e-9
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class BleuCounts:
    """What BLEU needs to know about each image; sums of rows give corpus BLEU.

    Attributes:
        correct: (images, 4) clipped matches per order.
        guess: (images, 4) n-grams in the prediction per order.
        length: (images,) words in the prediction.
        reference_length: (images,) words in the reference closest in length, the shorter one on a tie.
    """

    correct: Ints
    guess: Ints
    length: Ints
    reference_length: Ints


def bleu(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> BleuScores:
    """BLEU-1 to BLEU-4, corpus and per caption, each 0 to 1.

    A perfect caption shorter than n words scores near 0 on BLEU-n, as in the original.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for Chinese ``zh``, for Japanese ``ja-mecab``, for
            any unspaced script ``char``: see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    corpus = build_corpus(predictions, references, tokenize)
    counts = bleu_counts(corpus)
    each = bleu_of(counts.correct, counts.guess, counts.length, counts.reference_length)
    whole = bleu_of(
        counts.correct.sum(0, keepdims=True),
        counts.guess.sum(0, keepdims=True),
        counts.length.sum(keepdims=True),
        counts.reference_length.sum(keepdims=True),
    )
    return BleuScores(whole[0].tolist(), dict(zip(corpus.ids, each.tolist(), strict=True)))


def bleu_counts(corpus: Corpus) -> BleuCounts:
    """Matches and lengths of every image."""
    n = corpus.images
    length = corpus.lengths[:n]
    correct = np.zeros((n, ORDER), np.int64)
    for order, counts in enumerate(corpus.counts):
        is_prediction = counts.caption < n
        key = corpus.image[counts.caption] * counts.distinct + counts.ngram
        allowed_keys, slot = np.unique(key[~is_prediction], return_inverse=True)
        allowed = np.zeros(len(allowed_keys), np.int64)
        np.maximum.at(allowed, slot, counts.count[~is_prediction])
        position, found = find(allowed_keys, key[is_prediction])
        matched = np.minimum(allowed[position], counts.count[is_prediction]) if len(allowed) else np.zeros(0, np.int64)
        np.add.at(correct[:, order], counts.caption[is_prediction][found], matched[found] if len(allowed) else matched)
    guess = np.maximum(0, length[:, None] - np.arange(ORDER))
    return BleuCounts(correct, guess, length, _closest(corpus))


def _closest(corpus: Corpus) -> Ints:
    n = corpus.images
    image, length = corpus.image[n:], corpus.lengths[n:]
    order = np.lexsort((length, np.abs(length - corpus.lengths[image]), image))
    first = np.searchsorted(image[order], np.arange(n))
    return length[order][first]


def bleu_of(correct: NDArray, guess: NDArray, length: NDArray, reference_length: NDArray) -> Floats:
    """BLEU-1 to BLEU-4 (rows, 4) from counts (rows, 4) and lengths (rows,)."""
    precision = (correct.astype(np.float64) + _TINY) / (guess.astype(np.float64) + _SMALL)
    scores: Floats = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, ORDER + 1))
    ratio = (length.astype(np.float64) + _TINY) / (reference_length.astype(np.float64) + _SMALL)
    with np.errstate(over="ignore"):
        penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return scores * penalty[:, None]
