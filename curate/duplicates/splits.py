"""Train, validation, …: each row gets a split; rows about the same or near-identical images get the same one.

Rows form a group when a chain of shared, near-identical or edited images links them; text-only rows when
they ask the same. A group's place is a hash of the seed and of its smallest image key, so that it
depends on nothing else: rows that are added later move no others (unless they join two groups), and
every source is cut in the same proportions, up to chance.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.edits.stored_edits import EditedCopies
from curate.duplicates.images.block_pairs import search_stored
from curate.duplicates.images.clusters import connected_components, joined_components
from curate.duplicates.images.matching import DuplicateIndex
from curate.duplicates.images.stored import number_images, read_stored
from curate.kinds import Kind, KindPairs
from curate.settings.copies import MatchSettings
from curate.settings.outputs import SplitSettings
from curate.views import create_views
from curate.workspace import Workspace
from winnow.parquet.table_parts import Runner, run_here
from winnow.parquet.tables import database, literal, query_batches, write_parquet

SPLITS = pa.schema([("position", pa.int64()), ("split_group", pa.string()), ("assigned_split", pa.string())])
_DIGITS = 13  # hexadecimal digits of the hash: as many as a double holds
# What holds rows together: of a readable image the smallest key of its component, the key or path of another, the
# question without any.
_TIES = """
    CREATE TABLE ties AS
    WITH shown AS (
        SELECT i.position, i.image_key, i.path, n.number
        FROM (SELECT position, unnest(image_keys) AS image_key, unnest(images) AS path FROM rows) i
        LEFT JOIN numbered n ON n.image_key = i.image_key
    ), named AS (
        SELECT c.component, min(n.image_key) AS image_key
        FROM components c JOIN numbered n ON n.number = c.number GROUP BY c.component
    )
    SELECT s.position, coalesce(m.image_key, s.image_key, 'path:' || s.path) AS tie
    FROM shown s LEFT JOIN components c ON c.number = s.number LEFT JOIN named m ON m.component = c.component
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


def assign_splits(
    workspace: Workspace,
    settings: SplitSettings,
    match: MatchSettings,
    kinds: Collection[Kind] = (),
    runner: Runner = run_here,
) -> None:
    """Write ``workspace.splits``: the group and the split of every input row, in input order.

    Args:
        match: when two images count as the same one.
        kinds: of edited copies that are not parted either.
        runner: makes what the search for pairs does not know yet.
    """
    stored = read_stored(workspace)
    edits = EditedCopies(workspace, kinds).among()
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        number_images(connection, stored.starts)
        index = DuplicateIndex(stored.fingerprints, match, search_stored(stored, match, runner))
        connection.register("components", _components(connection, index, edits))
        connection.execute(_TIES)
        joined = _joined(connection)
        groups = {"tie": pa.array(list(joined), pa.string()), "split_group": pa.array(joined.values(), pa.string())}
        connection.register("joined", pa.table(groups))
        query = _ASSIGNED.format(
            cases=_cases(settings), seed=literal(str(settings.seed)), digits=_DIGITS, whole=f"{16**_DIGITS}::DOUBLE"
        )
        write_parquet(workspace.splits, query_batches(connection, query), SPLITS)


def _components(connection: duckdb.DuckDBPyConnection, index: DuplicateIndex, edits: KindPairs) -> pa.Table:
    """``number`` and ``component`` of the images that some row shows and that may have copies."""
    candidates = np.unique(np.concatenate([index.with_candidates(), edits.i, edits.j]))
    connection.register("candidates", pa.table({"number": candidates}))
    shown = connection.sql("""
        SELECT number FROM numbered JOIN candidates USING (number)
        WHERE image_key IN (SELECT unnest(image_keys) FROM rows) ORDER BY number
    """)
    numbers = shown.to_arrow_table().column("number").to_numpy()
    component = joined_components(connected_components(index, numbers), edits, numbers)
    return pa.table({"number": numbers, "component": component[numbers]})


def _joined(connection: duckdb.DuckDBPyConnection) -> dict[str, str]:
    """Tie → smallest tie of its group, for the ties that a row with several images joins."""
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
