"""What earlier runs measured, in about 60 bytes an image, so that no file is opened and no image decoded twice."""

from __future__ import annotations

import os
import stat
from array import array
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from curate.measure.row import PathRow
from curate.measure.store import Store
from winnow.hash_index import HashIndex
from winnow.images import locate, wrong_extension

_STILL_DECODES = ("animated", "wrong_extension")


class MeasuredImages:
    """An index of unique images by key, with what a path that leads to one needs to know of it."""

    def __init__(self, parts: Iterable[Path]) -> None:
        self._index = HashIndex()
        self._facts: list[tuple[str | None, str | None]] = []  # the few distinct (error, format)
        self._fact_of = array("H")
        for part in parts:
            columns = pq.read_table(part, columns=["image_key", "error", "format", "frames"])
            for row in columns.to_pylist():
                self.add(row)

    def __contains__(self, key: str) -> bool:
        return self._index.get(_short(key)) is not None

    def add(self, row: dict[str, Any]) -> None:
        """Remember a measured row."""
        error, format_ = row.get("error"), row.get("format")
        if error == "wrong_extension":  # a fault of the path, not of the image
            error = "animated" if (row.get("frames") or 1) > 1 and format_ != "MPO" else None
        fact = (error, format_)
        if fact not in self._facts:
            self._facts.append(fact)
        self._index.add(_short(row["image_key"]), len(self._fact_of))
        self._fact_of.append(self._facts.index(fact))

    def path_error(self, path: str, key: str) -> tuple[str | None, str | None]:
        """Class and detail of a path that leads to the image ``key``."""
        number = self._index.get(_short(key))
        error, format_ = self._facts[self._fact_of[number]] if number is not None else (None, None)
        if error is not None and error not in _STILL_DECODES:
            return error, None
        misnamed = wrong_extension(path, format_ or "") if format_ else None
        return ("wrong_extension", misnamed) if misnamed else (error, None)


class MeasuredPaths:
    """An index of the paths of earlier blocks, with size and time of their files."""

    def __init__(self, store: Store) -> None:
        self._index = HashIndex()
        self._sizes, self._times = array("q"), array("q")
        self._errors: list[str] = [""]
        self._error_of = array("B")
        self._keyed = array("b")
        self._replaced = array("b")
        for table in store.measured_paths():
            for row in table.to_pylist():
                self.add(PathRow(**{**row, "size": row["size"] or 0, "mtime_ns": row["mtime_ns"] or -1}))

    def add(self, row: PathRow) -> None:
        """Remember a path; an older row of it no longer counts."""
        before = self._index.put(row.path, len(self._sizes))
        if before is not None:
            self._replaced[before] = 1
        self._sizes.append(row.size)
        self._times.append(row.mtime_ns)
        if (row.error or "") not in self._errors:
            self._errors.append(row.error or "")
        self._error_of.append(self._errors.index(row.error or ""))
        self._keyed.append(row.image_key is not None)
        self._replaced.append(0)

    def superseded(self) -> np.ndarray:
        """Bool array over all rows, in the order they were added."""
        return np.frombuffer(self._replaced, dtype=np.int8).astype(bool)

    def unchanged(self, path: str, root: str, max_bytes: int) -> str | None:
        """The class of a path ('' for none) that is as it was; None if it is new or has changed."""
        number = self._index.get(path)
        if number is None:
            return None
        error = self._errors[self._error_of[number]]
        if self._keyed[number]:
            try:
                status = os.stat(f"{root}/{path}")  # noqa: PTH116 (a million of these)
            except (OSError, ValueError):
                return None
            same = (status.st_size, status.st_mtime_ns) == (self._sizes[number], self._times[number])
            return error if same and stat.S_ISREG(status.st_mode) else None
        return error if locate(path, root, max_bytes=max_bytes).error == error else None


def _short(key: str) -> int:
    return int(key[:16], 16) or 1
