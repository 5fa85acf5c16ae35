"""Tables: CSV, TSV, Parquet, and JSON or JSONL of flat objects, one row a sample.

The location is one file, or several of one table: a folder of Parquet files, or a pattern
(``data/train-*.parquet``, ``part-{000..012}.csv``). ``curate.readers.columns`` tells which column is what.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Layout, Reading
from curate.readers.columns import Columns
from curate.readers.location import Probe, files_of, of_split
from curate.readers.tables import iter_rows
from curate.recipe import SourceSettings
from winnow.errors import UserError


def looks_like(probe: Probe) -> bool:
    """A file of rows with named columns; or a folder or pattern of Parquet files."""
    return bool(probe.first) if probe.is_file else bool(_files(probe.location))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Each file. A row without what a sample needs is a bad row."""
    files = _files(settings.location)
    if not files:
        raise UserError(f"{settings.location}: no such file")
    near = Path(settings.location).parent
    for file, split in of_split(files, settings.split):
        read = functools.partial(iter_rows, file)
        columns = Columns(settings.model_copy(update={"split": split}), read, near=near)
        yield Reading(read(), columns.sample, near=near)


def _files(location: str) -> list[Path]:
    return [file for file in files_of(location, (".parquet",)) if file.suffix != ".tar"]


LAYOUT = Layout(
    __doc__, "{location: 'data/train-*.parquet', columns: {answer: label}}", looks_like, readings, generic=True
)
