"""JSON and JSONL files as a stream of raw rows; memory does not grow with the file."""

from __future__ import annotations

import codecs
import dataclasses
import io
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from curate.readers.files.encoding import encoding_of, is_gzip, open_utf8
from curate.readers.files.json_text import CLOSING, JsonText
from winnow.errors import UserError
from winnow.rows.conversations import are_turns, holds_conversation
from winnow.rows.lines import MAX_LINE, SURROGATE, numbered_lines, parse_json
from winnow.rows.records import BadRow
from winnow.rows.repeated_keys import refuse_repeated_keys

_SURROGATE = re.compile(SURROGATE.pattern.decode())
_HEAD_BYTES = 64 << 20
_HEAD_KEYS = 64
_HEAD_MEMBERS = 16
_SKIPPED = 1 << 20
_ITSELF = frozenset(
    {
        "id", "image", "images", "file_name", "question", "query", "prompt", "instruction", "answer", "answers",
        "response", "output", "caption", "text",
    }
)  # fmt: skip
_TURN = frozenset({"role", "from"})
_SPLITS = frozenset({"train", "training", "validation", "valid", "val", "dev", "test", "testing"})


@dataclass(frozen=True, slots=True)
class RawRow:
    """One value of a file and where it was found.

    Attributes:
        where: file:line, or file and row of an array or object, for people.
        position: 0-based, among the values of the file.
        key: its name, for a member of an object.
        offset: byte of the file where it begins; -1 for a line of JSONL. ``read_at`` takes it.
    """

    value: Any
    where: str
    position: int
    key: str = ""
    offset: int = -1

    @property
    def fields(self) -> dict[str, Any]:
        """The value, which must be an object.

        Raises:
            ValueError: it is something else.
        """
        if not isinstance(self.value, dict):
            raise ValueError("not a JSON object")
        return self.value


@dataclass(frozen=True)
class FileRows(Iterator[RawRow | BadRow]):
    """The rows of one file in their order; an export finds them there again by ``RawRow.position``.

    Attributes:
        document: the file is one JSON object, and its rows are what it holds under ``key``, or its own members.
        copyable: the rows can be copied out of the file one by one, because it is Parquet, CSV, or a list or lines of
            JSON in UTF-8, and not packed.
        form: ``lines`` for a row a line (JSONL), or ``csv``; '' for another form.
    """

    path: Path
    rows: Iterator[RawRow | BadRow]
    document: bool = False
    key: str | None = None
    copyable: bool = True
    form: Literal["", "lines", "csv"] = ""

    def __next__(self) -> RawRow | BadRow:
        return next(self.rows)


def iter_json(path: Path) -> FileRows:
    """Rows of a JSON array, of JSONL, of one object that holds them (see ``rows_inside``), or of objects one by one.

    Objects one by one may span lines and be separated by commas or nothing. A bad line of a JSONL file costs that
    line. After a syntax error anywhere else, nothing shows where the next row begins, so the file counts as broken.

    Raises:
        UserError: the file is missing, broken (names the byte), or an object that holds several lists of rows.
    """
    _check_is_file(path)
    copyable = encoding_of(path) == "utf-8" and not is_gzip(path)
    with open_utf8(path) as handle:
        if _first_character(handle) == b"[":
            return FileRows(path, _list(path), copyable=copyable)
    inside = rows_inside(path)
    if inside is not None:
        key = inside.keys[0] if len(inside.keys) == 1 else None
        rows = _rows_of_document(path, inside)
        plain = len(inside.keys) < 2 and not inside.within
        return FileRows(path, rows, document=True, key=key, copyable=copyable and plain)
    if _is_lines(path):
        return FileRows(path, _lines(path), copyable=copyable, form="lines")
    return FileRows(path, _values(path), copyable=False)


@dataclass(frozen=True)
class Inside:
    """Where the rows of one JSON object are.

    Attributes:
        keys: that they are under; () for all members.
        within: key of the object that has these keys; '' for the outermost.
    """

    keys: tuple[str, ...]
    within: str = ""


