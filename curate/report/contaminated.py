"""What a curated set shares with each evaluation set, as a report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.duplicates.contamination import CONTAMINATION
from curate.kinds import KINDS
from curate.workspace import Workspace
from winnow.files import write_json
from winnow.parquet.tables import database, literal, parquet, query_batches, write_parquet

REPORT = pa.schema([*CONTAMINATION, ("dropped", pa.bool_()), ("reason", pa.string())])
_COUNTED = {
    "rows": "count(DISTINCT sample_id)",
    "rows_with_same_question": "count(DISTINCT sample_id) FILTER (WHERE same_question)",
    "rows_by_question_alone": "count(DISTINCT sample_id) FILTER (WHERE match = 'question')",
    "rows_dropped": "count(DISTINCT sample_id) FILTER (WHERE dropped)",
    "rows_suspected": "count(DISTINCT sample_id) FILTER (WHERE action = 'flag')",
    "images": "count(DISTINCT image_key)",
    "images_by_bytes": "count(DISTINCT image_key) FILTER (WHERE match = 'bytes')",
}


def write_contamination_report(workspace: Workspace) -> list[Path]:
    """Join the matches with the decisions; returns the files, none where no evaluation set was given.

    ``contamination.parquet`` has one row for each training row, benchmark and image: how they match (``bytes``,
    ``look``, ``edit``, ``question``), the kind of copy with its strength (0-1) and the recipe's action for it, for a
    look distances of the thumbnails (0-255) and of the hashes (bits of 64), the evaluation row, whether it asks the
    same, and whether and by which rule the training row was dropped. ``contamination.json`` counts them per benchmark.
    """
    found = [workspace.contamination, workspace.contamination_report]
    if not workspace.contamination_rows.is_file():
        for path in found:
            path.unlink(missing_ok=True)
        return []
    with database(workspace.work) as connection:
        joined = f"""
            SELECT c.* EXCLUDE (file_row_number), d.decision = 'drop' AS dropped, d.reason
            FROM read_parquet({literal(str(workspace.contamination_rows))}, file_row_number = true) c
            JOIN {parquet([workspace.decisions])} d ON d.sample_id = c.sample_id ORDER BY c.file_row_number
        """
        batches = query_batches(connection, joined)
        write_parquet(workspace.contamination, batches, REPORT)
        write_json(workspace.contamination_report, {"benchmarks": _benchmarks(connection, workspace)})
    return found


def read_contamination_report(workspace: Workspace) -> list[dict[str, Any]]:
    """The counts of each benchmark, in the recipe's order."""
    if not workspace.contamination_report.is_file():
        return []
    made: list[dict[str, Any]] = json.loads(workspace.contamination_report.read_text(encoding="utf-8"))["benchmarks"]
    return made


def _benchmarks(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> list[dict[str, Any]]:
    table = parquet([workspace.contamination])
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COUNTED.items())
    made = []
    for counts in json.loads(workspace.contamination_counts.read_text(encoding="utf-8")):
        name = [counts["benchmark"]]
        values = connection.execute(f"SELECT {columns} FROM {table} WHERE benchmark = ?", name).fetchall()[0]
        images = f"(SELECT DISTINCT image_key, hamming, distance FROM {table} WHERE benchmark = ? AND match = 'look')"
        hamming = connection.execute(f"SELECT hamming, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name).fetchall()
        distance = connection.execute(
            f"SELECT ceil(distance)::INTEGER, count(*) FROM {images} GROUP BY 1 ORDER BY 1", name
        ).fetchall()
        made.append(
            {
                **counts,
                **dict(zip(_COUNTED, values, strict=True)),
                "kinds": _by_kind(connection, f"(SELECT * FROM {table} WHERE benchmark = ?)", name),
                "look_images_by_hamming": {str(bits): count for bits, count in hamming},
                "look_images_by_distance_up_to": {str(upper): count for upper, count in distance},
            }
        )
    return made


def _by_kind(connection: duckdb.DuckDBPyConnection, matches: str, values: list[str]) -> list[dict[str, Any]]:
    """Images and rows of each kind of match, in the order of the kinds."""
    found = connection.execute(
        f"""
        SELECT kind, any_value(action), count(DISTINCT image_key), count(DISTINCT sample_id),
               count(DISTINCT sample_id) FILTER (WHERE dropped)
        FROM {matches} GROUP BY kind
        """,
        values,
    ).fetchall()
    names = ("kind", "action", "images", "rows", "rows_dropped")
    order = (*KINDS, "question")
    return sorted((dict(zip(names, row, strict=True)) for row in found), key=lambda one: order.index(one["kind"]))


def copies_by_kind(copies: Mapping[tuple[str, bool], tuple[int, int]]) -> list[dict[str, Any]]:
    """Rows that repeat another one, by the kind of copy that their images are."""
    names = ("kind", "duplicate", "rows", "rows_dropped")
    found = [dict(zip(names, (kind, repeats, *numbers), strict=True)) for (kind, repeats), numbers in copies.items()]
    return sorted(found, key=lambda one: (KINDS.index(one["kind"]), one["duplicate"]))


@dataclass(frozen=True)
class Leaks:
    """What was found.

    Attributes:
        folder: where what was read and measured is kept.
        rows, images: size of the set.
        sets: of each evaluation set: ``benchmark``, ``evaluation_rows``, ``evaluation_images``, how many of these were
            found (``evaluation_images_found``, ``evaluation_images_by_kind``), ``rows`` of the set that hold them, and
            ``examples``.
        not_measured: a sentence about images that storage or machines have failed; None if there are none.
    """

    folder: Path
    rows: int
    images: int
    sets: list[dict[str, Any]]
    not_measured: str | None = None

    @property
    def found(self) -> int:
        """Rows of the set that hold something of an evaluation set, counted once for each."""
        return sum(one["rows"] for one in self.sets)
