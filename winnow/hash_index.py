"""A hash index from texts to numbers that takes about 24 bytes a text, however long the text is."""

from __future__ import annotations

import hashlib
from array import array

_START_BITS = 12


def digest64(text: str) -> int:
    """64 bits of blake2b, never 0."""
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "little") or 1


class HashIndex:
    """A map from texts to numbers ≥ 0: an open-addressing table of 64-bit digests.

    Among ten million texts, two share a digest with probability 3e-6; the second is then taken for the
    first. Methods take the text, or its ``digest64``.
    """

    def __init__(self) -> None:
        self._bits = _START_BITS
        self._count = 0
        self._digests = array("Q", bytes(8 << self._bits))  # 0 marks a free slot
        self._numbers = array("Q", bytes(8 << self._bits))

    def __len__(self) -> int:
        return self._count

    def get(self, text: str | int) -> int | None:
        """The number stored for ``text``, or None."""
        slot, found = self._slot(_as_digest(text))
        return self._numbers[slot] if found else None

    def add(self, text: str | int, number: int) -> int | None:
        """Store ``number`` for a new text and return None; a known text keeps its number, which is returned."""
        return self._store(text, number, replace=False)

    def put(self, text: str | int, number: int) -> int | None:
        """Store ``number``; return the number it replaces, or None."""
        return self._store(text, number, replace=True)

    def _store(self, text: str | int, number: int, *, replace: bool) -> int | None:
        digest = _as_digest(text)
        slot, found = self._slot(digest)
        if found:
            before = self._numbers[slot]
            if replace:
                self._numbers[slot] = number
            return before
        self._digests[slot] = digest
        self._numbers[slot] = number
        self._count += 1
        if self._count * 3 > 2 << self._bits:
            self._grow()
        return None

    def _slot(self, digest: int) -> tuple[int, bool]:
        mask = (1 << self._bits) - 1
        slot = digest & mask
        while stored := self._digests[slot]:
            if stored == digest:
                return slot, True
            slot = (slot + 1) & mask
        return slot, False

    def _grow(self) -> None:
        digests, numbers = self._digests, self._numbers
        self._bits += 1
        self._digests = array("Q", bytes(8 << self._bits))
        self._numbers = array("Q", bytes(8 << self._bits))
        for digest, number in zip(digests, numbers, strict=True):
            if digest:
                slot, _ = self._slot(digest)
                self._digests[slot], self._numbers[slot] = digest, number


def _as_digest(text: str | int) -> int:
    return text if isinstance(text, int) else digest64(text)
