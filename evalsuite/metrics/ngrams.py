"""N-grams of many captions at once, as flat NumPy arrays, and the BLEU and CIDEr-D of their counts.

Constants and order of operations are those of pycocoevalcap 1.2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from evalsuite.metrics.checks import check_captions
from evalsuite.metrics.tokenizers import TokenizerName, counted_words
from evalsuite.statistics import Floats

ORDER = 4
SCALE = 10.0  # of CIDEr-D
_SIGMA = 6.0  # of CIDEr-D's length penalty
_TINY, _SMALL = 1e-15, 1e-9  # BLEU's, against division by zero
Ints = NDArray[np.int64]
Numbers = Ints | Floats


@dataclass(frozen=True)
class Counts:
    """n-grams of one order: one entry per (caption, n-gram) pair, sorted by caption, then n-gram.

    Attributes:
        caption: index of the caption.
        ngram: number of the n-gram; equal n-grams have equal numbers in every caption.
        count: how often it occurs there.
        distinct: number of different n-grams of this order.
    """

    caption: Ints
    ngram: Ints
    count: Ints
    distinct: int


@dataclass(frozen=True)
class Corpus:
    """Tokenised predictions and references. Captions 0 … n-1 are the predictions, then come the references.

    Attributes:
        ids: ids of the n images, in the order of the predictions.
        image: for each caption the index of its image.
        lengths: words in each caption.
        counts: n-gram counts for orders 1 to 4.
    """

    ids: list[str]
    image: Ints
    lengths: Ints
    counts: list[Counts]

    @property
    def images(self) -> int:
        """Number of images."""
        return len(self.ids)


def build_corpus(
    predictions: Mapping[str, str], references: Mapping[str, Sequence[str]], tokenize: TokenizerName = "ptb"
) -> Corpus:
    """Tokenise and count; raises UserError as ``check_captions`` and ``counted_words`` do."""
    check_captions(predictions, references)
    ids = tuple(predictions)
    texts = (*(predictions[key] for key in ids), *(text for key in ids for text in references[key]))
    return _corpus(ids, texts, tuple(len(references[key]) for key in ids), tokenize)


# BLEU and CIDEr of the same captions need the same counts.
@lru_cache(maxsize=1)
def _corpus(
    ids: tuple[str, ...], texts: tuple[str, ...], references: tuple[int, ...], tokenize: TokenizerName
) -> Corpus:
    words = counted_words(tokenize)
    captions = [words(text) for text in texts]
    of_image = np.arange(len(ids))
    image = np.concatenate([of_image, np.repeat(of_image, references)])
    lengths = np.fromiter(map(len, captions), np.int64, len(captions))
    return Corpus(list(ids), image, lengths, _count(captions, lengths))


def _count(captions: Sequence[Sequence[str]], lengths: Ints) -> list[Counts]:
    flat = list(chain.from_iterable(captions))
    vocabulary = {word: number for number, word in enumerate(dict.fromkeys(flat))}
    word = np.fromiter(map(vocabulary.__getitem__, flat), np.int64, len(flat))
    caption = np.repeat(np.arange(len(captions)), lengths)
    left = np.repeat(np.cumsum(lengths), lengths) - np.arange(len(word))  # words from here to the caption's end
    counts: list[Counts] = []
    start, ngram, distinct = np.arange(len(word)), word, len(vocabulary)
    for n in range(1, ORDER + 1):
        if n > 1:
            inside = left[start] >= n
            start = start[inside]
            # An n-gram is its first n-1 words and the last one; numbering pairs keeps the numbers small.
            pairs = ngram[inside] * len(vocabulary) + word[start + n - 1]
            values, ngram = np.unique(pairs, return_inverse=True)
            distinct = len(values)
        keys, count = np.unique(caption[start] * max(distinct, 1) + ngram, return_counts=True)
        counts.append(Counts(keys // max(distinct, 1), keys % max(distinct, 1), count, distinct))
    return counts


def find(keys: Ints, wanted: Ints) -> tuple[Ints, NDArray[np.bool_]]:
    """Positions of ``wanted`` in the sorted ``keys``, and whether each is there."""
    if not len(keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    position = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return position, keys[position] == wanted


@dataclass(frozen=True)
class BleuCounts:
    """Counts of each image; the BLEU of their sums is corpus BLEU.

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


def bleu_of(correct: Numbers, guess: Numbers, length: Numbers, reference_length: Numbers) -> Floats:
    """BLEU-1 to BLEU-4 (rows, 4) from counts (rows, 4) and lengths (rows,)."""
    precision = (correct.astype(np.float64) + _TINY) / (guess.astype(np.float64) + _SMALL)
    scores: Floats = np.cumprod(precision, axis=1) ** (1.0 / np.arange(1, ORDER + 1))
    ratio = (length.astype(np.float64) + _TINY) / (reference_length.astype(np.float64) + _SMALL)
    with np.errstate(over="ignore"):
        penalty = np.where(ratio < 1, np.exp(1 - 1 / ratio), 1.0)
    return scores * penalty[:, None]


def cider_of(corpus: Corpus) -> Floats:
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
    per_image: Floats = np.bincount(image, similarity / ORDER, minlength=n) / np.bincount(image, minlength=n)
    return per_image * SCALE


def _idf(corpus: Corpus, caption: Ints, ngram: Ints, distinct: int) -> Floats:
    """log(images) - log(images with the n-gram in a reference, at least 1), for every n-gram."""
    in_reference = caption >= corpus.images
    pairs = np.sort(corpus.image[caption[in_reference]] * distinct + ngram[in_reference])
    pairs = pairs[np.diff(pairs, prepend=-1) != 0]
    frequency = np.bincount(pairs % distinct, minlength=distinct)
    weights: Floats = np.log(float(corpus.images)) - np.log(np.maximum(1.0, frequency))
    return weights
