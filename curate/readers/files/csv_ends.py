"""Where the records of a CSV file end, by a scan of its bytes: at the line ends outside quotes.

Whether a byte is inside quotes follows from the number of quotes before it. To the ``csv`` module, which reads the
records, a quote in the middle of a bare cell is a letter: where one stands, it is not sure that records end where the
scan says.
"""

from __future__ import annotations

import codecs

import numpy as np
from numpy.typing import NDArray

_QUOTE, _LF = b'"\n'


class CsvEnds:
    """Finds the ends in the blocks of a UTF-8 file, in order; the first one begins with a record."""

    def __init__(self, delimiter: str) -> None:
        self._before_quotes = np.frombuffer(delimiter.encode() + b'"\n\r', np.uint8)
        self._inside, self._last = False, _LF

    def __call__(self, block: bytes) -> NDArray[np.int64] | None:
        """The bytes of the block at which the next record begins; None if that is not sure."""
        data = np.frombuffer(block, np.uint8)
        quotes = np.flatnonzero(data == _QUOTE)
        lines = np.flatnonzero(data == _LF) + 1
        # A second quote in a row reopens the cell that the first one closed, as ``csv`` has it.
        opening = quotes[int(self._inside) :: 2]
        before = data[opening - 1]
        if len(opening) and opening[0] == 0:
            before[0] = self._last
        if not np.isin(before, self._before_quotes).all():
            return None
        outside = np.searchsorted(quotes, lines) % 2 == int(self._inside)
        self._inside ^= len(quotes) % 2 == 1
        self._last = block[-1]
        found: NDArray[np.int64] = lines[outside]
        return found


def csv_header(start: bytes, delimiter: str) -> bytes | None:
    """The first record of a file that begins with these bytes; None if it is not sure where that ends."""
    unmarked = start.removeprefix(codecs.BOM_UTF8)
    ends = CsvEnds(delimiter)(unmarked) if unmarked else None
    if ends is None or not len(ends):
        return None
    header = start[: len(start) - len(unmarked) + int(ends[0])]
    return None if b"\r" in header.removesuffix(b"\n").removesuffix(b"\r") else header
