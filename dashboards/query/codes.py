"""Columns of text as numbers: a million short strings cost seconds as Python objects and milliseconds as codes."""

from __future__ import annotations

import numpy as np
import pyarrow as pa

from evalsuite.statistics import Property


def coded(column: pa.ChunkedArray) -> Property:
    """A column of texts as codes (rows,) and their values, in order of first occurrence; null becomes ''."""
    encoded = column.combine_chunks()
    if isinstance(encoded, pa.ChunkedArray):  # no rows
        return Property((), np.empty(0, dtype=np.int64))
    found = encoded.fill_null("").dictionary_encode()
    return Property(tuple(found.dictionary.to_pylist()), found.indices.to_numpy().astype(np.int64))


def commonest(known: Property, most: int) -> Property:
    """The same with all but the ``most`` frequent values as no value ('')."""
    counts = np.bincount(known.codes, minlength=len(known.values))
    kept = set(np.argsort(-counts, kind="stable")[:most].tolist())
    return Property(tuple(value if code in kept else "" for code, value in enumerate(known.values)), known.codes)


def chosen(known: Property, mask: np.ndarray) -> Property:
    """The rows in ``mask`` only, with the values that they still have."""
    old, codes = np.unique(known.codes[mask], return_inverse=True)
    return Property(tuple(known.values[code] for code in old), codes.astype(np.int64))
