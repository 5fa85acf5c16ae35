"""Tables: CSV, TSV, Parquet, and JSON or JSONL of flat objects, one row a sample.

The location is one file, or several of one table: a folder of Parquet files, or a pattern
(``data/train-*.parquet``, ``part-{000..012}.csv``).

Columns are found by name (``COLUMN_NAMES``, the first that is there; letter case does not count) or
named in the recipe: ``columns: {image: pic, answers: refs}``. What no role claims goes to ``meta``.
A table with captions and no question gets the question ``Describe the image.``

An image is a path, a URL, bytes, Hugging Face's ``{"bytes": …, "path": …}``, base64 or a data URI, or a
list of these. Without a column of that name, ``image_1``, ``image_2`` … are the images.

A row with ``conversations`` or ``messages`` is read as such, as in ``winnow.records.from_record``.

The rows of one table file, whatever its format, as columns.

Cells of a table: images as paths or bytes, answers as texts, everything else as JSON.
"""

from __future__ import annotations

import ast
import base64
import csv
import dataclasses
import datetime
import decimal
import json
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from curate.readers.base import Probe, deduced_root, files_of, of_split
from curate.readers.images import embed, is_encoded
from curate.readers.json import iter_json
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.files import digest_of, sha256_bytes
from winnow.records import BadRow, Form, Sample, Turn, full_id, majority, record_or_bad

_MAX_LITERAL = 100_000
_MAX_IMAGES = 64 << 20  # of a list of base64 texts


@dataclass(frozen=True)
class ImageCell:
    """What an image cell holds.

    Attributes:
        paths: of all its images, in order; see ``winnow.records.Sample``.
        embedded: bytes of those that the table carries, by path.
        names: what the table calls the images it carries.
    """

    paths: tuple[str, ...] = ()
    embedded: dict[str, bytes] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def image_cell(value: Any, where: str) -> ImageCell:
    """Read a path, URL, bytes, base64, data URI, ``{"bytes": …, "path": …}``, or a list of these.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        value = list_literal(value, _MAX_IMAGES) or value
    paths: list[str] = []
    embedded: dict[str, bytes] = {}
    names: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if item in (None, "", b""):
            continue
        data = item
        if isinstance(item, dict):
            data = item.get("bytes") or item.get("path") or ""
            if item.get("bytes") and isinstance(item.get("path"), str):
                names.append(item["path"])
        if isinstance(data, bytes) or (isinstance(data, str) and is_encoded(data)):
            path, image = embed(data, where)
            embedded.update(image)
        elif isinstance(data, str) and data:
            path = data
        elif isinstance(item, dict) and not data:
            continue
        else:
            raise ValueError("the image is neither a path or URL nor bytes or base64")
        paths.append(path)
    return ImageCell(tuple(paths), embedded, tuple(names))


def texts(value: Any) -> tuple[tuple[str, ...], Any]:
    """Texts of an answer cell, and the cell itself where its texts do not restore it.

    A cell is a text, a number, a list of these, a list of ``{"answer": …}``, or a list written
    as JSON or as a Python literal (as pandas writes them to CSV).
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        parsed = list_literal(value)
        if parsed is not None:
            return texts(parsed)[0], value
    if value is None:
        return (), None
    items = value if isinstance(value, list) else [value]
    found = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(text, str | int | float) for text in found):
        raise ValueError("an answer is neither a text nor a number")
    plain = all(isinstance(item, str) for item in items)
    return tuple(str(text) for text in found if text != ""), None if plain else value


def list_literal(text: str, longest: int = _MAX_LITERAL) -> list[Any] | None:
    """The list that ``text`` spells as JSON or as a Python literal, or None."""
    if len(text) > longest:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    return None


