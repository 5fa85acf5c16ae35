"""Tables: CSV, TSV, xlsx, Parquet, Arrow, and JSON or JSONL of flat objects, one row a sample.

The location is one file, or several of one table: a pattern (``data/train-*.parquet``, ``part-{000..012}.csv``), a
folder of files of one kind, or a folder that ``datasets`` wrote with ``save_to_disk``. CSV and JSON may be packed with
gzip and need not be UTF-8; the rows of one JSON object may be a list in it. Of a workbook the first sheet is read.
``curate.readers.tables.columns`` tells which column is what.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Layout, Reading
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe, table_files
from curate.readers.tables.columns import Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError


def looks_like(probe: Probe) -> bool:
    """A file of rows with named columns; or a folder or pattern of such files."""
    return bool(probe.first) if probe.is_file else bool(table_files(probe.location, ""))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Each file. A row without what a sample needs is a bad row."""
    files = table_files(settings.location, settings.split)
    if not files:
        raise UserError(f"{settings.location}: no such file, or no tables of one kind with the same columns")
    folder = Path(settings.location)
    near = folder if folder.is_dir() else files[0][0].parent
    columns = Columns(settings, lambda: itertools.chain.from_iterable(iter_rows(file) for file, _ in files), near=near)
    for file, split in files:
        near = folder if folder.is_dir() else file.parent
        own = columns.of_split(split)
        yield Reading(iter_rows(file), own.sample, near=near, file=file, plain=own.plain(), decided=columns.decided)


LAYOUT = Layout(
    __doc__, "{location: 'data/train-*.parquet', columns: {answer: label}}", looks_like, readings, generic=True
)
