"""Groups of near-duplicates: members, what binds each to the kept one, and what was decided."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch
from dashboards.query.rows import Case, case_of


@dataclass(frozen=True)
class Member:
    """One image of a group, and the rows about it.

    Attributes:
        case: the first of its rows, one that was dropped as a duplicate if there is any.
        rows: how many rows are about it.
        replaced: (sample_id, content_hash, question, answer) of those dropped as duplicates.
        representative: id of the row that stands for the first of them, '' if none was replaced.
        distance: mean absolute difference of the thumbnails, 0-255; hamming: bits of 64.
    """

    case: Case
    rows: int
    replaced: tuple[tuple[str, str, str, str], ...]
    representative: str
    distance: float | None
    hamming: int | None


@dataclass(frozen=True)
class Group:
    """Images that count as copies of one another, the kept one first."""

    name: str
    members: tuple[Member, ...]


_GROUPS = """
    SELECT duplicate_group AS name, count(*) AS rows, max(duplicate_distance) AS farthest,
           count(*) FILTER (WHERE representative IS NOT NULL) AS dropped, count(*) OVER () AS total
    FROM read_parquet(?) WHERE duplicate_group IS NOT NULL
    GROUP BY 1 HAVING count(*) FILTER (WHERE representative IS NOT NULL) > 0 ORDER BY {order}, 1 LIMIT ? OFFSET ?"""
_MEMBERS = """
    WITH found AS (
        SELECT d.duplicate_group AS name, d.representative, d.duplicate_distance AS distance, d.hamming, position,
               {'sample_id': s.sample_id, 'question': s.question, 'answer': s.answer, 'decision': s.decision,
                'reason': s.reason, 'image_keys': s.image_keys} AS row, s.image_keys,
               {'id': s.sample_id, 'hash': s.content_hash, 'question': s.question, 'answer': s.answer} AS brief
        FROM read_parquet(?) d JOIN read_parquet(?) s USING (position)
        WHERE d.duplicate_group IN (SELECT unnest(?)))
    SELECT name, count(*) AS rows, arg_min(row, (representative IS NULL, position)) AS first,
           coalesce(list(brief ORDER BY position) FILTER (WHERE representative IS NOT NULL), []) AS replaced,
           arg_min(representative, position) AS representative, min(distance) AS distance, min(hamming) AS hamming
    FROM found GROUP BY name, image_keys ORDER BY name, len(replaced) > 0, distance, min(position)"""
_ORDERS = {"Farthest apart first": "3 DESC NULLS LAST", "Largest first": "2 DESC"}
ORDERS = tuple(_ORDERS)
_MOST_MEMBERS = 24


def page_of_groups(
    connection: Connection, folder: Folder, order: str, offset: int, count: int
) -> tuple[list[Group], int]:
    """A page of groups with at least one replaced row, and how many there are; raises UserError for a broken table."""
    decisions = folder.file("decisions.parquet")
    found = fetch(connection, _GROUPS.format(order=_ORDERS[order]), [decisions, count, offset])
    if not found:
        return [], 0
    names = [row["name"] for row in found]
    members: dict[str, list[Member]] = {name: [] for name in names}
    for row in fetch(connection, _MEMBERS, [decisions, folder.file("samples.parquet"), names]):
        replaced = tuple((one["id"], one["hash"] or "", one["question"], one["answer"]) for one in row["replaced"])
        members[row["name"]].append(
            Member(
                case_of(row["first"]), row["rows"], replaced, row["representative"] or "", row["distance"],
                row["hamming"],
            )
        )  # fmt: skip
    return [Group(name, tuple(members[name][:_MOST_MEMBERS])) for name in names], found[0]["total"]
