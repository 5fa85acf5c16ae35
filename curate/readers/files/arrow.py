"""Parquet and Arrow IPC files as raw rows, a few at a time. Classes of Hugging Face's features become their names."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.files.json import RawRow
from winnow.errors import UserError
from winnow.rows.records import BadRow

PARQUET, ARROW_FILE, ARROW_STREAM = b"PAR1", b"ARROW1", b"\xff\xff\xff\xff"
_MAX_BATCH_ROWS, _BATCH_BYTES = 1024, 8 << 20
_LARGEST_ROW = 256 << 20  # bytes; a few KiB unpack to a row of gigabytes
_SAVED = ("state.json", "dataset_info.json")
_SAVED_SPLITS = "dataset_dict.json"


def parquet_rows(
    path: Path, groups: Sequence[int] | None = None, where: str | None = None
) -> Iterator[RawRow | BadRow]:
    """Rows of a Parquet file.

    Args:
        groups: the row groups to read; None is all.
        where: what the place of a row begins with, before its number.

    Raises:
        UserError: it is broken.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    position = 0
    where = f"{path}: row " if where is None else where
    try:
        # Without buffering ahead, memory is bounded by a few of the file's pages, however large its row groups.
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            batches = table.iter_batches(batch_size=batch_rows(table), row_groups=groups)
            for values in _values(batches, table.schema_arrow):
                yield _row(values, f"{where}{position + 1}", position)
                position += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as Parquet after row {position} ({error})") from error


def arrow_rows(path: Path) -> Iterator[RawRow | BadRow]:
    """Rows of an Arrow IPC file or stream, Feather version 2 among them.

    Raises:
        UserError: it is broken.
    """
    import pyarrow as pa

    position = 0
    try:
        with pa.memory_map(str(path)) as source:
            with path.open("rb") as handle:
                is_file = handle.read(len(ARROW_FILE)) == ARROW_FILE
            opened = pa.ipc.open_file(source) if is_file else pa.ipc.open_stream(source)
            batches = (opened.get_batch(n) for n in range(opened.num_record_batches)) if is_file else opened
            for values in _values(_in_parts(batches), opened.schema):
                yield _row(values, f"{path}: row {position + 1}", position)
                position += 1
    except (pa.ArrowException, OSError, ValueError) as error:
        raise UserError(f"{path}: not readable as Arrow after row {position} ({error})") from error


def saved_files(folder: Path) -> list[tuple[Path, str]]:
    """Files and splits of a folder that ``datasets`` wrote with ``save_to_disk``; empty for another folder.

    Raises:
        UserError: the folder names a file that is not in it.
    """
    splits = _document(folder / _SAVED_SPLITS).get("splits")
    if isinstance(splits, list):
        return [found for split in splits if isinstance(split, str) for found in _saved_split(folder, split)]
    return _saved_split(folder, "")


def _saved_split(folder: Path, split: str) -> list[tuple[Path, str]]:
    folder = folder / split
    names = [entry.get("filename") for entry in _document(folder / _SAVED[0]).get("_data_files") or []]
    files = [folder / name for name in names if isinstance(name, str) and "/" not in name]
    for file in files:
        if not file.is_file():
            raise UserError(f"{file}: no such file, but {folder / _SAVED[0]} names it; copy the whole folder")
    return [(file, split) for file in files]


