"""Near-duplicates that curation found: groups with their members, and the leaks and copies of one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.data.catalog import Folder
from dashboards.data.curated import Case, case_of
from dashboards.data.engine import cached, fetch


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
_CONTAMINATION = "contamination.parquet"
_LISTED = 50  # matches of one row


@cached(64)
def page_of_groups(folder: Folder, order: str, offset: int, count: int) -> tuple[Sequence[Group], int]:
    """A page of groups with at least one replaced row, and how many there are; raises UserError for a broken table."""
    decisions = folder.file("decisions.parquet")
    found = fetch(folder.connection, _GROUPS.format(order=_ORDERS[order]), [decisions, count, offset])
    if not found:
        return [], 0
    names = [row["name"] for row in found]
    members: dict[str, list[Member]] = {name: [] for name in names}
    for row in fetch(folder.connection, _MEMBERS, [decisions, folder.file("samples.parquet"), names]):
        replaced = tuple(
            (brief["id"], brief["hash"] or "", brief["question"], brief["answer"]) for brief in row["replaced"]
        )
        members[row["name"]].append(
            Member(
                case_of(row["first"]), row["rows"], replaced, row["representative"] or "", row["distance"],
                row["hamming"],
            )
        )  # fmt: skip
    return [Group(name, tuple(members[name][:_MOST_MEMBERS])) for name in names], found[0]["total"]


@dataclass(frozen=True)
class Match:
    """A training row with the same image.

    Attributes:
        decision: what curation did with it.
        distance: mean absolute difference of the thumbnails, 0-255.
        hamming: distance of the hashes in bits of 64.
        same_question: whether it also asks the same.
    """

    sample_id: str
    decision: str
    distance: float | None
    hamming: int | None
    same_question: bool | None


@dataclass(frozen=True)
class Matches:
    """All matches of one curated set: how many, and the closest of them.

    ``checked`` says whether the set was compared with evaluation data at all.
    """

    folder: Folder
    checked: bool
    leaks: tuple[Match, ...]
    leak_count: int
    copies: tuple[Match, ...]
    copy_count: int


@cached(64)
def matches_of(folder: Folder, sample_id: str, image_keys: tuple[str | None, ...]) -> Matches:
    """What a curated set recorded about a row's image.

    Leaks are training rows whose image matches the image of this evaluation row. Copies are
    rows that were dropped or flagged because of this row.

    Raises:
        UserError: a table is broken.
    """
    leaks = _leaks(folder, [key for key in image_keys if key])
    copies = _copies(folder, sample_id)
    known = {match.sample_id for match, _ in leaks}
    others = [item for item in copies if item[0].sample_id not in known]
    return Matches(
        folder=folder,
        checked=(folder.path / _CONTAMINATION).is_file(),
        leaks=tuple(match for match, _ in leaks),
        leak_count=leaks[0][1] if leaks else 0,
        copies=tuple(match for match, _ in others),
        copy_count=copies[0][1] if others else 0,
    )


def _leaks(folder: Folder, image_keys: list[str]) -> list[tuple[Match, int]]:
    if not image_keys or not (folder.path / _CONTAMINATION).is_file():
        return []
    sql = f"""
        SELECT sample_id, any_value(decision) AS decision, min(distance) AS distance, min(hamming) AS hamming,
               bool_or(same_question) AS same_question, count(*) OVER () AS total
        FROM read_parquet(?) LEFT JOIN (SELECT sample_id, decision FROM read_parquet(?)) USING (sample_id)
        WHERE evaluation_key IN (SELECT unnest(?))
        GROUP BY sample_id ORDER BY same_question DESC, distance, sample_id LIMIT {_LISTED}"""
    return _found(folder, sql, [folder.file(_CONTAMINATION), folder.file("decisions.parquet"), image_keys])


def _copies(folder: Folder, sample_id: str) -> list[tuple[Match, int]]:
    sql = f"""
        SELECT sample_id, decision, duplicate_distance AS distance, hamming, NULL::BOOLEAN AS same_question,
               count(*) OVER () AS total
        FROM read_parquet(?)
        WHERE decision <> 'keep' AND len(list_filter(rules, lambda rule: rule.related_row = ?)) > 0
        ORDER BY distance NULLS LAST, sample_id LIMIT {_LISTED}"""
    return _found(folder, sql, [folder.file("decisions.parquet"), sample_id])


def _found(folder: Folder, sql: str, values: Sequence[object]) -> list[tuple[Match, int]]:
    rows = fetch(folder.connection, sql, values)
    return [(Match(**{name: row[name] for name in Match.__dataclass_fields__}), row["total"]) for row in rows]
