"""Rows of a curated set by their place, for lists of cases."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch
from dashboards.query.fired import Fired


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


def fired_on(connection: Connection, folder: Folder, fired: Fired, rule: str, offset: int, count: int) -> list[Case]:
    """A page of the rows on which a rule fired, those that it dropped first; raises UserError for a broken table."""
    mask, reason = fired.mask(rule), fired.is_reason(rule)
    rows = np.concatenate([np.flatnonzero(mask & reason), np.flatnonzero(mask & ~reason)])[offset : offset + count]
    return cases_at(connection, folder, fired.position[rows].tolist())
