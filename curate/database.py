"""DuckDB within bounds: a query takes the same memory for a thousand rows and for a hundred million."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import duckdb

from curate.disk import disk_problem
from curate.errors import UserError

# What DuckDB may hold; the rest of a larger sort, join or table goes to the disk. Each thread works on its own share.
_MEMORY, _MEMORY_A_THREAD = 128 << 20, 64 << 20
_SPILLED = "spilled"


@contextlib.contextmanager
def database(work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """A connection to an empty database of bounded memory; what is beyond it lies in ``work`` until the end.

    Raises:
        UserError: there is no place for that on the disk either, or ``work`` cannot be written.
    """
    try:
        (work / _SPILLED).mkdir(parents=True, exist_ok=True)
        folder = tempfile.mkdtemp(dir=work / _SPILLED)
    except OSError as error:
        raise UserError(disk_problem(error, work) or f"{work}: cannot be written ({error})") from error
    threads = os.cpu_count() or 1
    memory = f"{_MEMORY + threads * _MEMORY_A_THREAD} bytes"
    try:
        config: dict[str, str | bool | int | float | list[str]] = {"memory_limit": memory, "temp_directory": folder}
        with duckdb.connect(":memory:", config=config) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{work}: no room to sort and join ({reason}); free some space and run it again") from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def remove_spilled(work: Path) -> None:
    """Delete what a killed run has left there."""
    shutil.rmtree(work / _SPILLED, ignore_errors=True)
