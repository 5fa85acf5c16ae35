"""Counts of n-grams in many captions at once, as flat NumPy arrays."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from evalsuite.metrics.checks import check_captions
from evalsuite.metrics.tokenizers import TokenizerName, counted_words

ORDER = 4
Ints = NDArray[np.int64]


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
