"""Which column of a table holds the images: found by what its cells hold, whatever its name.

A cell holds images if it has bytes that begin as an image file does, an object with such bytes or a path, a data URI or
base64, a path or URL that ends as image files do, a path without such an ending where an image lies, or a list of
these. A name that image columns usually have decides between columns that hold images.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import re
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from curate.readers.alone import needs_other_rows
from curate.readers.files.json import RawRow
from curate.readers.images.store import is_encoded
from curate.readers.spelling import is_file
from curate.readers.tables.cells import ImageCell, image_cell, is_empty, list_literal, path_in
from winnow.media.images import IMAGE_SUFFIXES, suffix_of
from winnow.media.locate import is_url
from winnow.rows.records import BadRow, Sample

# Names that image columns have; those in ``_OF_ANYTHING`` also have other contents.
NAMES = (
    "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "file_names",
    "filename", "image_name", "filepath", "path", "image_bytes", "image_base64", "img_base64", "base64",
    "image_url", "url", "jpg", "png",
)  # fmt: skip
_OF_ANYTHING = frozenset({"filename", "filenames", "filepath", "path", "base64", "url", "jpg", "png"})
_ENDINGS = IMAGE_SUFFIXES.keys() - {".pdf", ".ps"}
_NUMBERED = re.compile(r"(?:image|img)[\s_-]?(?:(?:path|file|url)[\s_-]?)?(\d+)", re.IGNORECASE)
# Beside these, a `url` is that of an image even without an ending; beside a text alone it is that of the page.
_OF_CRAWLED_IMAGES = frozenset({"caption", "captions", "alt", "alttext", "width", "imagewidth", "similarity"})
_LONGEST_PATH = 1024
_ROWS, _BYTES, _KEY_SETS = 50, 64 << 20, 1000
_PAIR = {"image", "images"}


@functools.lru_cache(maxsize=4096)
def plain_name(name: str) -> str:
    """A column's name without case, blanks, ``_``, ``-`` and ``.``: ``Image Path`` and ``imagePath`` are one."""
    return re.sub(r"[\s_.-]+", "", name.lower())


_HINTS = {plain_name(name): rank for rank, name in enumerate(NAMES)}


def numbered_images(names: Iterable[str]) -> list[str]:
    """``image_1``, ``image_2`` … among column names, by number."""
    found = {name: int(number[1]) for name in names if (number := _NUMBERED.fullmatch(name.strip()))}
    return sorted(found, key=lambda name: (found[name], name))


class RowImages(NamedTuple):
    """The images of a row.

    Attributes:
        cell: what the best column holds.
        columns: names of the columns that hold them, in whatever form.
        kept: for ``meta``: the other forms, and the name that the table has for bytes.
        notes: as in a sample.
    """

    cell: ImageCell = ImageCell()
    columns: frozenset[str] = frozenset()
    kept: Mapping[str, Any] = {}
    notes: tuple[str, ...] = ()


