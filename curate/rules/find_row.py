"""The rows that a person may mean by an id, by the name or path of an image, or by words of the question."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from pathlib import Path

import duckdb

from curate.recipe import read_finished
from curate.workspace import Workspace, of_this_version
from winnow.errors import UserError
from winnow.parquet.tables import database, parquet

_LISTED = 20
# Tried in this order; the first that any row fits decides. ``record`` is read only where the others fit no row.
_WAYS = (
    "sample_id = $text",
    """ends_with(sample_id, '/' || $text) OR len(list_filter(images, lambda path:
        path = $text OR ends_with(path, '/' || $text) OR ends_with($text, '/' || path))) > 0""",
    "contains(lower(question), lower($text))",
    """contains(record, $name) AND len(list_filter(
        list_append(json_extract_string(record, '$.meta.image_path[*]'), record ->> '$.meta.image_path'),
        lambda path: path = $text OR ends_with(path, '/' || $text))) > 0""",
)


@dataclass(frozen=True)
class FoundRow:
    """A row that fits.

    Attributes:
        decision: keep, flag or drop.
    """

    sample_id: str
    images: list[str]
    question: str
    decision: str


@dataclass(frozen=True)
class FoundRows:
    """The rows that fit.

    Attributes:
        rows: the first 20, in input order; at least one.
        count: of all.
    """

    rows: list[FoundRow]
    count: int


def find_rows(folder: Path, text: str) -> FoundRows:
    """Rows of a finished curation by id, by the end of an id or image path, or by part of the question in any case.

    An image that came inside a table is also found by the name that it had there.

    Raises:
        UserError: the folder is unfinished, or no row fits (near ids are named).
    """
    read_finished(folder)
    workspace = Workspace(folder)
    given = {"text": text, "name": text.rsplit("/", 1)[-1]}
    with of_this_version(workspace), database(workspace.work) as connection:
        connection.execute(f"CREATE VIEW rows AS SELECT * FROM {parquet([workspace.samples_table])}")
        for way in _WAYS if text.strip() else ():
            parameters = {name: value for name, value in given.items() if f"${name}" in way}
            query = f"SELECT position, sample_id, images, question, decision FROM rows WHERE {way}"
            first = connection.execute(f"{query} ORDER BY position LIMIT {_LISTED}", parameters).fetchall()
            if first:
                counted = connection.execute(f"SELECT count(*) FROM ({query})", parameters).fetchall()
                return FoundRows([FoundRow(*row[1:]) for row in first], int(counted[0][0]))
        raise UserError(f"{folder}: no row {text!r}; {near_ids(connection, text)}")


def near_ids(connection: duckdb.DuckDBPyConnection, text: str) -> str:
    """A hint: the ids of the view ``rows`` that are like ``text``."""
    tail = text.rsplit("/", 1)[-1]
    rows = connection.execute(
        "SELECT sample_id FROM rows ORDER BY jaro_winkler_similarity(sample_id, ?) DESC, position LIMIT 20", [text]
    ).fetchall()
    ids = [str(row[0]) for row in rows]
    near = difflib.get_close_matches(text, ids, n=3, cutoff=0.5)
    near = near or [found for found in ids if tail.strip() and tail in found][:3]
    if near:
        return f"did you mean {' or '.join(near)}?"
    return (
        f"give an id such as {ids[0]}, the name or path of an image, or words of a question"
        if ids
        else "it has no rows"
    )
