"""JSON and JSONL files as a stream of values; memory does not grow with the file."""

from __future__ import annotations

import codecs
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.errors import UserError
from curate.sample import SURROGATE, BadRow, json_lines, parse_json

_CHUNK = 1 << 20
_MAX_VALUE = 64 << 20
_BLANK = " \t\r\n"
_DECODER = json.JSONDecoder()
_SURROGATE = re.compile(SURROGATE.pattern.decode())


@dataclass(frozen=True, slots=True)
class Value:
    """One JSON value and where it stood (file:line, or file: row of an array)."""

    value: Any
    where: str
    position: int


def iter_json(path: Path) -> Iterator[Value | BadRow]:
    """Values of a JSON array or of a JSONL file, told apart by the first character.

    A bad line of a JSONL file costs that line. A syntax error inside an array costs the rest of
    it, because nothing tells where the next element begins.

    Raises:
        UserError: the file is missing.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        start = handle.read(4096).removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    return _array(path) if start == b"[" else _lines(path)


def _lines(path: Path) -> Iterator[Value | BadRow]:
    position = 0
    for number, line in json_lines(path):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        try:
            yield Value(parse_json(line), where, position)
        except ValueError as error:
            yield BadRow(where, f"not JSON ({error})", position)
        position += 1


def _array(path: Path) -> Iterator[Value | BadRow]:
    position = 0
    with path.open("rb") as handle:
        text = _Text(handle)
        more = True
        while more:
            where = f"{path}: row {position + 1}"
            try:
                more = text.next_element(first=position == 0)
                if more:
                    yield Value(text.value(), where, position)
            except ValueError as error:
                yield BadRow(where, f"not JSON ({error}); nothing after it could be read", position)
                return
            position += 1


class _Text:
    """A window of decoded text over a file."""

    def __init__(self, handle: Any) -> None:
        self._handle = handle
        self._decode = codecs.getincrementaldecoder("utf-8-sig")("strict")
        self._buffer = ""
        self._at = 0
        self._ended = False

    def peek(self) -> str:
        """The next character, '' at the end of the file."""
        while self._at >= len(self._buffer) and self._more():
            pass
        return self._buffer[self._at : self._at + 1]

    def skip_blanks(self) -> None:
        while (found := self.peek()) and found in _BLANK:
            self._at += 1

    def next_element(self, *, first: bool) -> bool:
        """Step over ``[`` or ``,``; False at the end of the array.

        Raises:
            ValueError: something else stands there.
        """
        self.skip_blanks()
        found = self.peek()
        if found == "]" and not first:
            return False
        if found != ("[" if first else ","):
            raise ValueError("the array does not end" if not found else f"expected a comma, found {found!r}")
        self._at += 1
        self.skip_blanks()
        return not (first and self.peek() == "]")

    def value(self) -> Any:
        """Parse the value that begins here; read on until it is whole.

        Raises:
            ValueError: no JSON, not UTF-8, too deep or too long.
        """
        while True:
            try:
                value, end = _DECODER.raw_decode(self._buffer, self._at)
            except RecursionError:
                raise ValueError("nested too deeply") from None
            except ValueError:
                # Perhaps only its beginning is here. Doubling keeps re-parsing linear.
                wanted = 2 * max(len(self._buffer) - self._at, _CHUNK)
                if self._ended or wanted > _MAX_VALUE or not self._more(wanted):
                    raise
                continue
            if end == len(self._buffer) and self._more():
                continue  # a number may go on
            if _SURROGATE.search(self._buffer, self._at, end):
                json.dumps(value, ensure_ascii=False).encode()  # a ValueError for half a pair
            self._at = end
            return value

    def _more(self, wanted: int = _CHUNK) -> bool:
        if self._ended:
            return False
        raw = self._handle.read(wanted)
        self._ended = not raw
        self._buffer = self._buffer[self._at :] + self._decode.decode(raw, final=not raw)
        self._at = 0
        return bool(raw)
