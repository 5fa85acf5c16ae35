"""Samples as JSON lines. ``read_jsonl`` is for files that Winnow wrote itself, where a bad line is an error."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from curate.sample import BadRow, Sample
from winnow.errors import UserError
from winnow.records import from_record
from winnow.seen import SeenTexts

_MAX_LINE = 64 << 20
SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")


def parse_json(text: bytes) -> Any:
    """Parse untrusted JSON.

    Raises:
        ValueError: not JSON, not UTF-8, too deep, or text that UTF-8 cannot hold (half a surrogate pair).
    """
    try:
        value = json.loads(text)
        if SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()
    except RecursionError:
        raise ValueError("nested too deeply") from None
    return value


def read_rows(path: Path, *, source: str = "", split: str = "") -> Iterator[Sample | BadRow]:
    """Stream a JSONL file of any form that ``from_record`` knows; a bad line becomes a ``BadRow``.

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
    """One JSON text as a sample, or what is wrong with it."""
    try:
        if len(line) > _MAX_LINE:
            raise ValueError(f"longer than {_MAX_LINE >> 20} MiB")
        record = parse_json(line)
    except ValueError as error:
        return BadRow(where, f"not a JSON object ({error})", position)
    return record_or_bad(record, position, source=source, split=split, where=where)


def record_or_bad(record: Any, position: int, *, source: str, split: str, where: str) -> Sample | BadRow:
    """One parsed JSON value as a sample, or what is wrong with it."""
    if not isinstance(record, dict):
        return BadRow(where, "not a JSON object", position)
    try:
        return from_record(record, source=source, split=split, where=where)
    except UserError as error:
        return BadRow(where, str(error).removeprefix(f"{where}: "), position)


def json_lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """Number and bytes of each line; of an overlong one only the first 64 MiB and one byte."""
    with path.open("rb") as handle:
        number = 1
        while line := handle.readline(_MAX_LINE + 1):
            rest = line
            while len(rest) > _MAX_LINE and not rest.endswith(b"\n"):
                rest = handle.readline(_MAX_LINE + 1)
            yield number, line.removeprefix(b"\xef\xbb\xbf") if number == 1 else line
            number += 1


def read_jsonl(path: Path) -> Iterator[Sample]:
    """Stream the samples of a JSONL file in Winnow's own form.

    Raises:
        UserError: the file is missing, or a line is no JSON object or no sample.
    """
    for row in read_rows(path):
        if isinstance(row, BadRow):
            raise UserError(f"{row.where}: {row.reason}")
        yield row


def check_unique(samples: Iterable[Sample]) -> Iterator[Sample]:
    """Pass samples on; a repeated id is an error that names both rows by position (24 bytes an id)."""
    seen = SeenTexts()
    for position, sample in enumerate(samples):
        first = seen.add(sample.id, position)
        if first is not None:
            raise UserError(
                f"id {sample.id!r} occurs twice: rows {first} and {position}; ids must be unique"
                " (`ids: position` in the source's recipe numbers them)"
            )
        yield sample
