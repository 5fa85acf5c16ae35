"""Rows of a curated set by their place, for lists of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch


@dataclass(frozen=True)
class Case:
    """A training row, as small as a card needs it."""

    sample_id: str
    question: str
    answer: str
    decision: str
    reason: str
    image_keys: tuple[str | None, ...]


_COLUMNS = "sample_id, question, answer, decision, reason, image_keys"


def cases_at(connection: Connection, folder: Folder, positions: Sequence[int]) -> list[Case]:
    """The rows at these positions of the input, in this order; raises UserError for a broken table."""
    sql = f"SELECT position, {_COLUMNS} FROM read_parquet(?) WHERE position IN (SELECT unnest(?))"
    found = fetch(connection, sql, [folder.file("samples.parquet"), [int(place) for place in positions]])
    by_place = {row["position"]: case_of(row) for row in found}
    return [by_place[place] for place in positions if place in by_place]


def cases_of(connection: Connection, folder: Folder, ids: Sequence[str]) -> dict[str, Case]:
    """The rows with these ids, by id."""
    sql = f"SELECT {_COLUMNS} FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))"
    found = fetch(connection, sql, [folder.file("samples.parquet"), list(ids)])
    return {row["sample_id"]: case_of(row) for row in found}


def case_of(row: dict[str, object]) -> Case:
    """A ``Case`` from a row with its columns."""
    keys = row["image_keys"]
    return Case(
        str(row["sample_id"]), str(row["question"] or ""), str(row["answer"] or ""), str(row["decision"] or ""),
        str(row["reason"] or ""), tuple(keys) if isinstance(keys, list | tuple) else (),
    )  # fmt: skip


def dropped_by(connection: Connection, folder: Folder, rule: str, offset: int, count: int) -> tuple[list[Case], int]:
    """A page of the rows on which a rule fired, those that it dropped first; and how many there are."""
    sql = f"""
        SELECT position, {", ".join("s." + name for name in _COLUMNS.split(", "))}, count(*) OVER () AS total
        FROM read_parquet(?) s SEMI JOIN (
            SELECT position FROM read_parquet(?) WHERE len(list_filter(rules, lambda r: r.rule = ?)) > 0
        ) d ON d.position = s.position
        ORDER BY s.reason IS DISTINCT FROM ?, s.position LIMIT ? OFFSET ?"""
    bound = [folder.file("samples.parquet"), folder.file("decisions.parquet"), rule, rule, count, offset]
    found = fetch(connection, sql, bound)
    return [case_of(row) for row in found], found[0]["total"] if found else 0
