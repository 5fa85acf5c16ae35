"""Rows of JSON lines, read one at a time. A line that cannot be read becomes a ``BadRow``."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import IO, Any

from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.rows.records import BadRow, Sample, from_record
from winnow.rows.repeated_keys import refuse_repeated_keys

MAX_LINE = 64 << 20  # bytes of the longest row that is read
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


class LongInteger(str):
    """The digits of a whole number that is longer than Python converts (4,300 digits)."""


def _integer(digits: str) -> int | LongInteger:
    try:
        return int(digits)
    except ValueError:
        return LongInteger(digits)


WITH_LONG_INTEGERS = json.JSONDecoder(parse_int=_integer)  # slower, for what the usual decoder refuses


def parse_json(text: bytes) -> Any:
    """Parse untrusted JSON; a whole number of more than 4,300 digits becomes a ``LongInteger``.

    Raises:
        ValueError: not JSON, not UTF-8, nested too deeply, an object with two values for one key, or with text that
            UTF-8 cannot hold (half of a surrogate pair).
    """
    try:
        try:
            value = json.loads(text)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise
        except ValueError:
            value = json.loads(text, parse_int=_integer)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
        refuse_repeated_keys(text, value)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def read_rows(path: Path, *, source: str = "", split: str = "") -> Iterator[Sample | BadRow]:
    """Stream a JSONL file in any form that ``from_record`` knows; a bad line becomes a ``BadRow``.

    Raises:
        UserError: the file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    position = 0
    for number, line in json_lines(path):
        if not line.strip():
            continue
        yield sample_or_bad(line, position, source=source, split=split, where=f"{path}:{number}")
        position += 1


def sample_or_bad(line: bytes, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """Read one JSON text as a sample; what is wrong with it becomes a ``BadRow``."""
    try:
        if len(line) > MAX_LINE:
            raise ValueError(f"longer than {MAX_LINE >> 20} MiB")
        record = parse_json(line)
    except ValueError as error:
        return BadRow(where, f"not a JSON object ({error})", position)
    return record_or_bad(record, position, source=source, split=split, where=where)


def record_or_bad(record: Any, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """Read one parsed JSON value as a sample; what is wrong with it becomes a ``BadRow``."""
    if not isinstance(record, dict):
        return BadRow(where, "not a JSON object", position)
    try:
        return from_record(record, source=source, split=split, where=where)
    except UserError as error:
        return BadRow(where, str(error).removeprefix(f"{where}: "), position)


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line of a file, as ``numbered_lines`` gives them."""
    with path.open("rb") as handle:
        yield from numbered_lines(handle)


def numbered_lines(handle: IO[bytes]) -> Iterator[tuple[int, bytes]]:
    """Number (from 1) and bytes of each line; an overlong line is cut after 64 MiB and one byte."""
    number = 1
    while line := handle.readline(MAX_LINE + 1):
        rest = line
        while len(rest) > MAX_LINE and not rest.endswith(b"\n"):
            rest = handle.readline(MAX_LINE + 1)
        yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
        number += 1


def read_jsonl(path: Path) -> Iterator[Sample]:
    """Stream the samples of a JSONL file that Winnow wrote, where a bad line is an error.

    Raises:
        UserError: the file is missing, or a line is not a sample.
    """
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise UserError(f"{row.where}: {row.reason}")
        yield row


def check_unique(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on, checking that no id repeats; takes about 24 bytes of memory an id.

    Raises:
        UserError: an id occurs twice; both rows are named by position.
    """
    positions = HashIndex()
    for position, sample in enumerate(samples):
        first = positions.add(sample.id, position)
        if first is not None:
            raise UserError(
                f"id {sample.id!r} occurs twice: rows {first} and {position}; ids must be unique"
                " (`ids: position` in the source's recipe numbers them)"
            )
        yield sample
