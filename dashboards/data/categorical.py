"""Columns of text as categories: a million strings cost seconds as Python objects and milliseconds as codes."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from evalsuite.statistics import Property
from winnow.errors import UserError


def read_columns(path: Path, columns: Sequence[str]) -> pa.Table:
    """Columns of a Parquet file, or single fields of nested ones (``rules.list.element.rule``).

    Raises:
        UserError: the file is missing, broken, or lacks one of them.
    """
    try:
        with pq.ParquetFile(path) as file:
            # Nested columns cannot be read as dictionaries.
            texts = [leaf.path for leaf in file.schema if leaf.path == leaf.name and leaf.physical_type == "BYTE_ARRAY"]
        with pq.ParquetFile(path, read_dictionary=texts) as file:
            table = file.read(columns=list(columns))
    except (OSError, pa.ArrowException) as error:
        raise UserError(f"{path}: cannot be read ({str(error).splitlines()[0]}); remake its folder") from error
    if lost := {name.partition(".")[0] for name in columns}.difference(table.column_names):
        raise UserError(f"{path}: lacks the columns {', '.join(sorted(lost))}; remake its folder")
    return table


def coded(column: pa.ChunkedArray) -> Property:
    """A column of texts as codes (rows,) and their values, in order of first occurrence; null becomes ''."""
    if not len(column):
        return Property((), np.empty(0, dtype=np.int64))
    if not pa.types.is_dictionary(column.type):
        column = column.dictionary_encode()
    found = column.unify_dictionaries().combine_chunks()
    values, indices = found.dictionary.to_pylist(), found.indices
    if indices.null_count:
        indices = pc.fill_null(indices, len(values))
        values.append("")
    return Property(tuple(values), indices.to_numpy().astype(np.int64))


def commonest(known: Property, most: int) -> Property:
    """The same with all but the ``most`` frequent values as no value ('')."""
    counts = np.bincount(known.codes, minlength=len(known.values))
    kept = set(np.argsort(-counts, kind="stable")[:most].tolist())
    return Property(tuple(value if code in kept else "" for code, value in enumerate(known.values)), known.codes)


def chosen(known: Property, mask: np.ndarray) -> Property:
    """The rows in ``mask`` only, with the values that they still have."""
    codes = known.codes[mask]
    old = np.flatnonzero(np.bincount(codes, minlength=len(known.values)))
    new = np.zeros(len(known.values), dtype=np.int64)
    new[old] = np.arange(len(old))
    return Property(tuple(known.values[code] for code in old), new[codes])
