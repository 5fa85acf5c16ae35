"""Strategies of ``curate select``: each puts the kept rows of a set in an order, of which the budget takes the first.

Ties, and all that a strategy says nothing about, go by a digest of seed and id: the same rows come first whatever the
budget, so that 20% contain 10%.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.images.stored import number_images, starts_of
from curate.measure.set_embeddings import SetEmbeddings, no_embeddings, read_embeddings
from curate.rules.columns import create_facts
from curate.rules.expression import quoted
from curate.selection.greedy import clusters, facility_location, k_centre, ranked
from curate.workspace import Workspace
from winnow.errors import UserError

# Name → what comes first.
STRATEGIES = {
    "random": "any rows, by a digest of seed and id: the baseline of every other strategy",
    "quality": "the best mean rank of columns; by default of clip_alignment (where it is stored), sharpness, entropy",
    "coverage": "pictures far from all that were taken (k-centre on embeddings), each once before any twice",
    "facility": "pictures that stand for most others (facility location on embeddings), each once before any twice",
    "balanced": "as many rows of each answer, source, cluster of embeddings or value of another column",
    "loss": "rows with the highest training loss: those that a model finds hard, and wrong labels too",
    "picture_gain": "rows whose answer needs the picture most",
}
_QUALITY = ("clip_alignment", "sharpness", "entropy")
_CLUSTERS = 100  # of `balanced` by cluster, at most
# The kept rows in input order; digest decides ties.
_KEPT = """
    CREATE TABLE kept AS
    SELECT r.position, md5_number_lower(concat({seed}, ' ', r.sample_id)) AS digest
    FROM rows r JOIN decided d USING (position) WHERE d.decision <> 'drop'
"""
_FIRST_IMAGES = """
    SELECT coalesce(n.number, -1) AS number
    FROM kept k JOIN rows r USING (position) LEFT JOIN numbered n ON n.image_key = r.image_keys[1] ORDER BY k.position
