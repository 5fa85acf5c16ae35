"""Tables: CSV, TSV, Parquet, and JSON or JSONL of flat objects, one row a sample.

Columns are found by name (``COLUMN_NAMES``, the first that is there; letter case does not count) or
named in the recipe: ``columns: {image: pic, answers: refs}``. What no role claims goes to ``meta``.
A table with captions and no question gets the question ``Describe the image.``
"""

from __future__ import annotations

import ast
import base64
import csv
import datetime
import decimal
import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.atomic import digest_of
from curate.errors import UserError
from curate.sample import BadRow, Form, Sample, Turn, full_id, majority
from curate.settings import SourceSettings
from curate.sources.json_stream import iter_json
from curate.sources.roots import deduced_root

COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "question_id", "qid", "uid", "key"),
    "image": (
        "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "filename",
        "image_name", "filepath", "path",
    ),
    "question": ("question", "query", "prompt", "instruction"),
    "answer": ("answer", "response", "output", "target", "gt_answer"),
    "answers": ("answers", "references", "gt_answers", "labels"),
    "caption": ("caption", "captions", "sentence", "sentences", "description", "text", "comment"),
    "split": ("split",),
    "source": ("source", "dataset"),
}  # fmt: skip
CAPTION_QUESTION = "Describe the image."
_MAX_LITERAL = 100_000
_KEY_SETS = 1000
_MAX_FIELD = 64 << 20


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Stream the table's rows; a row without what a sample needs becomes a ``BadRow``.

    Raises:
        UserError: no such file, not readable as a table, or no column for the question's answer.
    """
    roles_of: dict[tuple[str, ...], dict[str, str]] = {}  # objects of one JSONL file may differ in their keys
    for row in iter_rows(Path(settings.location)):
        if isinstance(row, BadRow):
            yield row
            continue
        where, position, values = row
        names = tuple(values)
        if names not in roles_of:
            try:
                found = find_columns(list(names), settings.columns, where=settings.location)
            except UserError as error:
                if not roles_of:
                    raise
                yield BadRow(where, str(error).removeprefix(f"{settings.location}: "), position)
                continue
            roles_of = {**roles_of, names: found} if len(roles_of) < _KEY_SETS else {names: found}
        yield _sample_or_bad(values, roles_of[names], settings, where, position)


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return deduced_root(settings, iter_samples(settings))


def find_columns(names: list[str], wanted: Mapping[str, str], *, where: str) -> dict[str, str]:
    """Role to column name, for the roles that the table has a column for.

    Raises:
        UserError: a named role or column does not exist, or none holds answers or captions.
    """
    unknown = [role for role in wanted if role not in COLUMN_NAMES]
    if unknown:
        raise UserError(f"columns: unknown role {unknown[0]!r}; roles are {', '.join(COLUMN_NAMES)}")
    absent = [column for column in wanted.values() if column not in names]
    if absent:
        raise UserError(f"{where}: has no column {absent[0]!r}; its columns are {', '.join(names)}")
    by_lower = {name.lower(): name for name in reversed(names)}
    found = {
        role: next(by_lower[option] for option in options if option in by_lower)
        for role, options in COLUMN_NAMES.items()
        if role not in wanted and any(option in by_lower for option in options)
    }
    found.update(wanted)
    if not {"answer", "answers", "caption"} & found.keys():
        raise UserError(
            f"{where}: no column with answers or captions among {', '.join(names)};"
            " name it in the recipe, e.g. columns: {answer: <column>}"
        )
    if "question" in found and {"answer", "answers"} & found.keys() and "caption" not in wanted:
        found.pop("caption", None)
    return found


def iter_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]] | BadRow]:
    """Rows of any table as (where, position, column to value); told apart by content, not by suffix.

    Raises:
        UserError: no such file, or not readable as a table.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        start = handle.read(4096)
    if start[:4] == b"PAR1":
        yield from _parquet_rows(path)
    elif start.removeprefix(b"\xef\xbb\xbf").lstrip()[:1] in (b"{", b"["):
        for row in iter_json(path):
            if isinstance(row, BadRow):
                yield row
            elif isinstance(row.value, dict):
                yield row.where, row.position, row.value
            else:
                yield BadRow(row.where, "not a JSON object", row.position)
    else:
        yield from _csv_rows(path)


def _parquet_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]]]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    position = 0
    try:
        with pq.ParquetFile(path) as table:
            for batch in table.iter_batches(batch_size=1024):
                for values in batch.to_pylist():
                    yield f"{path}: row {position + 1}", position, values
                    position += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: not readable as Parquet after row {position} ({error})") from error


