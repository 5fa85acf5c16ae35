"""The first sheet of an ``.xlsx`` workbook as raw rows; its first line names the columns.

openpyxl reads line by line; it holds the distinct texts of the workbook, which the format keeps in one table, and about
100 bytes a line.
python-calamine 0.9.1 is 13 times faster (30,000 lines) and not taken: it allocates the whole grid, so that two cells in
opposite corners of a sheet ask for 512 GiB and end the process.
"""

from __future__ import annotations

import itertools
import warnings
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curate.readers.files.json import RawRow
from curate.readers.files.zip import BoundedZip
from winnow.errors import UserError
from winnow.rows.records import BadRow

_MAX_UNPACKED = 512 << 20
_MAX_PARTS = 10_000  # of a workbook: sheets, pictures …
_MAX_COLUMNS = 16_384  # Excel's own limit
_PART = "xl/workbook.xml"
_AS_CSV = "save the sheet as CSV (UTF-8) and give that"


def is_workbook(path: Path) -> bool:
    """Whether a zip file is an ``.xlsx`` workbook."""
    try:
        with BoundedZip(path, _MAX_PARTS) as packed:
            return _PART in packed.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError):
        return False


def xlsx_rows(path: Path) -> Iterator[RawRow | BadRow]:
    """Rows of the first sheet, with numbers as numbers and dates as dates; empty lines are left out.

    Raises:
        UserError: not readable, too large, or the first line does not name the columns.
    """
    with _workbook(path) as book:
        sheet = book.worksheets[0]
        sheet.reset_dimensions()  # what the file says of its size need not be true
        names: list[str] = []
        position = 0
        for number, cells in enumerate(sheet.iter_rows(values_only=True), start=1):
            if not names:
                names = _header(path, cells[:_MAX_COLUMNS])
            elif any(cell not in (None, "") for cell in cells):
                yield _row(dict(enumerate(cells)), names, f"{path}: line {number}", position)
                position += 1


def other_sheets(path: Path) -> list[str]:
    """Names of the sheets behind the first, which are not read.

    Raises:
        UserError: not readable, or too large.
    """
    with _workbook(path) as book:
        return [str(sheet.title) for sheet in book.worksheets[1:]]


def _row(cells: dict[int, Any], names: list[str], where: str, position: int) -> RawRow | BadRow:
    values = {name: cells.pop(column, None) for column, name in enumerate(names) if name}
    lost = next((cell for cell in cells.values() if cell not in (None, "")), None)
    if lost is not None:
        return BadRow(where, f"a cell without a column name holds {str(lost)[:80]!r}", position)
    return RawRow({name: "" if cell is None else cell for name, cell in values.items()}, where, position)


@contextmanager
def _workbook(path: Path) -> Iterator[Any]:
    import openpyxl

    book = None
    try:
        with BoundedZip(path, _MAX_PARTS) as packed:
            if sum(part.file_size for part in packed.infolist()) > _MAX_UNPACKED:
                raise UserError(f"{path}: unpacks to more than {_MAX_UNPACKED >> 20} MiB; {_AS_CSV}")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # about charts, validations and styles, which are not read
            book = openpyxl.load_workbook(path, read_only=True, data_only=True, keep_links=False)
        if not book.worksheets:
            raise UserError(f"{path}: the workbook has no sheet of cells")
        yield book
    except UserError:
        raise
    except Exception as error:  # a damaged workbook raises whatever its parts' parsers raise
        raise UserError(f"{path}: not readable as xlsx ({type(error).__name__}: {error}); {_AS_CSV}") from error
    finally:
        if book is not None:
            book.close()


def _header(path: Path, cells: tuple[Any, ...]) -> list[str]:
    names = ["" if cell is None else str(cell).strip() for cell in cells]
    if not any(names):
        raise UserError(f"{path}: the first line of the first sheet must name the columns; it is empty")
    for first, second in itertools.pairwise(sorted(filter(None, names))):
        if first == second:
            raise UserError(f"{path}: the first line must name each column once; {first!r} is there twice")
    return names
