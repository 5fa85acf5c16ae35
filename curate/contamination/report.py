"""``contamination.parquet`` and ``contamination.json``: what evaluation sets share with the data, and its fate."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.duplicates.contamination import CONTAMINATION
from curate.rules.columns import literal, parquet
from curate.workspace import Workspace, query_batches, write_parquet
from winnow.files import write_json
from winnow.tables import database

REPORT = pa.schema([*CONTAMINATION, ("dropped", pa.bool_()), ("reason", pa.string())])
_COUNTED = {
    "rows": "count(DISTINCT sample_id)",
    "rows_with_same_question": "count(DISTINCT sample_id) FILTER (WHERE same_question)",
    "rows_by_question_alone": "count(DISTINCT sample_id) FILTER (WHERE match = 'question')",
    "rows_dropped": "count(DISTINCT sample_id) FILTER (WHERE dropped)",
    "images": "count(DISTINCT image_key)",
    "images_by_bytes": "count(DISTINCT image_key) FILTER (WHERE match = 'bytes')",
}


def write_report(space: Workspace) -> list[Path]:
    """Join what was found with the decisions; returns the files, none where no evaluation set was given.

    ``contamination.parquet`` has one row for each training row, benchmark and image: how they match (``bytes``,
    ``look``, ``question``), distances of the thumbnails (0-255) and of the hashes (bits of 64), the evaluation
    row, whether it asks the same, and whether and by which rule the training row was dropped.
    ``contamination.json`` counts them per benchmark.
    """
    found = [space.contamination, space.contamination_report]
    if not space.contamination_rows.is_file():
        for path in found:
            path.unlink(missing_ok=True)
        return []
    with database(space.work) as connection:
        joined = f"""
            SELECT c.* EXCLUDE (file_row_number), d.decision = 'drop' AS dropped, d.reason
            FROM read_parquet({literal(str(space.contamination_rows))}, file_row_number = true) c
            JOIN {parquet([space.decisions])} d ON d.sample_id = c.sample_id ORDER BY c.file_row_number
        """
        batches = query_batches(connection, joined)
        write_parquet(space.contamination, batches, REPORT)
        write_json(space.contamination_report, {"benchmarks": _benchmarks(connection, space)})
    return found


def read_report(space: Workspace) -> list[dict[str, Any]]:
    """The counts of each benchmark, in the recipe's order."""
    if not space.contamination_report.is_file():
        return []
    made: list[dict[str, Any]] = json.loads(space.contamination_report.read_text(encoding="utf-8"))["benchmarks"]
    return made


def _benchmarks(connection: duckdb.DuckDBPyConnection, space: Workspace) -> list[dict[str, Any]]:
    table = parquet([space.contamination])
    columns = ", ".join(f"{sql} AS {name}" for name, sql in _COUNTED.items())
    made = []
    for counts in json.loads(space.contamination_counts.read_text(encoding="utf-8")):
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
                "look_images_by_hamming": {str(bits): count for bits, count in hamming},
                "look_images_by_distance_up_to": {str(apart): count for apart, count in distance},
            }
        )
    return made
