"""Rows as read → rows as the rules see them: image keys joined, reviewers' corrections applied.

A part of the corrected rows is made from a part of the rows as they were read, the keys of its images, and the
corrections that touch its rows: when little is new, little is made.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.readers.rows import ROWS, row_of
from curate.workspace import Workspace
from winnow import corrections
from winnow.corrections import Resolved
from winnow.files import digest_of, write_json
from winnow.parquet.table_parts import Item, Parts, PartTask, Runner, run_here
from winnow.parquet.tables import database, parquet, query_batches, read_batches, sql_files, write_parquet
from winnow.progress import Bar
from winnow.rows.records import from_record

# Raise it when the same rows, keys and corrections make other rows.
VERSION = 1
CORRECTED = pa.schema(
    [
        *(field for field in ROWS if field.name != "derived_id"),
        ("image_keys", pa.list_(pa.string())),
        ("content_hash", pa.string()),
        ("forced", pa.string()),
        ("forced_by", pa.string()),
    ]
)
# What becomes of the images of a part, whatever their order: the digests of (path, key) of all that have a key.
_DIGESTS = """
    SELECT part, bit_xor(digest)::VARCHAR
    FROM (SELECT DISTINCT file_index AS part, unnest(images) AS path FROM read_parquet({files})) i
    JOIN (
        SELECT path, md5_number(concat_ws(chr(31), path, image_key)) AS digest FROM {paths} WHERE image_key IS NOT NULL
    ) p USING (path)
    GROUP BY part
"""
# The key of each image of each row, in their order; null for a file that could not be read.
_KEYS = """
    SELECT p.image_key
    FROM (
        SELECT file_index AS part, file_row_number AS row, unnest(images) AS path,
               generate_subscripts(images, 1) AS image_no
        FROM read_parquet({files}, file_row_number = true)
    ) i LEFT JOIN {paths} p ON p.path = i.path
    ORDER BY i.part, i.row, i.image_no
