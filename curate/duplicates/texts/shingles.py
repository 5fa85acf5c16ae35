"""The shingles of texts, and the Jaccard index of two texts by them.

The shingles of a text are its words and its pairs of neighbouring words, with its beginning and its end as words. A
sign of a script that writes no blanks (Chinese, Japanese, Thai …) counts as a word. Of n words, one that is put in
leaves the index n / (n + 2), one that is replaced (n - 1) / (n + 2): at a threshold of 0.8, texts of less than 8 words
are alike only if they are equal. Texts that name other numbers are never alike: a caption that counts three cats is no
copy of one that counts four.
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
_PAIRS_AT_ONCE = 1 << 18
_EDGE = np.uint64(0x9E3779B97F4A7C15)
_LEFT, _RIGHT = np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)


# Of some texts: values, number of values of each text, digest of its numbers; see ``Shingles``.
Block = tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.uint64]]


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

    @classmethod
    def of(cls, blocks: Iterable[Block]) -> Shingles:
        """Those of blocks of texts, in memory."""
        none = np.empty(0, np.int64), np.zeros(1, np.int64), np.empty(0, np.uint64)
        values, sizes, numbers = zip(none, *blocks, strict=True)
        return cls(np.concatenate(values), np.cumsum(np.concatenate(sizes)), np.concatenate(numbers))

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
        scratch: as of ``map_shingles``.

    Raises:
        UserError: the file cannot be written.
    """
    return map_shingles(blocks_of(texts), scratch)


def map_shingles(blocks: Iterable[Block], scratch: Path) -> Shingles:
    """The shingles of blocks of texts.

    Args:
        scratch: a file for the values, which the result maps; delete it afterwards.

    Raises:
        UserError: the file cannot be written.
    """
    sizes, numbers = [np.zeros(1, np.int64)], [np.empty(0, np.uint64)]
    try:
        scratch.parent.mkdir(parents=True, exist_ok=True)
        with scratch.open("wb") as file:
            for values, size, number in blocks:
                file.write(values.data)
                sizes.append(size)
                numbers.append(number)
        starts = np.cumsum(np.concatenate(sizes))
        values = np.memmap(scratch, np.int64, "r") if starts[-1] else np.empty(0, np.int64)
    except OSError as error:
        raise UserError(disk_problem(error, scratch) or f"{scratch}: cannot be written ({error})") from error
    return Shingles(values, starts, np.concatenate(numbers))


def blocks_of(texts: Iterable[list[str]]) -> Iterator[Block]:
    """The shingles of texts, given as their words, as many at once as memory has room for."""
    return map(_shingles, _blocks(texts))


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


def _shingles(block: list[list[str]]) -> Block:
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
