"""What the decisions come to, counted by part: a run counts the parts again that are new, and adds up the rest."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.row_blocks import BlockReader, Rows
from curate.rules.decisions import part_digests
from curate.rules.judged import moved
from curate.workspace import Workspace
from winnow.files import digest_of, read_json, write_state
from winnow.parquet.tables import ROWS_A_GROUP, database, literal

_VERSION = 2  # raise it when the same decisions come to something else
EXAMPLES = 4  # rows of a rule
_COUNTS = """
    SELECT 'decisions', decision, NULL, count(*), 0, 0, 0 FROM decided GROUP BY 2
    UNION ALL SELECT 'reasons', reason, NULL, count(*), 0, 0, 0 FROM decided WHERE reason IS NOT NULL GROUP BY 2
    UNION ALL SELECT 'fired', fired.rule, NULL, count(*), count(*) FILTER (WHERE alone), 0, 0
    FROM (SELECT unnest(rules) AS fired, len(rules) = 1 AS alone FROM decided) GROUP BY 2
    UNION ALL SELECT 'copies', duplicate_kind, representative IS NOT NULL, count(*),
                     count(*) FILTER (WHERE decision = 'drop'), 0, 0
    FROM decided WHERE duplicate_kind IS NOT NULL GROUP BY 2, 3
    UNION ALL SELECT 'sources', source, NULL, count(*) FILTER (WHERE decision = 'keep'),
                     count(*) FILTER (WHERE decision = 'flag'), count(*) FILTER (WHERE decision = 'drop'), min(position)
    FROM decided POSITIONAL JOIN about GROUP BY 2 ORDER BY 7
"""
# Of each rule (null for none: kept) the first rows in an order that the seed makes.
_EXAMPLES = """
    SELECT rule, min(place, {each}), arg_min(position, place, {each}) FROM (
        SELECT rule, position, md5_number({seed} || sample_id) AS place FROM (
            SELECT position, sample_id, unnest(rules).rule AS rule FROM decided
            UNION ALL SELECT position, sample_id, NULL FROM decided WHERE decision = 'keep'
        )
    ) GROUP BY rule
"""


@dataclass
class Summary:
    """Of all decisions.

    Attributes:
        decisions, reasons: rows by each; fired: by rule, and those on which no other fired.
        copies: by kind of copy and whether the row repeats another one: rows, and those that are dropped.
        sources: by name, in the order of the input: kept, flagged and dropped rows.
        examples: positions by rule (None: of kept rows), first ones first.
    """

    decisions: Counter[str] = field(default_factory=Counter)
    reasons: Counter[str] = field(default_factory=Counter)
    fired: dict[str, tuple[int, int]] = field(default_factory=dict)
    copies: dict[tuple[str, bool], tuple[int, int]] = field(default_factory=dict)
    sources: dict[str, tuple[int, int, int]] = field(default_factory=dict)
    examples: dict[str | None, list[int]] = field(default_factory=dict)


def summarise(workspace: Workspace, seed: int) -> Summary:
    """Count all decisions; ``seed`` chooses the examples."""
    found = Summary()
    chosen: dict[str | None, list[tuple[int, int]]] = {}
    for counts, examples in _by_part(workspace, seed):
        for table, name, repeats, *numbers in counts:
            match table:
                case "decisions" | "reasons":
                    getattr(found, table)[name] += numbers[0]
                case "fired":
                    found.fired[name] = _sum(found.fired.get(name, (0, 0)), numbers)
                case "copies":
                    found.copies[name, repeats] = _sum(found.copies.get((name, repeats), (0, 0)), numbers)
                case "sources":
                    found.sources[name] = _sum(found.sources.get(name, (0, 0, 0)), numbers)
        for rule, at, position in examples:
            chosen.setdefault(rule, []).append((int(at), position))
    found.examples = {rule: [position for _, position in sorted(some)[:EXAMPLES]] for rule, some in chosen.items()}
    return found


def _sum(one: tuple[int, ...], other: Sequence[int]) -> Any:
    return tuple(a + b for a, b in zip(one, other, strict=False))


def _by_part(workspace: Workspace, seed: int) -> Iterator[tuple[list[Any], list[Any]]]:
    """Counts and examples of each part of the rows, wherever it is in the set."""
    state, corrected = workspace.work / "summaries.json", workspace.corrected
    known = _read(state)
    made: dict[str, Any] = {}
    rows, decisions = BlockReader(corrected, ["source"]), Rows(workspace.decisions)
    places = zip(part_digests(workspace), corrected.starts(), corrected.counts(), strict=True)
    with database(workspace.work) as connection:
        for number, (digest, start, count) in enumerate(places):
            if not count:
                continue
            key = digest_of([_VERSION, seed, digest])
            made[key] = known.get(key)
            if made[key] is None:
                decided = pa.Table.from_batches([decisions.between(start, start + count)])
                made[key] = _summary(connection, moved(decided, -start), rows.part(number), seed)
            counts, examples = made[key]
            yield counts, [[rule, at, start + position] for rule, at, position in examples]
    if made.keys() != known.keys():
        write_state(state, made)


def _read(state: Path) -> dict[str, Any]:
    try:
        found = read_json(state)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _summary(
    connection: duckdb.DuckDBPyConnection, decided: pa.Table, about: pa.RecordBatch, seed: int
) -> tuple[list[Any], list[Any]]:
    connection.register("decided", decided)
    connection.register("about", about)
    examples = connection.execute(_EXAMPLES.format(seed=literal(str(seed)), each=EXAMPLES)).fetchall()
    return (
        [list(row) for row in connection.execute(_COUNTS).fetchall()],
        [
            [rule, str(at), position]
            for rule, places, rows in examples
            for at, position in zip(places, rows, strict=True)
        ],
    )


def rows_at(path: Path, positions: NDArray[np.int64], columns: list[str]) -> pa.Table:
    """Rows of a file of blocks by their positions, in the order of these."""
    found = []
    with pq.ParquetFile(path) as table:
        for number in np.unique(positions // ROWS_A_GROUP).tolist():
            inside = positions[positions // ROWS_A_GROUP == number]
            group = table.read_row_group(number, columns=["position", *columns])
            found.append(group.take(pa.array(inside - number * ROWS_A_GROUP)))
        empty = table.schema_arrow.empty_table().select(["position", *columns])
    return pa.concat_tables([empty, *found])
