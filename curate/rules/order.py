"""The order in which rules are judged, so that a row which one of them drops counts no longer for the next.

First the rules that look at a row alone. Among the rows that these leave, contradictions are found; then the rules
that ask whether a row is ``conflicting`` are judged. Among the rows that are left, the one to keep of each group of
duplicates is chosen; then the rules that ask whether a row is a ``duplicate`` are judged. Rules that keep so many
rows of a group come last, among themselves in the recipe's order: what they keep stays. The reason of a row is still
the first dropping rule of the recipe that fires.

A row that a reviewer drops or keeps counts as dropped or kept, whatever the rules say.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from curate.duplicates.comparable import Comparable, read_comparable
from curate.duplicates.kept import Repeats, choose_kept
from curate.duplicates.repeated import write_repeated
from curate.kinds import KINDS
from curate.rules.checked import CheckedRule
from curate.rules.expression import quoted
from curate.rules.judged import Judging, Layer, Numbered, Positions, fired_positions
from curate.rules.keep import Cap
from curate.settings.copies import DuplicateSettings
from winnow.parquet.table_parts import Parts

_CONFLICTING = {"conflicting"}
_DUPLICATE = {"duplicate", "duplicate_distance", "duplicate_kind", "duplicate_strength", "edited_copy"}
JUDGED_LATE = _CONFLICTING | _DUPLICATE  # columns that depend on what other rules drop
_NAMED = 3  # rows that fill a group, as the ledger names them


class _Dropped:
    """The rows that rules have dropped so far, but for those that a reviewer keeps; a reviewer's drops first.

    Attributes:
        kept: bool by position: whether a reviewer keeps the row; ``mask``: whether it is dropped.
    """

    def __init__(self, corrected: Parts) -> None:
        forced = pa.chunked_array([batch.column("forced") for batch in corrected.batches(["forced"])], pa.string())
        self.kept = _as_mask(pc.equal(forced, "keep"))
        self.mask = _as_mask(pc.equal(forced, "drop"))

    def add(self, positions: Positions) -> None:
        """These rows are dropped too."""
        self.mask[positions] = True
        self.mask &= ~self.kept


def _as_mask(values: pa.ChunkedArray) -> NDArray[np.bool_]:
    return np.array(pc.fill_null(values, False).to_numpy(), bool)


def judge(judging: Judging, rules: Sequence[CheckedRule], duplicates: DuplicateSettings | None) -> dict[str, Parts]:
    """Judge all rules, in order; with ``duplicates``, write ``workspace.duplicate_rows``.

    Returns:
        The rules that fired on each row, by stage; each rule is in one of them.
    """
    workspace = judging.workspace
    starts, dropped = workspace.corrected.starts(), _Dropped(workspace.corrected)
    numbered = list(enumerate(rules))
    capped = [(k, rule) for k, rule in numbered if rule.cap]
    late = [(k, rule) for k, rule in numbered if duplicates and _asks(rule, JUDGED_LATE) and not rule.cap]
    alone = [each for each in numbered if each not in capped and each not in late]
    stages: dict[str, Parts] = {}

    def judged(stage: str, some: Numbered, layers: Sequence[Layer] = ()) -> None:
        if some:
            stages[stage] = judging.fired(stage, some, layers)
            drops = [k for k, rule in some if rule.action == "drop"]
            dropped.add(fired_positions(stages[stage], starts, drops))

    judged("alone", alone)
    if duplicates:
        rows = read_comparable(workspace.comparable_rows)
        before = dropped.mask[rows.position]
        opposed = rows.position[rows.conflicting(before)]
        conflicts = Layer("conflicts", pa.table({"position": opposed}), ("conflicting",))
        second = [(k, rule) for k, rule in late if rule.action == "drop" and not _asks(rule, _DUPLICATE)]
        judged("contradicting", second, [conflicts])
        stages.pop("contradicting", None)  # judged again among the late ones
        after = dropped.mask[rows.position]
        with judging.connection.cursor() as tables:
            found = choose_kept(tables, workspace, rows, duplicates, before, after)
            write_repeated(tables, workspace, rows, found)
        judged("late", late, [conflicts, *_repeated(rows, found)])
    judged("capped", capped, list(_surplus_layers(judging, capped, dropped)))
    for stale in {path.name for path in workspace.judged.glob("*")} - stages.keys() - {"contradicting"}:
        shutil.rmtree(workspace.judged / stale)
    return stages


def _repeated(rows: Comparable, found: Repeats) -> list[Layer]:
    """What ``choose_kept`` has found about each row."""
    repeated, edited, copied = (
        np.flatnonzero(of >= 0) for of in (found.duplicate_of, found.edited_copy_of, found.kind)
    )
    distance, strength = found.distance[repeated], found.strength[copied]
    kinds = {
        "duplicate_kind": pa.array(KINDS, pa.string()).take(pa.array(found.kind[copied])),
        "duplicate_strength": pa.array(strength, mask=np.isnan(strength)),
    }
    distances = {"duplicate_distance": pa.array(distance, mask=np.isnan(distance))}
    return [
        Layer("repeated", pa.table({"position": rows.position[repeated], **distances}), ("duplicate",), (*distances,)),
        Layer("edited_copies", pa.table({"position": rows.position[edited]}), ("edited_copy",)),
        Layer("copied", pa.table({"position": rows.position[copied], **kinds}), (), (*kinds,)),
    ]


def _surplus_layers(judging: Judging, capped: Numbered, dropped: _Dropped) -> Iterator[Layer]:
    """For each rule with a cap the rows that are too many, in the recipe's order: what one drops does not count for
    the next. Groups reach over the whole set, so they are made of all rows.
    """
    if not capped:
        return
    with judging.facts() as connection:
        connection.register("forced", pa.table({"position": np.flatnonzero(dropped.kept)}))
        for k, rule in capped:
            assert rule.cap
            connection.register("dropped", pa.table({"position": np.flatnonzero(dropped.mask)}))
            found = connection.sql(_surplus(rule.cap)).to_arrow_table()
            if rule.action == "drop":
                dropped.add(found["position"].to_numpy())
            yield Layer(f"surplus{k}", found, (rule.cap.name,), (rule.cap.filled,))


def _surplus(cap: Cap) -> str:
    """Query: the rows that are too many of their group, and the first of those that stay.

    Only rows that are not dropped count; a row without a value in one of the columns is of no group. Several images
    of a row are one value. The rows that a reviewer keeps come first. With ``order``, a row takes its worst image.
    """
    columns = [quoted(name) for name in cap.group]
    groups = ", ".join(f"list(DISTINCT {name} ORDER BY {name}) AS g{n}" for n, name in enumerate(columns))
    complete = " AND ".join(f"bool_and({name} IS NOT NULL)" for name in columns)
    keys = ", ".join(f"g{n}" for n in range(len(columns)))
    order = f"{'min' if cap.descending else 'max'}({quoted(cap.order)})" if cap.order else "NULL"
    way = "DESC" if cap.descending else "ASC"
    return f"""
        WITH one AS (
            SELECT position, any_value(sample_id) AS sample_id, {groups}, {order} AS best FROM facts
            WHERE position NOT IN (SELECT position FROM dropped) GROUP BY position HAVING {complete}
        ), placed AS (
            SELECT {keys}, o.position, sample_id, row_number() OVER (
                PARTITION BY {keys}
                ORDER BY f.position IS NULL, best {way} NULLS LAST, md5(sample_id), sample_id
            ) AS place
            FROM one o LEFT JOIN forced f ON f.position = o.position
        ), filled AS (
            SELECT {keys}, list(sample_id ORDER BY place) FILTER (place <= {min(cap.most, _NAMED)}) AS names
            FROM placed GROUP BY ALL
        )
        SELECT position, names AS {quoted(cap.filled)} FROM placed JOIN filled USING ({keys}) WHERE place > {cap.most}
        ORDER BY position
    """


def _asks(rule: CheckedRule, columns: set[str]) -> bool:
    return not columns.isdisjoint(rule.expression.columns)