def json_value(value: Any) -> Any:
    """``value`` with what JSON cannot hold written as text (dates as ISO, decimals, bytes as base64)."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value


_MAX_FIELD = 64 << 20
_MAX_BATCH_ROWS, _BATCH_BYTES = 1024, 8 << 20


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

    # Memory is bounded by a few of the file's pages, however large its row groups: nothing is buffered ahead.
    position = 0
    try:
        with pq.ParquetFile(path, pre_buffer=False, buffer_size=1 << 20) as table:
            for batch in table.iter_batches(batch_size=_batch_rows(table)):
                for values in batch.to_pylist():
                    yield f"{path}: row {position + 1}", position, values
                    position += 1
    except pa.ArrowException as error:
        raise UserError(f"{path}: not readable as Parquet after row {position} ({error})") from error


def _batch_rows(table: Any) -> int:
    """As many rows as hold about 8 MiB, because a row may hold an image."""
    meta = table.metadata
    size = sum(meta.row_group(group).total_byte_size for group in range(meta.num_row_groups))
    return max(1, min(_MAX_BATCH_ROWS, _BATCH_BYTES * max(meta.num_rows, 1) // max(size, 1)))


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


COLUMN_NAMES: dict[str, tuple[str, ...]] = {
    "id": ("id", "sample_id", "question_id", "qid", "uid", "key", "__key__"),
    "image": (
        "image", "images", "image_path", "image_paths", "img", "img_path", "image_file", "file_name", "file_names",
        "filename", "image_name", "filepath", "path", "image_bytes", "image_base64", "img_base64", "base64",
        "image_url", "url", "jpg", "png",
    ),
    "question": ("question", "query", "prompt", "instruction"),
    "answer": ("answer", "response", "output", "target", "gt_answer"),
    "answers": ("answers", "references", "gt_answers", "labels"),
    "caption": ("caption", "captions", "sentence", "sentences", "description", "text", "comment"),
    "split": ("split",),
    "source": ("source", "dataset"),
}  # fmt: skip
EXAMPLE = "{location: 'data/train-*.parquet', columns: {answer: label}}"
CONVERSATIONS = frozenset({"conversations", "messages"})
CAPTION_QUESTION = "Describe the image."
_NUMBERED_IMAGE = re.compile(r"(?:image|img)_?(\d+)", re.IGNORECASE)
_KEY_SETS = 1000


def looks_like(probe: Probe) -> bool:
    """A file of rows with named columns; or a folder or pattern of Parquet files."""
    return bool(probe.first) if probe.is_file else bool(_files(probe.location))


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Stream the table's rows; a row without what a sample needs becomes a ``BadRow``.

    Raises:
        UserError: no such file, not readable as a table, or no column for the question's answer.
    """
    files = _files(settings.location)
    if not files:
        raise UserError(f"{settings.location}: no such file")
    position = 0
    for file, split in of_split(files, settings.split):
        settings_of_file = settings.model_copy(update={"split": split})
        for row in samples_of(iter_rows(file), settings_of_file, position):
            yield row
            position += 1


def _files(location: str) -> list[Path]:
    return [file for file in files_of(location, (".parquet",)) if file.suffix != ".tar"]


def samples_of(
    rows: Iterable[tuple[str, int, dict[str, Any]] | BadRow], settings: SourceSettings, first_position: int = 0
) -> Iterator[Sample | BadRow]:
    """Rows of columns as samples; objects of one JSONL file may differ in their keys.

    Raises:
        UserError: the first row has no column for the question's answer.
    """
    roles_of: dict[tuple[str, ...], dict[str, str]] = {}
    for position, row in enumerate(rows, start=first_position):
        if isinstance(row, BadRow):
            yield BadRow(row.where, row.reason, position)
            continue
        where, _, values = row
        if not CONVERSATIONS.isdisjoint(values):
            yield _conversation(values, settings, where, position)
            continue
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
        yield sample_or_bad(values, roles_of[names], settings, where, position)


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


