"""DuckDB within bounds: a query takes the same memory for a thousand rows and for a hundred million."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import duckdb

from winnow.errors import UserError

# What DuckDB may hold; the rest of a larger sort, join or table goes to the disk. Each thread works on its own share.
_MEMORY, _MEMORY_A_THREAD = 512 << 20, 64 << 20
_SPILLED = "spilled"
_numbers = itertools.count()


@contextlib.contextmanager
def database(work: Path) -> Iterator[duckdb.DuckDBPyConnection]:
    """``connect`` until the end of the block.

    Raises:
        UserError: neither memory nor disk has room for what a query has to hold.
    """
    try:
        with connect(work) as connection:
            yield connection
    except duckdb.OutOfMemoryException as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{work}: no room to sort and join ({reason}); free some space and run it again") from error


def connect(work: Path) -> duckdb.DuckDBPyConnection:
    """A connection to an empty database of bounded memory; what is beyond it lies in ``work`` until it is closed."""
    threads = os.cpu_count() or 1
    config: dict[str, str | bool | int | float | list[str]] = {
        "memory_limit": f"{_MEMORY + threads * _MEMORY_A_THREAD} bytes",
        "temp_directory": str(work / f"{_SPILLED}-{os.getpid()}-{next(_numbers)}"),
    }
    return duckdb.connect(":memory:", config=config)


def remove_spilled(work: Path) -> None:
    """Delete what killed processes have left there."""
    for folder in work.glob(f"{_SPILLED}-*-*"):
        try:
            os.kill(int(folder.name.split("-")[1]), 0)
        except ProcessLookupError:
            shutil.rmtree(folder, ignore_errors=True)
        except (PermissionError, ValueError):  # another user's, or none of ours
            continue
