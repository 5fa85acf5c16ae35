"""Which column of a table holds the images: found by what its cells hold, whatever its name.

A cell holds images if it has bytes that begin as an image file does, an object with such bytes or a path, a data URI or
base64, a path or URL that ends as image files do, a path without such an ending where an image lies, or a list of
these. A name that image columns usually have decides between columns that hold images.
"""

from __future__ import annotations

import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import is_file
from curate.readers.images import is_encoded, suffix_of
from curate.readers.json import RawRow
from curate.readers.tables import is_empty, list_literal
from winnow.images import is_url
from winnow.records import BadRow

# Names that image columns have; those in ``_OF_ANYTHING`` also have other contents.
NAMES = (
    "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "file_names",
    "filename", "image_name", "filepath", "path", "image_bytes", "image_base64", "img_base64", "base64",
    "image_url", "url", "jpg", "png",
)  # fmt: skip
_OF_ANYTHING = frozenset({"filename", "filenames", "filepath", "path", "base64", "url", "jpg", "png"})
_ENDING = re.compile(
    r"\.(jpe?g|jpe|jfif|png|apng|gif|webp|bmp|dib|tiff?|jp2|j2k|jpx|jxl|avif|heic|heif|p[bgpn]m|mpo|ico|tga|svg)",
    re.IGNORECASE,
)
_NUMBERED = re.compile(r"(?:image|img)[\s_-]?(?:(?:path|file|url)[\s_-]?)?(\d+)", re.IGNORECASE)
_LONGEST_PATH = 1024
_ROWS, _BYTES = 50, 64 << 20


def plain_name(name: str) -> str:
    """A column's name without case, blanks, ``_``, ``-`` and ``.``: ``Image Path`` and ``imagePath`` are one."""
    return re.sub(r"[\s_.-]+", "", name.lower())


_HINTS = {plain_name(name): rank for rank, name in enumerate(NAMES)}


def numbered_images(names: Iterable[str]) -> list[str]:
    """``image_1``, ``image_2`` … among column names, by number."""
    found = {name: int(number[1]) for name in names if (number := _NUMBERED.fullmatch(name.strip()))}
    return sorted(found, key=lambda name: (found[name], name))


class ImageColumns:
    """Finds the image columns of one table by its first 50 rows; later rows are looked at until one is found."""

    def __init__(self, read: Callable[[], Iterable[RawRow | BadRow]], roots: Sequence[Path]) -> None:
        self._read, self._roots = read, roots
        self._filled, self._likely, self._there = Counter[str](), Counter[str](), Counter[str]()
        self._first_rows_seen = False

    def of(self, row: Mapping[str, Any]) -> list[str]:
        """The image columns of a row, the best first; those of one kind with it are other images, not other forms."""
        if not self._first_rows_seen:
            self._first_rows_seen = True
            self._look_at_first_rows()
        found = self._ranked(row)
        if not found:
            self._look(row)
            found = self._ranked(row)
        return found

    def _look_at_first_rows(self) -> None:
        size = 0
        for raw in itertools.islice(self._read(), _ROWS):
            if isinstance(raw, RawRow) and isinstance(raw.value, dict):
                self._look(raw.value)
                size += sum(len(cell) for cell in raw.value.values() if isinstance(cell, str | bytes))
                if size > _BYTES:
                    return

    def _look(self, row: Mapping[str, Any]) -> None:
        for name, cell in row.items():
            if not is_empty(cell):
                there = self.is_there(cell)
                self._filled[name] += 1
                self._there[name] += there
                self._likely[name] += there or is_likely(cell)

    def _ranked(self, row: Mapping[str, Any]) -> list[str]:
        likely = [name for name in row if 2 * self._likely[name] > self._filled[name] or self._is_named_so(name)]

        def rank(name: str) -> tuple[bool, bool, int, int]:
            hint = _HINTS.get(plain_name(name), len(_HINTS))
            there = self._there[name]
            return not there, not self._likely[name], hint, -there

        return sorted(likely, key=rank)

    def _is_named_so(self, name: str) -> bool:
        """Whether a name alone is enough, as a column of images without an ending that are all missing needs."""
        plain = plain_name(name)
        return self._filled[name] > 0 and plain in _HINTS and plain not in _OF_ANYTHING

    def is_there(self, cell: Any) -> bool:
        """Whether all images of a cell are bytes, or files below one of the roots."""
        items = _items(cell)
        return bool(items) and all(self._has(item) for item in items)

    def _has(self, item: Any) -> bool:
        if _holds_bytes(item):
            return True
        path = path_in(item)
        if not 0 < len(path) <= _LONGEST_PATH or is_url(path) or "\n" in path:
            return False
        return any(
            is_file(root, path) and (_ENDING.search(path) is not None or _begins_as_image(root / path))
            for root in self._roots
        )


def is_likely(cell: Any) -> bool:
    """Whether all items of a cell look like images: by their bytes, or by their ending."""
    items = _items(cell)
    return bool(items) and all(_holds_bytes(item) or ends_as_image(path_in(item)) for item in items)


def ends_as_image(path: str) -> bool:
    """Whether a path or URL ends as image files do."""
    if not path or len(path) > _LONGEST_PATH or "\n" in path:
        return False
    path = re.split(r"[?#]", path, maxsplit=1)[0] if is_url(path) else path
    return _ENDING.fullmatch(path[path.rfind(".") :].strip()) is not None if "." in path else False


def looks_like_path(cell: Any) -> bool:
    """Whether a text may be the path of a file, of whatever kind: it has a folder and no blanks."""
    return isinstance(cell, str) and re.fullmatch(r"[^\s:]{0,200}[/\\][^\s/\\:]{1,200}", cell) is not None


def path_in(item: Any) -> str:
    """The path or URL that an item of an image cell names, '' for none."""
    if isinstance(item, dict):
        item = next((item[key] for key in ("path", "url", "image_url", "file_name") if item.get(key)), "")
        item = item.get("url") if isinstance(item, dict) else item
    return item if isinstance(item, str) else ""


def _items(cell: Any) -> list[Any]:
    if isinstance(cell, str) and cell.startswith("[") and cell.rstrip().endswith("]"):
        cell = list_literal(cell) or cell
    return [item for item in cell if not is_empty(item)] if isinstance(cell, list) else [cell]


def _holds_bytes(item: Any) -> bool:
    data = item.get("bytes") if isinstance(item, dict) else item
    if isinstance(data, bytes):
        return suffix_of(data) != ""
    if not isinstance(data, str):
        return False
    return data[:11].lower() == "data:image/" or (data[:5].lower() != "data:" and is_encoded(data[:_LONGEST_PATH]))


def _begins_as_image(path: Path) -> bool:
    try:
        with path.open("rb") as handle:
            return suffix_of(handle.read(32)) != ""
    except OSError:
        return False
