"""Which path decodes which image: a file that all workers read and write, so that no bytes are decoded twice.

It is a hint. Writes of two processes may cross, and a machine without the file decodes everything; who collects the
rows asks again for an image that no path has brought, and drops one that two have.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

_ENTRY = 16  # bytes: number of the path + 1, digest of the key
_PROBES = 8  # slots; where all are taken, the image is decoded
_SPREAD = 4  # standard deviations of a key's place among sorted random keys


@dataclass(frozen=True, slots=True)
class Claims:
    """The file; picklable.

    Attributes:
        known: keys of earlier runs, which are sorted at the start of the file.
        slots: of the table that follows: open addressing, a power of two.
    """

    file: str
    known: int
    slots: int

    def take(self, key: str, number: int) -> bool:
        """Whether path ``number`` has to decode the image ``key``: no path before it does, and no earlier run has."""
        try:
            handle = _opened(self.file)
            digest = short_key(key)
            return not self._is_known(handle, digest) and self._is_first(handle, digest, number + 1)
        except OSError:
            return True

    def _is_known(self, handle: int, digest: int) -> bool:
        if not self.known:
            return False
        # Keys are digests, so they are spread evenly: the place is known but for some hundreds of entries.
        place, reach = digest * self.known >> 64, _SPREAD * int(self.known**0.5) + 16
        start = max(place - reach, 0)
        near = np.frombuffer(os.pread(handle, 8 * (min(place + reach, self.known) - start), 8 * start), "<u8")
        at = int(near.searchsorted(np.uint64(digest)))
        return at < len(near) and int(near[at]) == digest

    def _is_first(self, handle: int, digest: int, number: int) -> bool:
        for probe in range(_PROBES):
            at = 8 * self.known + _ENTRY * ((digest + probe) % self.slots)
            entry = os.pread(handle, _ENTRY, at)
            there = int.from_bytes(entry[8:], "little")
            if there not in (0, digest):
                continue
            if there == digest and int.from_bytes(entry[:8], "little") < number:
                return False
            os.pwrite(handle, number.to_bytes(8, "little") + digest.to_bytes(8, "little"), at)
            return True
        return True


@contextlib.contextmanager
def open_claims(folder: Path, known: NDArray[np.uint64], paths: int) -> Iterator[Claims]:
    """A new file in a folder, removed at the end.

    Args:
        known: ``short_key`` of the images of earlier runs, ascending.
        paths: that are read at most; more of them only leave less room.
    """
    folder.mkdir(parents=True, exist_ok=True)
    slots = 1 << max(2 * paths, 1024).bit_length()
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".claims-", suffix=".tmp") as file:
        file.write(known.astype("<u8").tobytes())
        file.truncate(8 * len(known) + _ENTRY * slots)
        file.flush()
        yield Claims(str(Path(file.name).resolve()), len(known), slots)


def short_key(key: str) -> int:
    """64 bits of an image key, never 0."""
    return int(key[:16], 16) or 1


_handles: dict[str, int] = {}  # of the last file


def _opened(file: str) -> int:
    if file not in _handles:
        for handle in _handles.values():
            os.close(handle)
        _handles.clear()
        _handles[file] = os.open(file, os.O_RDWR | os.O_CLOEXEC)
    return _handles[file]
