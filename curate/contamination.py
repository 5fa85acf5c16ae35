"""Rows of the training data whose image also occurs in an evaluation set.

The image decides, by equal bytes or by a confirmed look (``curate.duplicates.looks``): a question alone is no
leak. With ``questions`` it is also recorded whether the evaluation set asks the same normalised
question about that very image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from curate.duplicates.looks import Looks, matches, read_looks
from curate.facts import create_views, literal, parquet
from curate.recipe import ContaminationSettings, MatchSettings
from curate.workspace import Workspace, query_batches, write_parquet

CONTAMINATION = pa.schema(
    [
        ("benchmark", pa.string()),
        ("sample_id", pa.string()),
        ("image_key", pa.string()),
        ("path", pa.string()),
        ("evaluation_key", pa.string()),
        ("evaluation_path", pa.string()),
        ("evaluation", pa.string()),
        ("match", pa.string()),
        ("distance", pa.float64()),
        ("hamming", pa.int32()),
        ("same_question", pa.bool_()),
    ]
)
_RANKED = """
    CREATE TABLE {name} AS
    SELECT image_key, row_number() OVER (ORDER BY image_key) - 1 AS rank, phash, dhash, thumbnail
    FROM {images}
    WHERE thumbnail IS NOT NULL AND image_key IN (SELECT unnest(image_keys) FROM {rows})
"""
# evaluation: a sample of the evaluation set about that image, the one with the same question if there is one.
_ROWS = """
    SELECT {benchmark} AS benchmark, r.sample_id, r.image_key, r.path, m.evaluation_key, e.path AS evaluation_path,
           {evaluation} AS evaluation, m.match, m.distance, m.hamming, {same} AS same_question
    FROM (
        SELECT position, sample_id, question_key, unnest(image_keys) AS image_key, unnest(images) AS path FROM rows
    ) r
    JOIN matched m ON m.image_key = r.image_key
    JOIN (
        SELECT image_key, min(path) AS path, min(sample_id) AS sample_id FROM (
            SELECT sample_id, unnest(image_keys) AS image_key, unnest(images) AS path FROM evaluated
        ) GROUP BY image_key
    ) e ON e.image_key = m.evaluation_key
    LEFT JOIN (
        SELECT image_key, question_key, min(sample_id) AS sample_id FROM (
            SELECT sample_id, question_key, unnest(image_keys) AS image_key FROM evaluated
        ) GROUP BY image_key, question_key
    ) q ON q.image_key = m.evaluation_key AND q.question_key = r.question_key
    ORDER BY r.position, r.path
"""


def find_contamination(
    space: Workspace, evaluations: Sequence[tuple[str, Workspace]], settings: ContaminationSettings
) -> None:
    """Write ``contamination.parquet``: per benchmark, each row with a matching image and its closest match.

    Args:
        evaluations: name and workspace of each evaluation set, read and measured.
    """
    batches = (batch for name, other in evaluations for batch in _against(space, name, other, settings))
    write_parquet(space.contamination, batches, CONTAMINATION)


def _against(
    space: Workspace, benchmark: str, other: Workspace, settings: ContaminationSettings
) -> Iterator[pa.RecordBatch]:
    scratch = [space.work / "train.u8", space.work / "evaluation.u8"]
    with duckdb.connect(":memory:") as connection:
        create_views(connection, space)
        connection.execute(f"CREATE VIEW evaluated AS SELECT * FROM {parquet([other.samples])}")
        parts = other.image_parts()
        seen = f"(SELECT image_key, phash, dhash, thumbnail FROM {parquet(parts)})" if parts else "images"
        connection.execute(_RANKED.format(name="train", images="images", rows="rows"))
        connection.execute(_RANKED.format(name="evaluation", images=seen, rows="evaluated"))
        train, evaluation = (
            _read(connection, name, path) for name, path in zip(("train", "evaluation"), scratch, strict=True)
        )
        connection.register("matched", _closest(train, evaluation, settings))
        same = "q.sample_id IS NOT NULL" if settings.questions else "NULL::BOOLEAN"
        evaluation_id = "coalesce(q.sample_id, e.sample_id)" if settings.questions else "e.sample_id"
        yield from query_batches(
            connection, _ROWS.format(benchmark=literal(benchmark), evaluation=evaluation_id, same=same)
        )
    del train, evaluation
    for path in scratch:
        path.unlink()


def _read(connection: duckdb.DuckDBPyConnection, table: str, scratch: Path) -> tuple[pa.ChunkedArray, Looks]:
    keys = connection.sql(f"SELECT image_key FROM {table} ORDER BY rank").to_arrow_table().column("image_key")
    return keys, read_looks(connection, f"SELECT rank, phash, dhash, thumbnail FROM {table}", len(keys), scratch)


def _closest(
    train: tuple[pa.ChunkedArray, Looks], evaluation: tuple[pa.ChunkedArray, Looks], settings: MatchSettings
) -> pa.Table:
    """For each training image with a match: the closest evaluation image, equal bytes before looks, then the first."""
    train_keys, train_looks = train
    evaluation_keys, evaluation_looks = evaluation
    best: dict[int, tuple[float, int, int]] = {}
    for i, j, apart in matches(train_looks, evaluation_looks, settings):
        for one, two, mean, bits in zip(i.tolist(), j.tolist(), apart.mean.tolist(), apart.bits.tolist(), strict=True):
            found = (mean, two, bits)
            best[one] = min(best.get(one, found), found)
    places = {key: number for number, key in enumerate(evaluation_keys.to_pylist())}
    rows: list[dict[str, Any]] = []
    for number, key in enumerate(train_keys.to_pylist()):
        if key in places:
            rows.append(_match(key, key, "bytes", 0.0, 0))
        elif number in best:
            mean, other, bits = best[number]
            rows.append(_match(key, evaluation_keys[other].as_py(), "look", mean, bits))
    columns = ("image_key", "evaluation_key", "match", "distance", "hamming")
    kinds = (pa.string(), pa.string(), pa.string(), pa.float64(), pa.int32())
    return pa.Table.from_pylist(rows, pa.schema(list(zip(columns, kinds, strict=True))))


def _match(image_key: str, evaluation_key: str, match: str, distance: float, hamming: int) -> dict[str, Any]:
    return {
        "image_key": image_key,
        "evaluation_key": evaluation_key,
        "match": match,
        "distance": distance,
        "hamming": hamming,
    }
