"""Columns of numbers in a file, uncompressed: they are mapped into memory, and may be of different lengths."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path


def write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], metadata: Mapping[str, str] | None = None) -> None:
    """Write arrays of one dimension, by name.

    Raises:
        UserError: the file cannot be written.
    """
    columns = {name: pa.array(np.ascontiguousarray(values)) for name, values in arrays.items()}
    # A row with a list for each, as Arrow's columns are of one length.
    lists = {
        name: pa.LargeListArray.from_arrays(pa.array([0, len(values)], pa.int64()), values)
        for name, values in columns.items()
    }
    schema = pa.schema([(name, values.type) for name, values in lists.items()], metadata=dict(metadata or {}))
    try:
        with (
            atomic_path(path) as temporary,
            pa.OSFile(str(temporary), "wb") as file,
            pa.ipc.new_file(file, schema) as written,
        ):
            written.write_batch(pa.RecordBatch.from_arrays(list(lists.values()), schema=schema))
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error


def read_arrays(path: Path) -> tuple[dict[str, NDArray[Any]], dict[str, str]]:
    """Map the arrays of ``write_arrays`` into memory; truth values are copied. With their metadata.

    Raises:
        OSError: there is no such file.
        pyarrow.ArrowInvalid: it holds something else.
    """
    with pa.memory_map(str(path)) as file:
        batch = pa.ipc.open_file(file).get_batch(0)
    found = {}
    for name in batch.schema.names:
        values = batch.column(name).values
        found[name] = np.asarray(values.to_numpy(zero_copy_only=not pa.types.is_boolean(values.type)))
    return found, {key.decode(): value.decode() for key, value in (batch.schema.metadata or {}).items()}
