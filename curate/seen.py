"""A set of texts that remembers positions, in about 24 bytes a text whatever their length."""

from __future__ import annotations

import hashlib
from array import array

_START_BITS = 12


class SeenTexts:
    """Open-addressing table of 64-bit digests.

    Two different texts share a digest with probability 3e-6 among ten million; a text is then
    taken for the other one.
    """

    def __init__(self) -> None:
        self._bits = _START_BITS
        self._count = 0
        self._digests = array("Q", bytes(8 << self._bits))
        self._positions = array("Q", bytes(8 << self._bits))

    def __len__(self) -> int:
        return self._count

    def get(self, text: str) -> int | None:
        """Position stored for ``text``, or None."""
        slot, found = self._slot(_digest(text))
        return self._positions[slot] if found else None

    def add(self, text: str, position: int) -> int | None:
        """Store ``position`` for a new text; for a known one, return its position and change nothing."""
        digest = _digest(text)
        slot, found = self._slot(digest)
        if found:
            return self._positions[slot]
        self._digests[slot] = digest
        self._positions[slot] = position
        self._count += 1
        if self._count * 3 > 2 << self._bits:
            self._grow()
        return None

    def count(self, text: str) -> int:
        """How often ``text`` was counted before; do not mix with ``add`` on the same object."""
        before = self.add(text, 1)
        if before is None:
            return 0
        self._positions[self._slot(_digest(text))[0]] = before + 1
        return before

    def _slot(self, digest: int) -> tuple[int, bool]:
        mask = (1 << self._bits) - 1
        slot = digest & mask
        while stored := self._digests[slot]:
            if stored == digest:
                return slot, True
            slot = (slot + 1) & mask
        return slot, False

    def _grow(self) -> None:
        digests, positions = self._digests, self._positions
        self._bits += 1
        self._digests = array("Q", bytes(8 << self._bits))
        self._positions = array("Q", bytes(8 << self._bits))
        for digest, position in zip(digests, positions, strict=True):
            if digest:
                slot, _ = self._slot(digest)
                self._digests[slot], self._positions[slot] = digest, position


def _digest(text: str) -> int:
    """64 bits of blake2b, never 0 (0 marks a free slot)."""
    raw = hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(raw, "little") or 1