def _document(path: Path) -> dict[str, Any]:
    """A small JSON file; empty if it is none."""
    try:
        with path.open("rb") as handle:
            found = json.loads(handle.read(_BATCH_BYTES))
    except (OSError, ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _row(values: dict[str, Any] | str, where: str, position: int) -> RawRow | BadRow:
    return BadRow(where, values, position) if isinstance(values, str) else RawRow(values, where, position)


def _values(batches: Iterable[Any], schema: Any) -> Iterator[dict[str, Any] | str]:
    """The values of each row, or what is wrong with them."""
    classes = _classes(schema)
    for batch in batches:
        for values in _plain(batch):
            if isinstance(values, dict):
                for column, names in classes.items():
                    values[column] = _named(values[column], names)
            yield values


def _plain(batch: Any) -> Iterator[dict[str, Any] | str]:
    """Rows as Python's values; what Python has no value for, or is no text, costs the row that it is in."""
    with contextlib.suppress(ValueError, OverflowError):
        if batch.nbytes <= _LARGEST_ROW:
            yield from batch.to_pylist()
            return
    for number in range(len(batch)):
        yield _plain_row(batch.slice(number, 1))


def _plain_row(row: Any) -> dict[str, Any] | str:
    import pyarrow as pa

    values, size = dict[str, Any](), 0
    for name, column in zip(row.schema.names, row.columns, strict=True):
        shared = isinstance(column, pa.DictionaryArray)  # whose size is that of the dictionary
        size += (column.dictionary_decode() if shared else column).nbytes
        if size > _LARGEST_ROW:
            return f"more than {_LARGEST_ROW:,} bytes"
        try:
            (values[name],) = column.to_pylist()
        except (ValueError, OverflowError) as error:
            return f"{name!r} of type {column.type!s:.100} cannot be read ({error})"
    return values


def _classes(schema: Any) -> dict[str, list[str]]:
    """Names of the classes of each column that is a ``ClassLabel`` of ``datasets``, or a list of such."""
    try:
        features = json.loads((schema.metadata or {}).get(b"huggingface", b"{}"))["info"]["features"]
        return {name: names for name in schema.names if (names := _class_names(features.get(name)))}
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}


def _class_names(feature: Any) -> list[str]:
    if isinstance(feature, list):  # how `datasets` before 4 wrote a list
        return _class_names(feature[0]) if feature else []
    if not isinstance(feature, Mapping):
        return []
    if feature.get("_type") in ("Sequence", "List", "LargeList"):
        return _class_names(feature.get("feature"))
    names = feature.get("names") if feature.get("_type") == "ClassLabel" else None
    return [str(name) for name in names] if isinstance(names, list) else []


def _named(value: Any, names: list[str]) -> Any:
    """A number of a class by its name; -1 stands for a hidden class and stays."""
    if isinstance(value, list):
        return [_named(item, names) for item in value]
    return names[value] if isinstance(value, int) and 0 <= value < len(names) else value


def _in_parts(batches: Iterable[Any]) -> Iterator[Any]:
    """Batches cut to about 8 MiB, and checked: what an untrusted file says of its lengths is not to be relied on."""
    import pyarrow as pa

    for batch in batches:
        size = _rows_at_once(batch.num_rows, batch.nbytes)
        for begin in range(0, batch.num_rows, size):
            part = batch.slice(begin, size)
            try:
                part.validate(full=True)
            except pa.ArrowInvalid:
                # With its texts as bytes: one that is not UTF-8 costs its row, when that is converted.
                for column in part.columns:
                    column.view(_of_bytes(column.type)).validate(full=True)
            yield part


def _of_bytes(kind: Any) -> Any:
    """A type of Arrow with bytes in place of texts."""
    import pyarrow as pa

    texts = {pa.string(): pa.binary(), pa.large_string(): pa.large_binary(), pa.string_view(): pa.binary_view()}
    if pa.types.is_struct(kind):
        return pa.struct([field.with_type(_of_bytes(field.type)) for field in kind])
    if pa.types.is_list(kind):
        return pa.list_(kind.value_field.with_type(_of_bytes(kind.value_type)))
    if pa.types.is_large_list(kind):
        return pa.large_list(kind.value_field.with_type(_of_bytes(kind.value_type)))
    return texts.get(kind, kind)


def batch_rows(table: Any) -> int:
    """Number of rows of a Parquet file that hold about 8 MiB."""
    meta = table.metadata
    size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
    return _rows_at_once(meta.num_rows, size)


def _rows_at_once(rows: int, size: int) -> int:
    """Number of rows that hold about 8 MiB, because a row may hold an image."""
    return max(1, min(_MAX_BATCH_ROWS, int(_BATCH_BYTES * max(rows, 1) // max(size, 1))))
