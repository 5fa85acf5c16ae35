"""MMMU and MMMU-Pro: college questions with options and up to seven images, as Parquet.

Columns ``id, question, options, explanation, image_1 … image_7, img_type, answer, topic_difficulty,
question_type, subfield``; ``options`` is a list written as text. ``<image 1>`` in the question or an
option becomes ``<image>`` and names the image at that place; images that nothing names come before
the question. Options follow it as ``A. …`` lines, and the answer is the letter; an open question's
answer may be a list. Hidden test answers (``?``) are none. MMMU-Pro's ``vision`` rows have the question and
its options in their one ``image``. The location is a file, a pattern, a subject's folder or the folder of all
subjects. Source: https://huggingface.co/datasets/MMMU/MMMU and MMMU/MMMU_Pro.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Layout, NameOf, Reading, given_or_own_folder
from curate.readers.fields import lettered
from curate.readers.files.json import RawRow
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe, files_of, of_split
from curate.readers.tables.cells import ImageCell, image_cell, json_value, list_literal
from curate.readers.tables.image_column import numbered_images
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.conversations import IMAGE_MARKER
from winnow.rows.records import Form, Sample, Turn, full_id, majority

_MARKER = re.compile(r"<image (\d+)>")
_FOLDERS, _LOOKED_AT = 50, 1000
_COLUMNS = {"id", "question", "options", "answer", "image_1"}
_VISION = {"id", "image", "options", "answer", "subject"}
_SHOWN = "Answer the multiple-choice question in the image."


def looks_like(probe: Probe) -> bool:
    """Rows with options and numbered images; or folders of such files."""
    if probe.is_file:
        return _has_columns(probe.first)
    found = _first_file(probe.path) if probe.is_folder else _files(probe.location)[:1]
    return any(map(_holds_rows, found))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Each file of ``settings.split``, of all splits if it is empty."""
    found = _files(settings.location)
    if not found:
        raise UserError(f"{settings.location}: no Parquet file there")
    numbers = itertools.count()
    for path, split in of_split(found, settings.split):
        yield Reading(iter_rows(path), functools.partial(_sample, settings, split, numbers))


def _sample(settings: SourceSettings, split: str, numbers: Iterator[int], row: RawRow, name_of: NameOf) -> Sample:
    fields, number = row.fields, next(numbers)
    source = "mmmu" if settings.source is None else settings.source
    in_image = "question" not in fields
    columns = ["image"] if in_image else numbered_images(fields)
    cells = {int(name.partition("_")[2] or 1): image_cell(fields[name], f"{row.where}, {name}") for name in columns}
    asked = [_SHOWN] if in_image else [_question(fields.get("question")), *_options(fields.get("options"))]
    order, question = _marked("\n".join(asked), cells)
    answers = _answers(fields.get("answer"))
    own = fields.get("id")
    # Options and answer stay as the table has them, for scoring.
    kept = {name: json_value(value) for name, value in fields.items() if name not in columns}
    turns = (Turn("user", question),) + ((Turn("assistant", majority(answers)),) if answers else ())
    return Sample(
        id=full_id(str(own) if own else f"row-{number}", source, split),
        image=tuple(path for number in order for path in cells[number].paths),
        conversations=turns,
        answers=answers,
        source=source,
        split=split,
        meta={key: value for key, value in kept.items() if key != "id" or not isinstance(value, str)},
        form=Form(derived_id=not own),
        embedded={path: data for cell in cells.values() for path, data in cell.embedded.items()},
    )


def _marked(question: str, cells: Mapping[int, ImageCell]) -> tuple[list[int], str]:
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
    return tuple(str(answer) for answer in (listed if listed else [value]))


def _question(value: Any) -> str:
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
    names = (path for place in [folder, *inner[:_FOLDERS]] for path in itertools.islice(place.iterdir(), _LOOKED_AT))
    return list(itertools.islice((path for path in names if path.suffix == ".parquet"), 1))


def _holds_rows(path: Path) -> bool:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        return _has_columns(pq.read_schema(path).names)
    except (OSError, pa.ArrowException):
        return False


def _has_columns(names: Iterable[str]) -> bool:
    there = set(names)
    return there >= _COLUMNS or (there >= _VISION and "question" not in there)


LAYOUT = Layout(__doc__, "{location: MMMU, split: validation}", looks_like, readings, image_root=given_or_own_folder)