class ImageColumns:
    """Finds the image columns of one table by its first 50 rows; later rows are looked at until one is found.

    Args:
        read: gives the rows from the start.
        roots: folders that paths may be relative to.
    """

    def __init__(self, read: Callable[[], Iterable[RawRow | BadRow]], roots: Sequence[Path]) -> None:
        self._read, self._roots = read, roots
        self._filled, self._likely, self._there, self._paths = (Counter[str]() for _ in range(4))
        self._first_rows_seen = False
        self._known: dict[tuple[str, ...], tuple[list[str], list[str]]] = {}

    def of_row(self, row: Mapping[str, Any], where: str) -> RowImages:
        """The images of a row, and the columns that they are in.

        Where one column has a path and another the bytes or the URL of the same image, what exists is taken.

        Raises:
            ValueError: the column does not hold images.
        """
        numbered, ranked = self._found(row)
        if numbered:
            return RowImages(image_cell([row[name] for name in numbered], where), frozenset(numbered))
        filled = [name for name in ranked if not is_empty(row[name])]
        if not filled:
            return RowImages(columns=frozenset(filter(is_named_so, row)), notes=() if ranked else self._doubts(row))
        best = filled[0]
        if len(filled) == 1:
            found = _chosen(row, filled, [], where)
        else:
            needs_other_rows()  # which exists may change without a change of the table
            if not self.is_there(row[best]):
                best = next((name for name in filled if self.is_there(row[name])), best)
            kind = kind_of(row[best])
            forms = [name for name in filled if kind_of(row[name]) != kind]
            more = [name for name in filled if {plain_name(name), plain_name(best)} == _PAIR and name not in forms]
            found = _chosen(row, [best, *more], forms, where)
        if plain_name(best) in _HINTS:
            return found
        note = f"the images are in column {best!r}, as its content shows"
        return found._replace(notes=(*found.notes, note))

    def are_in(self, column: str, names: tuple[str, ...]) -> bool:
        """Whether an earlier row with these columns has shown that images are in one of them alone."""
        return self._known.get(names) == ([], [column])

    def added(self, sample: Sample, where: str) -> Sample:
        """A sample without images, with those that a field names which is in its ``meta`` alone.

        Raises:
            ValueError: the field does not hold images.
        """
        found = self.of_row({name: sample.meta[name] for name in sample.unclaimed if name in sample.meta}, where)
        if not found.cell.paths:
            return sample if not found.notes else dataclasses.replace(sample, notes=(*sample.notes, *found.notes))
        return dataclasses.replace(
            sample,
            image=found.cell.paths,
            embedded=found.cell.embedded,
            meta={name: value for name, value in sample.meta.items() if name not in found.columns} | {**found.kept},
            unclaimed=tuple(name for name in sample.unclaimed if name not in found.columns),
            notes=(*sample.notes, *found.notes),
        )

    def _doubts(self, row: Mapping[str, Any]) -> tuple[str, ...]:
        """What to say of a row of a table without an image column, if one of its columns looks like paths."""
        name = next((name for name in row if 2 * self._paths[name] > self._filled[name]), None)
        if name is None:
            return ()
        return (
            f"no column holds images, but {name!r} looks like paths; if they are, set `columns: {{image: {name}}}`",
        )

    def _found(self, row: Mapping[str, Any]) -> tuple[list[str], list[str]]:
        """The numbered image columns of a row, or its image columns with the best first."""
        self._see_first_rows()
        names = tuple(row)
        if names in self._known:
            return self._known[names]
        numbered = [] if _PAIR & {plain_name(name) for name in row} else numbered_images(row)
        ranked = self._ranked(row)
        if not ranked:
            self._look(row)
            ranked = self._ranked(row)
        if (numbered or ranked) and len(self._known) < _KEY_SETS:
            self._known[names] = numbered, ranked
        return numbered, ranked

    def _see_first_rows(self) -> None:
        if not self._first_rows_seen:
            self._look_at_first_rows()
            self._first_rows_seen = True

    def _look_at_first_rows(self) -> None:
        size = 0
        for raw in itertools.islice(self._read(), _ROWS):
            if isinstance(raw, RawRow) and isinstance(raw.value, dict):
                self._look(raw.value)
                size += sum(len(cell) for cell in raw.value.values() if isinstance(cell, str | bytes))
                if size > _BYTES:
                    return

    def decided(self) -> Any:
        """What the first rows say of the columns, as far as later rows depend on it; JSON-able."""
        self._see_first_rows()
        places = sorted({-rows for rows in self._there.values()})
        return sorted(
            [
                name,
                2 * self._likely[name] > rows,
                2 * self._paths[name] > rows,
                self._likely[name] > 0,
                places.index(-self._there[name]) if self._there[name] else None,
            ]
            for name, rows in self._filled.items()
            if self._likely[name] or self._paths[name] or is_named_so(name) or plain_name(name) == "url"
        )

    def _look(self, row: Mapping[str, Any]) -> None:
        for name, cell in row.items():
            if not is_empty(cell):
                if self._first_rows_seen and (2 * self._paths[name] > self._filled[name] or _may_matter(name, cell)):
                    needs_other_rows()
                there = self.is_there(cell)
                self._filled[name] += 1
                self._there[name] += there
                self._likely[name] += there or is_likely(cell)
                self._paths[name] += looks_like_path(cell)

    def _ranked(self, row: Mapping[str, Any]) -> list[str]:
        filled = [name for name in row if self._filled[name]]
        crawled = not _OF_CRAWLED_IMAGES.isdisjoint(map(plain_name, row))
        likely = [
            name
            for name in filled
            if 2 * self._likely[name] > self._filled[name]
            or is_named_so(name)
            or (crawled and plain_name(name) == "url")
        ]

        def rank(name: str) -> tuple[bool, bool, int, int]:
            hint = _HINTS.get(plain_name(name), len(_HINTS))
            return not self._there[name], not self._likely[name], hint, -self._there[name]

        return sorted(likely, key=rank)

    def is_there(self, cell: Any) -> bool:
        """Whether all images of a cell are bytes, or files below one of the roots."""
        items = _items(cell)
        return bool(items) and all(self._has(item) for item in items)

    def _has(self, item: Any) -> bool:
        if _holds_bytes(item):
            return True
        path = path_in(item)
        if not 0 < len(path) <= _LONGEST_PATH or is_url(path) or "\n" in path or "\0" in path:
            return False
        return any(
            is_file(root, inside) and (ends_as_image(path) or _begins_as_image(root / inside))
            for root in self._roots
            for inside in [path.removeprefix(f"{root.absolute()}/")]
        )


