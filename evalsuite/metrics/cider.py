"""CIDEr-D as the COCO caption evaluation computes it (Vedantam et al. 2015; pycocoevalcap 1.2)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from evalsuite.metrics.captions import CaptionScores
from evalsuite.metrics.ngrams import ORDER, Corpus, build_corpus, find
from evalsuite.metrics.tokenizers import TokenizerName

_SIGMA = 6.0
_SCALE = 10.0
# Below so many images the idf weights, and with them the score, say little.
FEW_IMAGES = 100


def cider(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], *, tokenize: TokenizerName = "ptb"
) -> CaptionScores:
    """CIDEr-D, corpus (mean over images) and per image, from 0 to 10.

    Document frequencies come from the references given here, so the score depends on the set of
    images: compare only what was scored on the same ones. With a single image, or with references
    that are the same for every image, it is 0.

    Args:
        tokenize: ``ptb`` as the COCO evaluation does; for Chinese ``zh``, for Japanese ``ja-mecab``, for
            any unspaced script ``char``: see ``evalsuite.metrics.tokenizers``.

    Raises:
        UserError: the ids of predictions and references differ, there are none, or the tokeniser is
            unknown or not installed.
    """
    corpus = build_corpus(predictions, references, tokenize)
    scores = cider_of(corpus)
    return CaptionScores(float(scores.mean()), dict(zip(corpus.ids, scores.tolist(), strict=True)))


def cider_of(corpus: Corpus) -> NDArray[np.float64]:
    """CIDEr-D of every image."""
    n = corpus.images
    image = corpus.image[n:]
    similarity = np.zeros(len(image))
    for counts in corpus.counts:
        if not counts.distinct:
            continue
        weight = counts.count * _idf(corpus, counts.caption, counts.ngram, counts.distinct)[counts.ngram]
        norm = np.sqrt(np.bincount(counts.caption, weight**2, minlength=len(corpus.image)))
        is_prediction = counts.caption < n
        key = corpus.image[counts.caption] * counts.distinct + counts.ngram
        keys, weights = key[is_prediction], weight[is_prediction]
        position, found = find(keys, key[~is_prediction])
        of_reference, reference = weight[~is_prediction][found], counts.caption[~is_prediction][found] - n
        clipped = np.minimum(weights[position[found]], of_reference) * of_reference if len(keys) else of_reference[:0]
        dot = np.bincount(reference, clipped, minlength=len(image)).astype(np.float64)  # integers when empty
        norms = norm[image] * norm[n:]
        similarity += np.divide(dot, norms, out=dot.copy(), where=norms != 0)
    bigrams = np.maximum(0, corpus.lengths - 1)
    difference = (bigrams[image] - bigrams[n:]).astype(np.float64)
    similarity *= np.exp(-(difference**2) / (2 * _SIGMA**2))
    per_image = np.bincount(image, similarity / ORDER, minlength=n) / np.bincount(image, minlength=n)
    return per_image * _SCALE


def _idf(corpus: Corpus, caption: NDArray, ngram: NDArray, distinct: int) -> NDArray[np.float64]:
    """log(images) - log(images with the n-gram in a reference, at least 1), for every n-gram."""
    in_reference = caption >= corpus.images
    pairs = np.sort(corpus.image[caption[in_reference]] * distinct + ngram[in_reference])
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    frequency = np.bincount(pairs % distinct, minlength=distinct)
    return np.log(float(corpus.images)) - np.log(np.maximum(1.0, frequency))
