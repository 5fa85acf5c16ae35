"""Images that several rows of a table share: the cell of one row holds it, those of the others name that row.

VLMEvalKit writes its tables so. The images that rows refer to wait in a temporary file, so that memory does not grow
with the table.
"""

from __future__ import annotations

import functools
import re
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import IO, Any

from curate.readers.alone import needs_other_rows
from curate.readers.files.json import RawRow
from winnow.rows.records import BadRow

_LONGEST_ID = 64  # characters; no encoded image is shorter
_ID = re.compile(rf"[\w-]{{1,{_LONGEST_ID}}}")  # a path to an image has an ending


class SharedImages:
    """Looks up the images that rows name by another row's id.

    Args:
        read: gives the table's rows from the start. It is read twice when the first such row is met, else never.
    """

    def __init__(self, read: Callable[[], Iterable[RawRow | BadRow]]) -> None:
        self._read = read
        self._held = functools.cache(self._hold)

    def filled(self, row: Mapping[str, Any], image: str, own: str) -> Mapping[str, Any]:
        """The row with the image that it refers to; unchanged if it refers to none.

        Args:
            image, own: the columns of the image and of the row's id.
        """
        cell = row.get(image)
        if not isinstance(cell, str) or not _ID.fullmatch(cell):
            return row
        file, places = self._held(image, own)
        if cell not in places:
            return row
        begin, length = places[cell]
        file.seek(begin)
        return {**row, image: file.read(length).decode()}

    def _hold(self, image: str, own: str) -> tuple[IO[bytes], dict[str, tuple[int, int]]]:
        """A temporary file with the images that are referred to, and where in it each begins and how long it is."""
        needs_other_rows()
        wanted = {cell for _, cell in self._cells(image, own) if _ID.fullmatch(cell)}
        file = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the table is read)
        places = {}
        for row_id, cell in self._cells(image, own):
            if row_id in wanted and len(cell) > _LONGEST_ID:
                data = cell.encode()
                places[row_id] = file.tell(), len(data)
                file.write(data)
        return file, places

    def _cells(self, image: str, own: str) -> Iterator[tuple[str, str]]:
        for row in self._read():
            if isinstance(row, RawRow) and isinstance(row.value, dict) and isinstance(row.value.get(image), str):
                yield str(row.value.get(own)), row.value[image]