"""


def ordered(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    strategy: str,
    columns: Mapping[str, str],
    seed: int,
    asked: Sequence[str] = (),
    per: str | None = None,
) -> Indices:
    """Positions of all kept rows, first the ones to take.

    Args:
        connection: with the views of the set and ``decided``, its decisions.
        columns: known columns and their DuckDB types.
        asked: for ``quality``: columns, each with ASC or DESC behind it if wanted (DESC: large values are good).
        per: for ``balanced``: a column, or ``cluster``.

    Raises:
        UserError: an unknown column, one without a value, or no embeddings where the strategy needs them.
    """
    connection.execute(_KEPT.format(seed=int(seed)))
    kept = connection.sql("SELECT * FROM kept ORDER BY position").to_arrow_table()
    position, digest = (kept[name].to_numpy() for name in ("position", "digest"))
    keys: tuple[NDArray[Any], ...] = ()  # the last is the most important
    if strategy == "quality":
        keys = (-_mean_rank(connection, [_direction(one) for one in asked] or _defaults(connection, columns), columns),)
    elif strategy in ("loss", "picture_gain"):
        column = "train_loss" if strategy == "loss" else strategy
        keys = (-_mean_rank(connection, [(column, True)], columns),)
    elif strategy == "balanced":
        group = (
            _clusters(connection, workspace, seed)
            if per == "cluster"
            else _groups(connection, per or "answer", columns)
        )
        keys = (_turns(group, digest),)
    elif strategy in ("coverage", "facility"):
        greedy = k_centre if strategy == "coverage" else facility_location
        embeddings, number = _pictures(connection, workspace)
        place = np.full(len(embeddings.row) + 1, len(embeddings.row))  # -1, no picture: last
        first = ranked(embeddings, np.unique(number[number >= 0]), greedy, seed)
        place[first] = np.arange(len(first))
        turn = np.where(number < 0, len(number), _turns(number, digest))
        keys = (place[number], turn)
    return np.asarray(position[np.lexsort((digest, *keys))], np.int64)


def _turns(group: NDArray[Any], digest: NDArray[np.uint64]) -> Indices:
    """How many rows of its group come before each row, by digest: 0 for the first of each group."""
    order = np.lexsort((digest, group))
    grouped = group[order]
    turns = np.empty(len(group), np.int64)
    turns[order] = np.arange(len(group)) - np.searchsorted(grouped, grouped)
    return turns


def _direction(asked: str) -> tuple[str, bool]:
    name, _, way = asked.strip().rpartition(" ")
    if name and way.upper() in ("ASC", "DESC"):
        return name.strip(), way.upper() == "DESC"
    return asked.strip(), True


def _defaults(connection: duckdb.DuckDBPyConnection, columns: Mapping[str, str]) -> list[tuple[str, bool]]:
    stored = connection.sql("SELECT count(clip_alignment) FROM texts").fetchall()[0][0]
    return [(name, True) for name in _QUALITY if name != "clip_alignment" or stored]


def _mean_rank(
    connection: duckdb.DuckDBPyConnection, asked: Sequence[tuple[str, bool]], columns: Mapping[str, str]
) -> NDArray[np.float64]:
    """Of each kept row, the mean over the columns of its rank, from 0 (worst, or no value) to 1 (best).

    A row with several images counts with the mean of its values. Equal values have equal ranks.
    """
    numbers = {"BIGINT", "INTEGER", "UBIGINT", "DOUBLE", "BOOLEAN"}
    for name, _ in asked:
        if "." not in name and columns.get(name) not in numbers:
            known = ", ".join(sorted(column for column, kind in columns.items() if kind in numbers))
            raise UserError(f"curate select: {name!r} is no column with numbers; known are {known}")
    total = np.zeros(0)
    for name, descending in asked:
        values = _facts(connection, name, f"avg(TRY_CAST({quoted(name)} AS DOUBLE))").to_numpy(zero_copy_only=False)
        values = np.asarray(values, np.float64)
        if np.isnan(values).all():
            raise UserError(
                f"curate select: no kept row has a value of {name!r}; see `curate signals` for what gives it"
            )
        signed = values if descending else -values
        there = np.sort(signed[~np.isnan(signed)])
        rank = np.where(np.isnan(signed), 0, np.searchsorted(there, signed, "right") / len(there))
        total = rank if not len(total) else total + rank
    return total / len(asked)


def _groups(connection: duckdb.DuckDBPyConnection, column: str, columns: Mapping[str, str]) -> Indices:
    if column not in columns and not column.startswith("meta."):
        raise UserError(f"curate select: {column!r} is no column; give one that `curate signals` lists, or cluster")
    values = _facts(connection, column, f"arg_min({quoted(column)}::VARCHAR, image_no)")
    return np.asarray(values.dictionary_encode().indices.fill_null(-1), np.int64)


def _facts(connection: duckdb.DuckDBPyConnection, column: str, aggregate: str) -> pa.Array:
    """One value for each kept row, in input order."""
    connection.execute("DROP TABLE IF EXISTS facts")
    create_facts(connection, [column])
    query = f"""
        SELECT value FROM kept LEFT JOIN (SELECT position, {aggregate} AS value FROM facts GROUP BY position) f
        USING (position) ORDER BY position
    """
    return connection.sql(query).to_arrow_table()["value"].combine_chunks()


def _pictures(connection: duckdb.DuckDBPyConnection, workspace: Workspace) -> tuple[SetEmbeddings, Indices]:
    """The set's embeddings, and the number of the first picture of each kept row; -1 without an embedding."""
    embeddings = read_embeddings(workspace)
    if embeddings is None:
        raise no_embeddings(workspace.folder)
    number_images(connection, starts_of(workspace.image_parts()))
    number = np.asarray(connection.sql(_FIRST_IMAGES).to_arrow_table()["number"].to_numpy(), np.int64)
    return embeddings, np.where(np.append(embeddings.row, -1)[number] >= 0, number, -1)


def _clusters(connection: duckdb.DuckDBPyConnection, workspace: Workspace, seed: int) -> Indices:
    """The cluster of the first picture of each kept row; -1 without an embedding."""
    embeddings, number = _pictures(connection, workspace)
    pictures = np.unique(number[number >= 0])
    cluster = np.full(len(embeddings.row) + 1, -1)
    if len(pictures):
        cluster[pictures], _ = clusters(embeddings, pictures, min(_CLUSTERS, len(pictures)), seed)
    return np.asarray(cluster[number], np.int64)