def rows_inside(path: Path) -> Inside | None:
    """Where one JSON object holds its rows; None for a file of another kind.

    Rows are the one list of objects (``{"info": …, "data": [...]}``), the lists of splits (``{"train": [...], "val":
    [...]}``), both also one object deeper (``{"data": {"train": [...]}}``), or members that are all objects
    (``{"<id>": {…}, …}``). An object with a conversation, a question or an answer is a row itself.

    Raises:
        UserError: the file is missing, or there are several lists of objects.
    """
    head = document_head(path)
    if len(head) > 1 and (all(map(_is_column, head.values())) or all(map(_is_numbered, head.values()))):
        raise UserError(
            f"{path}: holds columns, not rows; write it with pandas: df.to_json(path, orient='records', lines=True)"
        )
    scalars = {name for name, value in head.items() if not _holds_objects(value)}
    if not head or scalars & _ITSELF or holds_conversation(head) or are_turns(head.get("prompt")):
        return None
    within, lists = "", _lists_of_objects(head)
    deeper = {name: found for name, value in head.items() if isinstance(value, dict) if (found := _only_lists(value))}
    if not lists and len(deeper) == 1:
        ((within, lists),) = deeper.items()
    if len(lists) > 1 and not all(name.lower() in _SPLITS for name in lists):
        raise UserError(
            f"{path}: holds several lists of rows ({', '.join(lists[:8])}); write the wanted one to a file of its own,"
            f" e.g. with jq: jq '.{f'{within}.' if within else ''}{lists[-1]}' {path.name} > rows.json"
        )
    if not lists and len(head) > 1 and all(isinstance(value, dict) for value in head.values()):
        return Inside(())
    return Inside(lists, within) if lists else None


