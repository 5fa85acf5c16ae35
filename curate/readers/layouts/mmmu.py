"""MMMU and MMMU-Pro: college questions with options and up to seven images, as Parquet.

Columns ``id, question, options, explanation, image_1 … image_7, img_type, answer, topic_difficulty,
question_type, subfield``; ``options`` is a list written as text. ``<image 1>`` in the question or an
option becomes ``<image>`` and names the image at that place; images that nothing names come before
the question. Options follow it as ``A. …`` lines, and the answer is the letter; an open question's
answer may be a list. Hidden test answers (``?``) are none. The location is a file, a pattern, a
subject's folder or the folder of all subjects. Source: https://huggingface.co/datasets/MMMU/MMMU.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Probe, files_of, given_root, lettered, of_split
from curate.readers.tables import ImageCell, image_cell, iter_rows, json_value, list_literal, numbered_images
from curate.recipe import SourceSettings
from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.records import BadRow, Form, Sample, Turn, full_id, majority

EXAMPLE = "{location: MMMU, split: validation}"
_MARKER = re.compile(r"<image (\d+)>")
_FOLDERS, _LOOKED_AT = 50, 1000
_COLUMNS = {"id", "question", "options", "answer", "image_1"}


def looks_like(probe: Probe) -> bool:
    """Rows with options and numbered images; or folders of such files."""
    if probe.is_file:
        return probe.first.keys() >= _COLUMNS
    found = _first_file(probe.path) if probe.is_folder else _files(probe.location)[:1]
    return any(_has_columns(path) for path in found)


def image_root(settings: SourceSettings) -> Path:
    """The folder of the location; the images are in the tables."""
    location = Path(settings.location)
    return given_root(settings) or (location if location.is_dir() else location.parent)


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question of ``settings.split``, of all splits if it is empty.

    Raises:
        UserError: no such file, or not readable as Parquet.
    """
    found = _files(settings.location)
    if not found:
        raise UserError(f"{settings.location}: no Parquet file there")
    position = 0
    for path, split in of_split(found, settings.split):
        for row in iter_rows(path):
            yield row if isinstance(row, BadRow) else _sample_or_bad(row[2], settings, split, row[0], position)
            position += 1


def _sample_or_bad(
    row: Mapping[str, Any], settings: SourceSettings, split: str, where: str, position: int
) -> Sample | BadRow:
    source = "mmmu" if settings.source is None else settings.source
    columns = numbered_images(row)
    try:
        cells = {int(name.rpartition("_")[2]): image_cell(row[name], f"{where}, {name}") for name in columns}
        question = "\n".join([_text(row.get("question")), *_options(row.get("options"))])
        order, question = _placed(question, cells)
        answers = _answers(row.get("answer"))
    except ValueError as error:
        return BadRow(where, str(error), position)
    own = row.get("id")
    # Options and answer stay as the table has them, for scoring.
    kept = {name: json_value(value) for name, value in row.items() if name not in columns}
    turns = (Turn("user", question),) + ((Turn("assistant", majority(answers)),) if answers else ())
    return Sample(
        id=full_id(str(own) if own else f"row-{position}", source, split),
        image=tuple(path for number in order for path in cells[number].paths),
        conversations=turns,
        answers=answers,
        source=source,
        split=split,
        meta={key: value for key, value in kept.items() if key != "id" or not isinstance(value, str)},
        form=Form(derived_id=not own),
        embedded={path: data for cell in cells.values() for path, data in cell.embedded.items()},
    )


def _placed(question: str, cells: Mapping[int, ImageCell]) -> tuple[list[int], str]:
    """Numbers of the images in the order of their markers, and the question with ``<image>`` in their place."""
    there = [number for number, cell in cells.items() if cell.paths]
    named = [int(number) for number in _MARKER.findall(question)]
    absent = sorted(set(named) - set(there))
    if absent:
        raise ValueError(f"the question names <image {absent[0]}>, but image_{absent[0]} is empty")
    unnamed = [number for number in there if number not in named]
    marked = IMAGE_MARKER * len(unnamed) + ("\n" if unnamed else "") + _MARKER.sub(IMAGE_MARKER, question)
    return unnamed + named, marked


def _options(value: Any) -> list[str]:
    options = list_literal(value) if isinstance(value, str) else value
    return lettered([str(option) for option in options]) if options else []


def _answers(value: Any) -> tuple[str, ...]:
    if value in (None, "", "?"):
        return ()
    listed = list_literal(value) if isinstance(value, str) and value.startswith("[") else None
    return tuple(str(one) for one in (listed if listed else [value]))


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError("no question")
    return value


def _files(location: str) -> Sequence[Path]:
    path = Path(location)
    if path.is_dir():
        return sorted([*path.glob("*.parquet"), *path.glob("*/*.parquet")])
    return [file for file in files_of(location, (".parquet",)) if file.suffix == ".parquet"]


def _first_file(folder: Path) -> list[Path]:
    """A Parquet file in the folder or in one of those in it; looks at a bounded number of names."""
    inner = sorted(path for path in itertools.islice(folder.iterdir(), _LOOKED_AT) if path.is_dir())
    names = (path for one in [folder, *inner[:_FOLDERS]] for path in itertools.islice(one.iterdir(), _LOOKED_AT))
    return list(itertools.islice((path for path in names if path.suffix == ".parquet"), 1))


def _has_columns(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return set(pq.read_schema(path).names) >= _COLUMNS
    except (OSError, pa.ArrowException):
        return False
