"""Train, validation, …: each row gets a split; rows about the same or near-identical pictures get the same one.

Rows form a group when a chain of shared or near-identical pictures links them; text-only rows when
they ask the same. A group's place is a hash of the seed and of its smallest image key, so that it
depends on nothing else: rows that are added later move no others (unless they join two groups), and
every source is cut in the same proportions, up to chance.
"""

from __future__ import annotations

from collections.abc import Mapping

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.components import build_components
from curate.duplicates.looks import read_looks
from curate.recipe import MatchSettings, SplitSettings
from curate.rules.facts import create_views, literal
from curate.workspace import Workspace, query_batches, write_parquet

SPLITS = pa.schema([("position", pa.int64()), ("split_group", pa.string()), ("assigned_split", pa.string())])
_DIGITS = 13  # hexadecimal digits of the hash: as many as a double holds
_RANKED = """
    CREATE TABLE ranked AS
    SELECT image_key, row_number() OVER (ORDER BY image_key) - 1 AS rank, phash, dhash, thumbnail, width, height
    FROM images
    WHERE thumbnail IS NOT NULL AND image_key IN (SELECT unnest(image_keys) FROM rows)
"""
# What holds rows together: the component of a readable image, the key or path of another, the question without any.
_TIES = """
    CREATE TABLE ties AS
    SELECT i.position, coalesce(c.image_key, i.image_key, 'path:' || i.path) AS tie
    FROM (SELECT position, unnest(image_keys) AS image_key, unnest(images) AS path FROM rows) i
    LEFT JOIN ranked k ON k.image_key = i.image_key
    LEFT JOIN members m ON m.rank = k.rank
    LEFT JOIN ranked c ON c.rank = m.component
    UNION ALL
    SELECT position, 'text:' || coalesce(question_key, sample_id) FROM rows WHERE len(images) = 0
"""
_ASSIGNED = """
    SELECT position, split_group, CASE {cases} END AS assigned_split
    FROM (
        SELECT t.position, min(coalesce(g.split_group, t.tie)) AS split_group
        FROM ties t LEFT JOIN joined g ON g.tie = t.tie
        GROUP BY t.position
    ), LATERAL (SELECT ('0x' || substr(md5({seed} || ':' || split_group), 1, {digits}))::UBIGINT / {whole} AS place)
    ORDER BY position
"""


def assign_splits(space: Workspace, settings: SplitSettings, match: MatchSettings) -> None:
    """Write ``space.splits``: the group and the split of every input row, in input order.

    Args:
        match: when two pictures count as the same one.
    """
    scratch = space.work / "split_thumbnails.u8"
    with duckdb.connect(":memory:") as connection:
        create_views(connection, space)
        connection.execute(_RANKED)
        count = int(connection.execute("SELECT count(*) FROM ranked").fetchall()[0][0])
        looks = read_looks(
            connection, "SELECT rank, phash, dhash, thumbnail, width, height FROM ranked", count, scratch
        )
        members = pa.table({"rank": np.arange(count), "component": build_components(looks, match)})
        del looks
        scratch.unlink()
        connection.register("members", members)
        connection.execute(_TIES)
        joined = _joined(connection)
        groups = {"tie": pa.array(list(joined), pa.string()), "split_group": pa.array(joined.values(), pa.string())}
        connection.register("joined", pa.table(groups))
        query = _ASSIGNED.format(
            cases=_cases(settings), seed=literal(str(settings.seed)), digits=_DIGITS, whole=f"{16**_DIGITS}::DOUBLE"
        )
        write_parquet(space.splits, query_batches(connection, query), SPLITS)


def _joined(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Tie → smallest tie of its group, for the ties that a row with several pictures joins."""
    parent: dict[str, str] = {}

    def root(tie: str) -> str:
        while parent.setdefault(tie, tie) != tie:
            parent[tie] = parent[parent[tie]]
            tie = parent[tie]
        return tie

    several = "SELECT list(DISTINCT tie) AS ties FROM ties GROUP BY position HAVING count(DISTINCT tie) > 1"
    for batch in query_batches(connection, several):
        for ties in batch.column("ties").to_pylist():
            first, *others = sorted(root(tie) for tie in ties)
            for other in others:
                parent[other] = first
    return {tie: root(tie) for tie in list(parent)}


def _cases(settings: SplitSettings) -> str:
    """SQL that maps a place in 0-1 to a split; splits lie in the order of their names."""
    bounds = upper_bounds(settings.shares)
    *inner, last = bounds
    return " ".join(
        [*(f"WHEN place < {bounds[name]!r} THEN {literal(name)}" for name in inner), f"ELSE {literal(last)}"]
    )


def upper_bounds(shares: Mapping[str, float]) -> dict[str, float]:
    """Where each split ends in 0-1, in the order of the names, so that the order in the recipe does not matter."""
    bounds, total = {}, 0.0
    for name in sorted(shares):
        total += shares[name]
        bounds[name] = total
    return bounds
