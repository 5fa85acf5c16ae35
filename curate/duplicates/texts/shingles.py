"""Which texts are nearly the same: MinHash proposes pairs, the exact Jaccard index of their shingles confirms them.

The shingles of a text are its words and its pairs of neighbouring words, with its beginning and its end as words. A
sign of a script that writes no blanks (Chinese, Japanese, Thai …) counts as a word. Of n words, one that is put in
leaves the index n / (n + 2), one that is replaced (n - 1) / (n + 2): at a threshold of 0.8, texts of less than 8 words
are alike only if they are equal. Texts that name other numbers are never alike: a caption that counts three cats is no
copy of one that counts four.

Broder, *On the resemblance and containment of documents*, 1997; banding as in Leskovec, Rajaraman and Ullman, *Mining
of Massive Datasets*, chapter 3. Memory holds about 350 bytes a text; the shingles lie on disk.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from winnow.errors import UserError, disk_problem
from winnow.hash_index import digest64

if TYPE_CHECKING:
    from scipy.sparse import csr_array

# Signs of scripts without blanks: Thai, Lao, Myanmar, Khmer, kana, Han.
_UNSPACED = r"\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff"
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W_{_UNSPACED}]+")
_DIGIT = re.compile(r"\d")
_MOST_WORDS = 10_000  # of one text; what follows is not looked at
_BLOCK = 8192  # texts in memory as Python objects
_HASHES = 256  # of a signature
_RECALL = 0.995  # of pairs at the threshold
_SEED = 1
# In a bucket, a text is compared with so many of the first and so many of those right before it: a bucket of
# thousands, which texts of one template fill, costs thousands of comparisons, not millions.
_NEIGHBOURS = 4
_SKETCH = 128  # bytes of a signature that are compared before the shingles are
_PAIRS_AT_ONCE = 1 << 18
_ROWS_AT_ONCE = 1 << 14
_ENOUGH = 16  # a text that has so many pairs is compared with no more texts of other buckets
_EDGE = np.uint64(0x9E3779B97F4A7C15)
_LEFT, _RIGHT = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


def words_of(text: str) -> list[str]:
    """The words of a normalised text."""
    return _WORD.findall(text)[:_MOST_WORDS]


@dataclass(frozen=True)
class Shingles:
    """The shingles of some texts.

    Attributes:
        values: int64, not negative, those of all texts, each once in a text, ascending there.
        starts: int64 (n + 1,), where each text begins in ``values``.
        numbers: uint64 (n,), a digest of the words that have digits, with their repetition.
    """

    values: NDArray[np.int64]
    starts: NDArray[np.int64]
    numbers: NDArray[np.uint64]

    def __len__(self) -> int:
        return len(self.numbers)

    @cached_property
    def matrix(self) -> csr_array:
        """A row for each text, a column for each possible value, 1 where the text has it; shares ``values``."""
        from scipy.sparse import csr_array  # here, because it takes long to load

        ones = np.ones(len(self.values), np.int8)
        shape = (len(self), np.iinfo(np.int64).max)
        return csr_array((ones, self.values, self.starts), shape, copy=False)


def read_shingles(texts: Iterable[list[str]], scratch: Path) -> Shingles:
    """The shingles of texts, given as their words.

    Args:
        scratch: a file for the values, which the result maps; delete it afterwards.

    Raises:
        UserError: the file cannot be written.
    """
    sizes, numbers = [np.zeros(1, np.int64)], [np.empty(0, np.uint64)]
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            for block in _blocks(texts):
                values, size, number = _shingles(block)
                file.write(values.tobytes())
                sizes.append(size)
                numbers.append(number)
        starts = np.cumsum(np.concatenate(sizes))
        values = np.memmap(scratch, np.int64, "r") if starts[-1] else np.empty(0, np.int64)
    except OSError as error:
        raise UserError(disk_problem(error, scratch) or f"{scratch}: cannot be written ({error})") from error
    return Shingles(values, starts, np.concatenate(numbers))


def _blocks(texts: Iterable[list[str]]) -> Iterator[list[list[str]]]:
    block: list[list[str]] = []
    held = 0
    for words in texts:
        block.append(words)
        held += len(words)
        if len(block) == _BLOCK or held > 1 << 20:
            yield block
            block, held = [], 0
    if block:
        yield block


@lru_cache(maxsize=1 << 18)
def _word_hash(word: str) -> tuple[int, int]:
    """Of a word, and the same again if it has a digit, else 0."""
    digest = digest64(word)
    return digest, digest if _DIGIT.search(word) else 0


def _shingles(block: list[list[str]]) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]:
    """Values, number of values of each text, digest of its numbers."""
    hashes = np.array([_word_hash(word) for words in block for word in words], np.uint64).reshape(-1, 2)
    lengths = np.array([len(words) for words in block])
    ends = np.cumsum(lengths)
    sums = np.concatenate([np.zeros(1, np.uint64), np.cumsum(hashes[:, 1], dtype=np.uint64)])
    numbers = sums[ends] - sums[ends - lengths]
    # With an edge before each text and one after the last, a pair of neighbours is two entries in a row.
    words = np.insert(hashes[:, 0], np.concatenate([[0], ends]), _EDGE)
    row = np.repeat(np.arange(len(block)), lengths + 1)
    pairs = (words[:-1] * _LEFT) ^ ((words[1:] * _RIGHT) >> np.uint64(7)) ^ (words[1:] * _RIGHT)
    values = (np.concatenate([hashes[:, 0], pairs]) >> np.uint64(1)).astype(np.int64)
    rows = np.concatenate([np.repeat(np.arange(len(block)), lengths), row])
    order = np.lexsort((values, rows))
    values, rows = values[order], rows[order]
    new = np.ones(len(values), bool)
    new[1:] = (values[1:] != values[:-1]) | (rows[1:] != rows[:-1])
    return values[new], np.bincount(rows[new], minlength=len(block)).astype(np.int64), numbers


@dataclass(frozen=True)
class TextPairs:
    """Pairs of texts that are alike, arrays of one length, by ``j`` and then ``i``.

    Attributes:
        i, j: int64, indices of the texts; each pair once, with i < j.
        jaccard: float64, 0 to 1.
    """

    i: Indices
    j: Indices
    jaccard: NDArray[np.float64]


def similar_pairs(shingles: Shingles, threshold: float, left: int | None = None) -> TextPairs:
    """Pairs whose Jaccard index is at least ``threshold`` and that name the same numbers.

    No pair below the threshold is found; of those at it at least 99.5%, of those above it more. In a bucket of more
    than 9 texts, each is compared with the first 4 and the last 4 before it, and with none if 16 or more pairs of
    it with earlier texts are known from other buckets.

    Args:
        left: only pairs of one of the first ``left`` texts with one of the others.
    """
    known, jaccard = np.empty(0, np.uint64), np.empty(0)
    partners = np.zeros(len(shingles), np.int64)
    bands, sketches = _signatures(shingles, threshold)
    for buckets in bands:
        codes, indices = [known], [jaccard]
        for i, j in _neighbours(buckets, left):
            open_ = partners[j] < _ENOUGH
            code = np.sort(_code(i[open_], j[open_]))
            new = _pair(code[~_contains(known, code)])
            i, j, index = confirm(shingles, *_likely(sketches, *new, threshold), threshold)
            codes.append(_code(i, j))
            indices.append(index)
        if sum(map(len, codes)) > len(known):
            known, jaccard = np.concatenate(codes), np.concatenate(indices)
            order = np.argsort(known, kind="stable")  # each pair is there once
            known, jaccard = known[order], jaccard[order]
            partners = np.bincount(_pair(known)[1], minlength=len(shingles))
    return TextPairs(*_pair(known), jaccard)


def _code(i: Indices, j: Indices) -> NDArray[np.uint64]:
    """One number for a pair; they ascend by j, then i."""
    return j.astype(np.uint64) << np.uint64(32) | i.astype(np.uint64)


def _pair(code: NDArray[np.uint64]) -> tuple[Indices, Indices]:
    return (code & np.uint64(0xFFFFFFFF)).astype(np.int64), (code >> np.uint64(32)).astype(np.int64)


def _contains(ascending: NDArray[np.uint64], values: NDArray[np.uint64]) -> NDArray[np.bool_]:
    if not len(ascending):
        return np.zeros(len(values), bool)
    at = np.searchsorted(ascending, values)
    return np.asarray(ascending[np.minimum(at, len(ascending) - 1)] == values)


def confirm(
    shingles: Shingles, i: Indices, j: Indices, threshold: float
) -> tuple[Indices, Indices, NDArray[np.float64]]:
    """Those of the pairs that are alike, with their Jaccard index."""
    size = np.diff(shingles.starts)
    smaller, larger = np.minimum(size[i], size[j]), np.maximum(size[i], size[j])
    possible = (shingles.numbers[i] == shingles.numbers[j]) & (smaller >= threshold * larger) & (smaller > 0)
    i, j = i[possible], j[possible]
    jaccard = np.empty(len(i))
    # Pairs of long texts are compared in smaller portions.
    portion = np.cumsum(size[i] + size[j]) // (_PAIRS_AT_ONCE * 16)
    for block in np.split(np.arange(len(i)), np.flatnonzero(np.diff(portion)) + 1):
        jaccard[block] = _jaccard(shingles, i[block], j[block])
    alike = jaccard >= threshold
    return i[alike], j[alike], jaccard[alike]


def _jaccard(shingles: Shingles, i: Indices, j: Indices) -> NDArray[np.float64]:
    size = np.diff(shingles.starts)
    shared = np.diff(shingles.matrix[i].multiply(shingles.matrix[j]).indptr)
    return np.asarray(shared / (size[i] + size[j] - shared))


def bands_for(threshold: float) -> tuple[int, int]:
    """Number of bands and of hashes in each: the longest bands that propose enough of the pairs at the threshold."""
    for rows in range(_HASHES, 1, -1):
        bands = _HASHES // rows
        if 1 - (1 - threshold**rows) ** bands >= _RECALL:
            return bands, rows
    return _HASHES, 1


def _likely(sketches: NDArray[np.uint8], i: Indices, j: Indices, threshold: float) -> tuple[Indices, Indices]:
    """Pairs whose sketches do not contradict the threshold: no more than four standard errors below it."""
    least = threshold - 4 * (threshold * (1 - threshold) / _SKETCH) ** 0.5
    likely = np.concatenate([
        np.count_nonzero(sketches[i[at : at + _ROWS_AT_ONCE]] == sketches[j[at : at + _ROWS_AT_ONCE]], axis=1)
        >= least * _SKETCH
        for at in range(0, max(len(i), 1), _ROWS_AT_ONCE)
    ])  # fmt: skip
    return i[likely], j[likely]


def _signatures(shingles: Shingles, threshold: float) -> tuple[NDArray[np.uint32], NDArray[np.uint8]]:
    """The bucket of each text in each band, (bands, n), and its sketch, (n, 128).

    Buckets have 32 bits, and the hashes of a sketch 8: what is equal by chance is not confirmed.
    """
    from rensa import RMinHash

    bands, rows = bands_for(threshold)
    columns, sketches = np.empty((bands, len(shingles)), np.uint32), np.empty((len(shingles), _SKETCH), np.uint8)
    weights = (np.arange(1, 2 * rows, 2, dtype=np.uint64) * _LEFT) | np.uint64(1)
    for start in range(0, len(shingles), _BLOCK):
        starts = shingles.starts[start : start + _BLOCK + 1]
        values = np.asarray(shingles.values[starts[0] : starts[-1]]).view(np.uint64)
        offsets = (starts - starts[0]).tolist()
        signed = RMinHash.digest_matrix_from_flat_token_hashes(values, offsets, bands * rows, _SEED)
        signature = np.array(signed.to_rows(), np.uint64).reshape(len(offsets) - 1, bands, rows)
        mixed = (signature * weights).sum(axis=2, dtype=np.uint64)
        columns[:, start : start + len(mixed)] = (mixed >> np.uint64(32)).T
        flat = signature.reshape(len(mixed), -1)[:, :_SKETCH]
        sketches[start : start + len(mixed)] = flat & np.uint64(255)
    return columns, sketches


def _neighbours(bucket: NDArray[np.uint32], left: int | None) -> Iterator[tuple[Indices, Indices]]:
    """Pairs i < j of one bucket: with the first texts of the bucket, and with those right before."""
    order = np.argsort(bucket, kind="stable")
    ordered = bucket[order]
    new = np.ones(len(order), bool)
    new[1:] = ordered[1:] != ordered[:-1]
    if new.all():
        return
    place = np.arange(len(order))
    first = np.maximum.accumulate(np.where(new, place, 0))
    inside = place - first
    for back in range(1, _NEIGHBOURS + 1):
        yield from _kept(order[np.maximum(place - back, 0)], order, inside >= back, left)
    for ahead in range(_NEIGHBOURS):
        yield from _kept(order[np.minimum(first + ahead, len(order) - 1)], order, inside - ahead > _NEIGHBOURS, left)


def _kept(i: Indices, j: Indices, there: NDArray[np.bool_], left: int | None) -> Iterator[tuple[Indices, Indices]]:
    if left is not None:
        there = there & (i < left) & (j >= left)
    chosen = np.flatnonzero(there)
    for start in range(0, len(chosen), _PAIRS_AT_ONCE):
        part = chosen[start : start + _PAIRS_AT_ONCE]
        yield i[part], j[part]


def text_stars(pairs: TextPairs, shingles: Shingles, threshold: float) -> tuple[Indices, NDArray[np.float64]]:
    """For each text the first one that stands for it, itself for most; and its Jaccard index with that one.

    Groups are stars as those of images are (``curate.duplicates.images.clusters``): each text belongs to the first text
    that it is alike and that belongs to no other. A text whose neighbours all belong to another one is compared with
    that one too, so that little is lost in a bucket that was not compared whole.
    """
    code, jaccard = _code(pairs.i, pairs.j), pairs.jaccard
    while True:
        star = _assigned(code, len(shingles))
        i, j = _pair(code)
        lost = (star[j] == j) & (star[i] != i)
        asked = np.unique(_code(star[i[lost]], j[lost]))
        i, j, more = confirm(shingles, *_pair(asked[~_contains(code, asked)]), threshold)
        if not len(i):
            break
        code, jaccard = np.concatenate([code, _code(i, j)]), np.concatenate([jaccard, more])
        order = np.argsort(code, kind="stable")
        code, jaccard = code[order], jaccard[order]
    similarity = np.ones(len(shingles))
    member = np.flatnonzero(star != np.arange(len(star)))
    similarity[member] = jaccard[np.searchsorted(code, _code(star[member], member))]
    return star, similarity


def _assigned(code: NDArray[np.uint64], count: int) -> Indices:
    star = np.arange(count)
    for at in range(0, len(code), _PAIRS_AT_ONCE):
        i, j = _pair(code[at : at + _PAIRS_AT_ONCE])
        for first, text in zip(i.tolist(), j.tolist(), strict=True):
            if star[text] == text and star[first] == first:
                star[text] = first
    return star
