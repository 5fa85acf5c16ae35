"""VLMEvalKit's benchmarks: TSV with ``index, question, A … D, answer, hint, category`` and ``image`` as base64.

An image cell may be the ``index`` of the row that holds the image, or a list of images. MMBench repeats each question
with its options rotated, at ``index`` + 1,000,000, + 2,000,000 …; what is left of the million is ``g_index`` in
``meta``, which the rotations of one question share. ``nan`` as a hint or option is an empty cell. Hugging Face's
Parquet files of these benchmarks have the same columns and are read too.
Source: https://github.com/open-compass/VLMEvalKit, ``vlmeval/dataset``.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Iterator
from typing import Any

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import OPTION_LETTERS
from curate.readers.files.json import RawRow
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe, table_files
from curate.readers.tables.columns import Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import Sample

_ROTATION = 1_000_000
_MAY_BE_NAN = frozenset({"hint", *OPTION_LETTERS})


def looks_like(probe: Probe) -> bool:
    """A table with an index, a question and an image in each row."""
    return probe.is_file and probe.first.keys() >= {"index", "question", "answer", "image"}


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Each file."""
    files = table_files(settings.location, settings.split)
    if not files:
        raise UserError(f"{settings.location}: no such file, or no tables of one kind with the same columns")
    named = settings.model_copy(update={"columns": {"id": "index", **settings.columns}})
    columns = Columns(
        named, lambda: itertools.chain.from_iterable(iter_rows(file) for file, _ in files), near=files[0][0].parent
    )
    for file, split in files:
        yield Reading(iter_rows(file), functools.partial(_sample, columns.of_split(split)), near=file.parent)


def _sample(columns: Columns, row: RawRow, name_of: NameOf) -> Sample:
    cells = row.fields
    if blank := {name: None for name in _MAY_BE_NAN if cells.get(name) == "nan"}:
        row = dataclasses.replace(row, value={**cells, **blank})
    made = columns.sample(row)
    index = _whole_number(cells["index"])
    if index is None:
        return made
    return dataclasses.replace(made, meta={"g_index": index % _ROTATION, **made.meta})


def _whole_number(value: Any) -> int | None:
    text = str(value)
    return int(text) if text.isascii() and text.isdigit() and len(text) < 19 else None


LAYOUT = Layout(__doc__, "{location: data/raw/mmbench/MMBench_DEV_EN.tsv}", looks_like, readings)