def _lists_of_objects(found: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(name for name, value in found.items() if _holds_objects(value))


def _only_lists(found: Mapping[str, Any]) -> tuple[str, ...]:
    """The lists of objects that one object of a document has, if its other members cannot make it a row."""
    lists = _lists_of_objects(found)
    return () if _ITSELF & (found.keys() - set(lists)) or holds_conversation(found) else lists


def iter_document(path: Path, key: str | None = None) -> FileRows:
    """What one JSON object holds: the elements or members of ``document[key]``, or its own members.

    Raises:
        UserError: no such file, not an object, no such key, or broken (names the byte).
    """
    _check_is_file(path)
    copyable = encoding_of(path) == "utf-8" and not is_gzip(path)
    return FileRows(path, _document(path, key), document=True, key=key, copyable=copyable)


def read_at(path: Path, offset: int) -> Any:
    """The value that begins at a byte of a file, as ``RawRow.offset`` gave it.

    Raises:
        UserError: there is no JSON at that byte.
    """
    with open_utf8(path) as handle:
        if handle.seekable():
            handle.seek(offset)
        else:
            for begin in range(0, offset, _SKIPPED):
                handle.read(min(_SKIPPED, offset - begin))
        text = JsonText(handle, first_chunk=1 << 14, at=offset)
        with _naming_byte(path, text):
            return text.value()


def document_head(path: Path) -> dict[str, Any]:
    """The beginning of a JSON object: its keys with scalars whole, of arrays the first element only.

    Of objects it has the first 16 members, and of lists in these the first element only. Stops after 64 keys or
    64 MiB. Empty for other files (JSONL too) and for one that is broken from the start.

    Raises:
        UserError: the file is missing.
    """
    _check_is_file(path)
    stat = path.stat()
    return dict(_head(path, stat.st_size, stat.st_mtime_ns))


@lru_cache(maxsize=32)
def _head(path: Path, size: int, modified: int) -> dict[str, Any]:
    """Cached by size and time, because recognising a layout, locating its images and reading it all need it."""
    found: dict[str, Any] = {}
    with open_utf8(path) as handle:
        if _first_character(handle) != b"{":
            return {}
        text = JsonText(handle)
        try:
            for key in text.entries():
                kind = text.peek()
                if kind in CLOSING:
                    found[key] = [] if kind == "[" else {}
                    for number, name in enumerate(text.entries()):
                        value = _first_only(text) if kind == "{" and text.peek() == "[" else text.value()
                        if kind == "[" and number == 0:
                            found[key].append(value)
                        elif kind == "{" and number < _HEAD_MEMBERS:
                            found[key][name] = value
                        if text.tell() > _HEAD_BYTES:
                            return found
                else:
                    found[key] = text.value()
                if len(found) == _HEAD_KEYS:
                    return found
            text.skip_blanks()
            return {} if text.peek() else found  # more objects follow: JSONL
        except ValueError:
            return found


def _first_only(text: JsonText) -> list[Any]:
    """The list that comes next, with its first element only."""
    found: list[Any] = []
    for number, _ in enumerate(text.entries()):
        value = text.value()
        found += [value] if number == 0 else []
        if text.tell() > _HEAD_BYTES:
            break
    return found


def _check_is_file(path: Path) -> None:
    if not path.is_file():
        raise UserError(f"{path}: no such file")


def _holds_objects(value: Any) -> bool:
    """Whether it is a list of objects that are no turns of a conversation."""
    return isinstance(value, list) and bool(value) and isinstance(value[0], dict) and not _TURN & value[0].keys()


def _is_column(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and not isinstance(value[0], dict | list)


def _is_numbered(value: Any) -> bool:
    return isinstance(value, dict) and next(iter(value), None) == "0" and not isinstance(value["0"], dict)


def _first_character(handle: io.BufferedReader) -> bytes:
    """The first byte that is not blank, '' for none; nothing is taken from the handle."""
    return handle.peek(4096).removeprefix(codecs.BOM_UTF8).lstrip()[:1]


def _list(path: Path) -> Iterator[RawRow | BadRow]:
    with open_utf8(path) as handle:
        yield from _entries(path, handle, None)


def _rows_of_document(path: Path, inside: Inside) -> Iterator[RawRow | BadRow]:
    position, keys = 0, inside.keys
    for key in keys or (None,):
        for row in _document(path, key, inside.within):
            own = {"key": row.key} if isinstance(row, RawRow) and row.key else {}
            own |= {"split": key} if key is not None and len(keys) > 1 else {}
            if own and isinstance(row, RawRow) and isinstance(row.value, Mapping):
                row = dataclasses.replace(row, value={**own, **row.value})
            yield dataclasses.replace(row, position=position)
            position += 1


def _document(path: Path, key: str | None, within: str = "") -> Iterator[RawRow | BadRow]:
    with open_utf8(path) as handle:
        if _first_character(handle) != b"{":
            raise UserError(f"{path}: is not one JSON object, so it cannot hold {key or 'members'!r}")
        yield from _entries(path, handle, key, within)


def _is_lines(path: Path) -> bool:
    """Whether the first value fills the first line; also if nothing can be read, which costs lines and not the file."""
    with open_utf8(path) as handle:
        text = JsonText(handle)
        try:
            text.skip_blanks()
            text.value()
            begin, end = text.last
            return "\n" not in text.buffer[begin:end] and text.rest_of_line()[:1] not in (",", "{")
        except ValueError:
            return True


def _lines(path: Path) -> Iterator[RawRow | BadRow]:
    position = 0
    with open_utf8(path) as handle:
        for number, line in numbered_lines(handle):
            if not line.strip():
                continue
            where = f"{path}:{number}"
            try:
                if len(line) > MAX_LINE:  # and cut
                    raise ValueError(f"longer than {MAX_LINE >> 20} MiB")
                yield RawRow(parse_json(line), where, position)
            except ValueError as error:
                yield BadRow(where, f"not JSON ({error})", position)
            position += 1


def _values(path: Path) -> Iterator[RawRow | BadRow]:
    """Values one after another, with commas between them or without."""
    with open_utf8(path) as handle:
        text = JsonText(handle)
        with _naming_byte(path, text):
            position = 0
            while text.next_follows():
                yield _value(path, text, "", position)
                position += 1


def _entries(path: Path, handle: io.BufferedReader, key: str | None, within: str = "") -> Iterator[RawRow | BadRow]:
    """Elements or members of the document, or of what it, or its object ``within``, holds under ``key``."""
    text = JsonText(handle)
    with _naming_byte(path, text):
        for wanted in filter(None, (within, key)):
            for name in text.entries():
                if name == wanted:
                    break
                text.skip()
            else:
                raise UserError(f"{path}: has no {wanted!r}")
            if text.peek() not in ("[", "{"):
                raise UserError(f"{path}: {wanted!r} holds neither a list nor an object")
        for position, name in enumerate(text.entries()):
            yield _value(path, text, name, position)
        if key is None and text.next_follows():
            raise ValueError("more follows what should be the whole file")


def _value(path: Path, text: JsonText, name: str, position: int) -> RawRow | BadRow:
    """The value that comes next."""
    where = f"{path}: {f'{name!r}' if name else f'row {position + 1}'}"
    offset = text.tell()
    value = text.value()
    suspicious = _SURROGATE.search(text.buffer, *text.last) or not name.isascii()
    if suspicious and _has_half_pair([name, value]):
        return BadRow(where, "holds half a surrogate pair, which is not text", position)
    begin, end = text.last
    try:
        refuse_repeated_keys(text.buffer[begin:end].encode("utf-8", "surrogatepass"), value)
    except ValueError as error:
        return BadRow(where, str(error), position)
    return RawRow(value, where, position, name, offset)


def _has_half_pair(value: Any) -> bool:
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return True
    return False


@contextmanager
def _naming_byte(path: Path, text: JsonText) -> Iterator[None]:
    try:
        yield
    except ValueError as error:
        raise UserError(
            f"{path}: broken at byte {text.tell():,} ({error}); nothing after it can be read, so fetch the file again"
        ) from None