def named_images(row: Mapping[str, Any], columns: Sequence[str], where: str) -> RowImages:
    """The images in the columns that a recipe names, in this order.

    Raises:
        ValueError: they do not hold images.
    """
    return _chosen(row, [name for name in columns if name in row], [], where)


def _chosen(row: Mapping[str, Any], columns: list[str], forms: list[str], where: str) -> RowImages:
    """The images of ``columns``, each once; ``forms`` hold them in another form."""
    if len(columns) == 1:
        cell = image_cell(row[columns[0]], where)
        if not forms and not cell.names:
            return RowImages(cell, frozenset(columns))
    else:
        cell = image_cell([item for name in columns for item in _items(row[name])], where)
        cell = cell._replace(paths=tuple(dict.fromkeys(cell.paths)))
    kept = {name: row[name] for name in forms if kind_of(row[name]) != "bytes"}
    names = list(cell.names) or [path_in(row[name]) for name in kept if kind_of(row[name]) == "path"]
    if names:
        kept.setdefault("image_path", names[0] if len(cell.paths) == 1 else names)
    twice = [name for name in forms if name not in kept]
    notes = [f"{name!r} holds the bytes of images that are files too, and is not kept" for name in twice]
    return RowImages(cell, frozenset((*columns, *forms)), kept, tuple(notes))


def _may_matter(name: str, cell: Any) -> bool:
    """Whether a cell may change which columns hold the images of later rows, or what is said of rows without one."""
    return is_named_so(name) or plain_name(name) == "url" or is_likely(cell) or looks_like_path(cell)


def is_named_so(name: str) -> bool:
    """Whether a name alone is enough, as it must be for images without an ending that are all missing."""
    plain = plain_name(name)
    return plain in _HINTS and plain not in _OF_ANYTHING


def is_likely(cell: Any) -> bool:
    """Whether all items of a cell look like images: by their bytes, or by their ending."""
    items = _items(cell)
    return bool(items) and all(_holds_bytes(item) or ends_as_image(path_in(item)) for item in items)


def ends_as_image(path: str) -> bool:
    """Whether a path or URL ends as image files do."""
    if not path or len(path) > _LONGEST_PATH or "\n" in path:
        return False
    path = re.split(r"[?#]", path, maxsplit=1)[0] if is_url(path) else path
    return "." in path and path[path.rfind(".") :].strip().lower() in _ENDINGS


def looks_like_path(cell: Any) -> bool:
    """Whether a text may be the path of a file, of whatever kind: it has a folder and no blanks."""
    return isinstance(cell, str) and re.fullmatch(r"[^\s:]{0,200}[/\\][^\s/\\:]{1,200}", cell) is not None


def kind_of(cell: Any) -> str:
    """``bytes``, ``url`` or ``path``: the form of the first image in a cell."""
    item = next(iter(_items(cell)), None)
    if _holds_bytes(item):
        return "bytes"
    return "url" if is_url(path_in(item)) else "path"


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