def _csv_rows(path: Path) -> Iterator[tuple[str, int, dict[str, Any]] | BadRow]:
    csv.field_size_limit(_MAX_FIELD)
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as handle:
        header = handle.readline()
        delimiter = (
            "\t" if header.count("\t") > header.count(",") else ";" if header.count(";") > header.count(",") else ","
        )
        handle.seek(0)
        reader = csv.reader(handle, delimiter=delimiter)
        names = next(reader, None)
        if names is None:
            return
        if len(set(names)) < len(names) or not any(name.strip() for name in names):
            raise UserError(f"{path}: the first line must name the columns, each once")
        position = 0
        while True:
            where = f"{path}:{reader.line_num + 1}"
            try:
                cells = next(reader)
                if not cells:
                    continue
                "".join(cells).encode()
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(where, f"not CSV ({error})", position)
            except UnicodeEncodeError:
                yield BadRow(where, "not UTF-8", position)
            else:
                if len(cells) == len(names):
                    yield where, position, dict(zip(names, cells, strict=True))
                else:
                    yield BadRow(where, f"has {len(cells)} cells, the header has {len(names)}", position)
            position += 1


def _sample_or_bad(
    values: Mapping[str, Any], roles: Mapping[str, str], settings: SourceSettings, where: str, position: int
) -> Sample | BadRow:
    cell = {role: values[column] for role, column in roles.items()}
    meta = {name: _json_value(value) for name, value in values.items() if name not in roles.values()}
    try:
        image = _paths(cell.get("image"))
        references, raw = _texts(cell.get("answers"))
        captions, _ = _texts(cell.get("caption"))
        answer, answer_raw = _texts(cell.get("answer"))
    except ValueError as error:
        return BadRow(where, str(error), position)
    if raw is not None:
        meta[roles["answers"]] = _json_value(raw)
    if answer_raw is not None:
        meta[roles["answer"]] = _json_value(answer_raw)
    references = references or answer or captions
    question = cell.get("question")
    if not question and captions and not answer:
        question = CAPTION_QUESTION
    if not isinstance(question, str) or not question.strip():
        return BadRow(where, "no question", position)
    source = str(cell.get("source") or (Path(settings.location).stem if settings.source is None else settings.source))
    split = str(cell.get("split") or settings.split)
    own_id = cell.get("id")
    if own_id not in (None, "") and not isinstance(own_id, str):
        meta.setdefault(roles["id"], _json_value(own_id))  # keeps its type
    own = (
        str(own_id) if own_id not in (None, "") else digest_of({key: _json_value(v) for key, v in values.items()})[:16]
    )
    return Sample(
        id=full_id(own, source, split),
        image=image,
        conversations=(Turn("user", question), Turn("assistant", answer[0] if answer else majority(references))),
        answers=references,
        source=source,
        split=split,
        meta=meta,
        form=Form(derived_id=own_id in (None, "")),
    )


def _paths(value: Any) -> tuple[str, ...]:
    """Image cell: a path, a list of paths, or Hugging Face's ``{"path": …, "bytes": …}``."""
    if value in (None, "", []):
        return ()
    items = value if isinstance(value, list) else [value]
    found = [item.get("path") if isinstance(item, dict) and not item.get("bytes") else item for item in items]
    paths = tuple(path for path in found if isinstance(path, str) and path)
    if len(paths) < len(found):
        raise ValueError("the image is no path (images stored as bytes inside a table are not read)")
    return paths


def _texts(value: Any) -> tuple[tuple[str, ...], Any]:
    """Texts of an answer cell, and the cell itself where its texts do not restore it.

    A cell is a text, a number, a list of these, a list of ``{"answer": …}``, or a list written
    as JSON or as a Python literal (as pandas writes them to CSV).
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        parsed = _list_literal(value)
        if parsed is not None:
            return _texts(parsed)[0], value
    if value is None:
        return (), None
    items = value if isinstance(value, list) else [value]
    texts = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(text, str | int | float) for text in texts):
        raise ValueError("an answer is neither a text nor a number")
    plain = all(isinstance(item, str) for item in items)
    return tuple(str(text) for text in texts if text != ""), None if plain else value


def _list_literal(text: str) -> list[Any] | None:
    if len(text) > _MAX_LITERAL:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    return None


def _json_value(value: Any) -> Any:
    """``value`` with what JSON cannot hold written as text (dates as ISO, decimals, bytes as base64)."""
    if isinstance(value, dict):
        return {str(key): _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_json_value(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value
