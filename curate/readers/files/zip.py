"""Zip files of strangers: a list of members that is too long is refused before it is parsed."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path

MOST_LISTED = 100 << 20  # bytes of the list of members: half a million with names of 150 letters
_SIGNATURE = b"PK\1\2"  # of each member in it


class BoundedZip(zipfile.ZipFile):
    """A zip file of at most so many members, to be read.

    ``ZipFile`` makes an object of about 500 bytes for each member that the list holds, whatever number the end of the
    file states. It asks for the list in one piece, of the size that is stated there, and that is where it is looked at.

    Raises:
        zipfile.BadZipFile: more members, a list of more than ``MOST_LISTED`` bytes, or no zip file.
        OSError: the file cannot be read.
    """

    _file: _Listed | None = None

    def __init__(self, path: Path, most: int) -> None:
        self._file = _Listed(path, most)
        try:
            super().__init__(self._file)
        except BaseException:
            self._file.close()
            raise
        self._file.is_listed = True

    def close(self) -> None:
        """Close the file."""
        super().close()
        if self._file is not None:  # as it is if the file cannot be opened
            self._file.close()


class _Listed(io.BufferedReader):
    """A file that does not hand over a list of too many members."""

    is_listed = False

    def __init__(self, path: Path, most: int) -> None:
        super().__init__(io.FileIO(path))
        self._most = most

    def read(self, size: int | None = -1, /) -> bytes:
        if self.is_listed:
            return super().read(size)
        if size is not None and size > MOST_LISTED:
            raise zipfile.BadZipFile(f"its list of members has {size:,} bytes, more than {MOST_LISTED:,}")
        data = super().read(size)
        if data.count(_SIGNATURE) > self._most:
            raise zipfile.BadZipFile(f"more than {self._most:,} files")
        return data