"""
_STATUS = b"winnow.corrections"  # metadata of a part: what became of the corrections of its rows
_PARTS_AT_ONCE = 32  # whose keys are in memory


def write_corrected(workspace: Workspace, folder: Path | None, runner: Runner = run_here) -> None:
    """Bring ``workspace.corrected`` and ``workspace.corrections`` (what became of each line) up to date.

    Args:
        folder: of reviewers' corrections; None applies none.
        runner: makes parts.

    Raises:
        UserError: a line of the folder is not a valid correction.
    """
    run = runner(make_corrected)
    lines = corrections.read_corrections(folder) if folder else []
    resolved = corrections.resolve(lines)
    rows, corrected = workspace.rows, workspace.corrected
    touched = _touched(rows, resolved)
    digests = _key_digests(workspace)
    names = rows.names()
    tasks = [
        PartTask(
            ["corrected", VERSION, name, digests.get(number), sorted(map(_said, touched[number].values()))],
            (number, touched[number]),
        )
        for number, name in enumerate(names)
    ]
    by_name = {task.name: task for task in tasks}
    missing = [by_name[name] for name in corrected.missing(by_name)]
    counts = rows.counts()
    with Bar("apply corrections", sum(counts[task.args[0]] for task in missing)) as bar:
        for start in range(0, len(missing), _PARTS_AT_ONCE):
            some = missing[start : start + _PARTS_AT_ONCE]
            items = [
                (corrected.folder / task.name, (rows.folder / names[number], keys, of_rows))
                for task, keys in zip(some, _keys(workspace, [task.args[0] for task in some]), strict=True)
                for number, of_rows in [task.args]
            ]
            for task, _ in zip(some, run(items), strict=True):
                bar.advance(counts[task.args[0]])
    corrected.finish([task.name for task in tasks])
    status: dict[str, str] = {}
    for path, of_rows in zip(corrected.files(), touched, strict=True):
        if of_rows:
            status.update(_status(path))
    write_json(workspace.corrections, corrections.outcomes(lines, resolved, status))


def _touched(rows: Parts, resolved: Mapping[str, Resolved]) -> list[dict[str, Resolved]]:
    """The corrections of the rows of each part."""
    if not resolved:
        return [{} for _ in rows.names()]
    wanted = pa.array(sorted(resolved), pa.string())
    found = []
    for path in rows.files():
        ids = pq.read_table(path, columns=["sample_id"])["sample_id"]
        found.append({name: resolved[name] for name in ids.filter(pc.is_in(ids, wanted)).to_pylist()})
    return found


def _said(resolved: Resolved) -> str:
    """What the corrections of a row depend on, as text."""
    groups = (resolved.agreed, resolved.conflicts, resolved.settled)
    return digest_of([[line.model_dump(mode="json") for line in group] for group in groups])


def _key_digests(workspace: Workspace) -> dict[int, str]:
    """For each part with an image that has a key, by its number: what changes when one of these keys does."""
    files = sql_files(workspace.rows.files())
    with database(workspace.work) as connection:
        query = _DIGESTS.format(files=files, paths=parquet([workspace.paths]))
        return dict(connection.execute(query).fetchall())


def _keys(workspace: Workspace, numbers: Sequence[int]) -> Iterator[pa.Array]:
    """The keys of all images of each of these parts, in the order of its rows."""
    files = [workspace.rows.files()[number] for number in numbers]
    with database(workspace.work) as connection:
        query = _KEYS.format(files=sql_files(files), paths=parquet([workspace.paths]))
        keys = pa.chunked_array([batch.column("image_key") for batch in query_batches(connection, query)], pa.string())
    start = 0
    for file in files:
        count = sum(len(batch.column("images").flatten()) for batch in read_batches(file, ["images"]))
        yield pa.array(keys.slice(start, count).combine_chunks(), pa.string())
        start += count


def make_corrected(item: Item) -> None:
    """Write a part: (rows as read, the key of each of their images, corrections by sample id).

    What became of each correction is in the file's metadata.
    """
    path, (rows, keys, resolved) = item
    table = pa.concat_tables(map(pa.Table.from_batches, ([batch] for batch in read_batches(rows)))).combine_chunks()
    images = table["images"].combine_chunks()
    image_keys = pa.ListArray.from_arrays(images.offsets, keys)
    columns: dict[str, Any] = {field.name: table[field.name] for field in CORRECTED if field.name in ROWS.names}
    columns["image_keys"] = image_keys
    hashes = [
        _content_hash(record, of_row)
        for record, of_row in zip(table["record"].to_pylist(), image_keys.to_pylist(), strict=True)
    ]
    columns |= {"content_hash": pa.array(hashes, pa.string())}
    columns |= {name: pa.nulls(len(table), pa.string()) for name in ("forced", "forced_by")}
    made = pa.table(columns, CORRECTED)
    status: dict[str, str] = {}
    if resolved:
        ids = table["sample_id"].to_pylist()
        for number in [number for number, name in enumerate(ids) if name in resolved]:
            row = made.slice(number, 1).to_pylist()[0]
            corrected = _apply(row, resolved[row["sample_id"]], status)
            one = pa.Table.from_pylist([corrected], CORRECTED)
            made = pa.concat_tables([made.slice(0, number), one, made.slice(number + 1)])
    schema = CORRECTED.with_metadata({_STATUS: json.dumps(status, sort_keys=True)} if status else None)
    write_parquet(path, [made.replace_schema_metadata(schema.metadata)], schema)


def _content_hash(record: str, image_keys: Sequence[str | None]) -> str:
    """``winnow.corrections.content_hash`` of a stored record, whose turns and answers hold no numbers."""
    stored = orjson.loads(record)
    judged = {
        "answers": stored.get("answers", []),
        "conversations": stored.get("conversations", []),
        "image_keys": image_keys,
    }
    return hashlib.sha256(orjson.dumps(judged, option=orjson.OPT_SORT_KEYS)).hexdigest()


def _apply(row: dict[str, Any], resolved: Resolved, status: dict[str, str]) -> dict[str, Any]:
    """The row with its corrections; what becomes of each is added to ``status``."""
    if row["bad_row"] is not None:
        return row
    record = json.loads(row["record"])
    applied = corrections.apply(record, row["content_hash"], resolved)
    status.update(applied.status)
    if applied.record != record:
        columns = dict(zip(ROWS.names, row_of(from_record(applied.record, where=row["sample_id"])), strict=True))
        row.update({name: value for name, value in columns.items() if name in row and name != "sample_id"})
    if applied.override:
        row.update(forced=applied.override, forced_by=json.dumps({"corrections": sorted(applied.status)}))
    return row


def _status(part: Path) -> dict[str, str]:
    found: dict[str, str] = json.loads((pq.read_schema(part).metadata or {}).get(_STATUS, b"{}"))
    return found