def _conversation(values: Mapping[str, Any], settings: SourceSettings, where: str, position: int) -> Sample | BadRow:
    """A row that holds a whole conversation; its image may be bytes."""
    by_lower = {name.lower(): name for name in reversed(list(values))}
    wanted = [settings.columns["image"]] if "image" in settings.columns else COLUMN_NAMES["image"]
    column = next((by_lower[name] for name in wanted if name in by_lower), None)
    numbered = [] if column else numbered_images(values)
    try:
        image = image_cell([values[name] for name in numbered] if numbered else values.get(column or ""), where)
    except ValueError as error:
        return BadRow(where, str(error), position)
    record = {name: json_value(value) for name, value in values.items() if name not in (column, *numbered)}
    if image.paths:
        record["image"] = list(image.paths) if len(image.paths) > 1 else image.paths[0]
    made = record_or_bad(record, position, source=source_name(settings), split=settings.split, where=where)
    return made if isinstance(made, BadRow) else dataclasses.replace(made, embedded=image.embedded)


def sample_or_bad(
    values: Mapping[str, Any], roles: Mapping[str, str], settings: SourceSettings, where: str, position: int
) -> Sample | BadRow:
    """One row of a table, its columns' roles known, as a sample, or what is wrong with it."""
    cell = {role: values[column] for role, column in roles.items()}
    numbered = [] if "image" in roles else numbered_images(values)
    claimed = {*roles.values(), *numbered}
    meta = {name: json_value(value) for name, value in values.items() if name not in claimed}
    try:
        image = image_cell([values[name] for name in numbered] if numbered else cell.get("image"), where)
        references, raw = texts(cell.get("answers"))
        captions, _ = texts(cell.get("caption"))
        answer, answer_raw = texts(cell.get("answer"))
    except ValueError as error:
        return BadRow(where, str(error), position)
    if raw is not None:
        meta[roles["answers"]] = json_value(raw)
    if answer_raw is not None:
        meta[roles["answer"]] = json_value(answer_raw)
    if image.names:
        meta.setdefault("image_path", image.names[0] if len(image.paths) == 1 else list(image.names))
    references = references or answer or captions
    question = cell.get("question")
    if not question and captions and not answer:
        question = CAPTION_QUESTION
    if not isinstance(question, str) or not question.strip():
        return BadRow(where, "no question", position)
    said = answer[0] if answer else majority(references)
    source = str(cell.get("source") or source_name(settings))
    split = str(cell.get("split") or settings.split)
    own_id = cell.get("id")
    if own_id not in (None, "") and not isinstance(own_id, str):
        meta.setdefault(roles["id"], json_value(own_id))  # keeps its type
    return Sample(
        id=full_id(str(own_id) if own_id not in (None, "") else _digest(values, image.embedded), source, split),
        image=image.paths,
        conversations=(Turn("user", question), *((Turn("assistant", said),) if said else ())),
        answers=references,
        source=source,
        split=split,
        meta=meta,
        form=Form(derived_id=own_id in (None, "")),
        embedded=image.embedded,
    )


def source_name(settings: SourceSettings) -> str:
    """The dataset's name: as the recipe says, else the file's or folder's, a pattern's without what varies."""
    if settings.source is not None:
        return settings.source
    return re.split(r"[{*?\[]", Path(settings.location).stem)[0].rstrip("-_.") or Path(settings.location).parent.name


def numbered_images(names: Iterable[str]) -> list[str]:
    """``image_1``, ``image_2`` … among column names, by number."""
    found = {name: int(number[1]) for name in names if (number := _NUMBERED_IMAGE.fullmatch(name))}
    return sorted(found, key=lambda name: (found[name], name))


def _digest(values: Mapping[str, Any], embedded: Mapping[str, bytes]) -> str:
    """Stable digest of a row without an id; images count by their content's digest."""
    known = {sha256_bytes(data) for data in embedded.values()} if embedded else set()
    plain = {name: value for name, value in values.items() if not _holds_bytes(value)} if embedded else values
    return digest_of([sorted(known), json_value(dict(plain))] if embedded else json_value(dict(plain)))[:16]


def _holds_bytes(value: Any) -> bool:
    if isinstance(value, dict):
        return isinstance(value.get("bytes"), bytes)
    if isinstance(value, list):
        return any(_holds_bytes(item) for item in value)
    return isinstance(value, bytes) or (isinstance(value, str) and is_encoded(value))
