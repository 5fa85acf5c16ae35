"""Near-duplicates that curation found: groups with their members, and the leaks and copies of one row."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.curated import Case, case_of
from dashboards.data.engine import cached, columns_of, fetch, fetch_integers


@dataclass(frozen=True)
class Member:
    """One image of a group, and the rows about it.

    Attributes:
        case: the first of its rows, one that was dropped as a duplicate if there is any.
        rows: how many rows are about it.
        replaced: (sample_id, content_hash, question, answer) of those dropped as duplicates.
        representative: id of the row that stands for the first of them, '' if none was replaced.
        kind: how its image is a copy of the kept one; None where the set records none, or no row was replaced.
        distance: mean absolute difference of the thumbnails, 0-255; hamming: bits of 64.
    """

    case: Case
    rows: int
    replaced: tuple[tuple[str, str, str, str], ...]
    representative: str
    kind: str | None
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
    GROUP BY 1 HAVING count(*) FILTER (WHERE representative IS NOT NULL) > 0 ORDER BY {order}, name LIMIT ? OFFSET ?"""
_MEMBERS = """
    WITH found AS (
        SELECT d.duplicate_group AS name, d.representative, {kind} AS kind, d.duplicate_distance AS distance, d.hamming,
               position,
               {{'sample_id': s.sample_id, 'question': s.question, 'answer': s.answer, 'decision': s.decision,
                 'reason': s.reason, 'image_keys': s.image_keys}} AS row, s.image_keys,
               {{'id': s.sample_id, 'hash': s.content_hash, 'question': s.question, 'answer': s.answer}} AS brief
        FROM read_parquet(?) d JOIN read_parquet(?) s USING (position)
        WHERE d.duplicate_group IN (SELECT unnest(?)))
    SELECT name, count(*) AS rows, arg_min(row, (representative IS NULL, position)) AS first,
           coalesce(list(brief ORDER BY position) FILTER (WHERE representative IS NOT NULL), []) AS replaced,
           arg_min(representative, position) AS representative,
           arg_min(kind, position) FILTER (WHERE representative IS NOT NULL) AS kind,
           min(distance) AS distance, min(hamming) AS hamming
    FROM found GROUP BY name, image_keys ORDER BY name, len(replaced) > 0, distance, min(position)"""
_ORDERS = {"Farthest apart first": "farthest DESC NULLS LAST", "Largest first": '"rows" DESC'}
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
    kind = _kind_column(folder, "decisions.parquet", ("duplicate_kind",))
    sql = _MEMBERS.format(kind=f"d.{kind}" if kind else "NULL")
    for row in fetch(folder.connection, sql, [decisions, folder.file("samples.parquet"), names]):
        replaced = tuple(
            (brief["id"], brief["hash"] or "", brief["question"], brief["answer"]) for brief in row["replaced"]
        )
        members[row["name"]].append(
            Member(
                case_of(row["first"]), row["rows"], replaced, row["representative"] or "", row["kind"],
                row["distance"], row["hamming"],
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


def duplicate_kinds(folder: Folder) -> list[str]:
    """The kinds of pairs among the replaced rows of a set; [] where it records none."""
    return _kinds(folder, "decisions.parquet", ("duplicate_kind",))


def leak_kinds(folder: Folder) -> list[str]:
    """How training images match images of evaluations in a set: kinds of copies, or ``bytes`` and ``look``."""
    return _kinds(folder, _CONTAMINATION, ("kind", "match"))


def duplicate_rows(folder: Folder, order: str, group: str = "", kind: str = "") -> NDArray[np.int32]:
    """Positions of the rows of duplicate groups: each row that stands for others, then these, nearest first.

    Args:
        order: of the groups, one of ``ORDERS``.
        group: the name of one group; '' takes all.
        kind: of ``duplicate_kinds``, rows that were only flagged as edited copies too; '' takes all that were replaced.
            One that the set does not have gives no row.

    Raises:
        UserError: a table is broken.
    """
    known = _kind_column(folder, "decisions.parquet", ("duplicate_kind",))
    if kind and known is None:
        return np.empty(0, dtype=np.int32)
    chosen = f"AND {known} = ?" if kind else ""
    edited = _kind_column(folder, "decisions.parquet", ("edited_copy_of",)) if kind else None
    other = f"coalesce(representative, {edited})" if edited else "representative"
    named = f"coalesce(duplicate_group, {edited})" if edited else "duplicate_group"
    sql = f"""
        WITH replaced AS (
            SELECT position, {named} AS name, {other} AS representative, duplicate_distance AS distance
            FROM read_parquet(?)
            WHERE {named} IS NOT NULL AND {other} IS NOT NULL
                  {chosen} {"AND duplicate_group = ?" if group else ""}
        ), groups AS (
            SELECT row_number() OVER (ORDER BY {_ORDERS[order]}, name) AS place, name FROM (
                SELECT {named} AS name, count(*) AS rows, max(duplicate_distance) AS farthest
                FROM read_parquet(?) GROUP BY 1)
        ), kept AS (
            SELECT position, sample_id FROM read_parquet(?)
            WHERE sample_id IN (SELECT representative FROM replaced)
        ), pairs AS (
            SELECT place, kept.position AS head, replaced.position, distance
            FROM replaced JOIN groups USING (name) LEFT JOIN kept ON kept.sample_id = representative
        ), listed AS (
            SELECT min(place) AS place, head, head AS position, -1 AS distance FROM pairs
            WHERE head IS NOT NULL GROUP BY head
            UNION ALL SELECT place, head, position, coalesce(distance, 256) FROM pairs)
        SELECT position FROM listed ORDER BY place, head NULLS LAST, distance, position"""
    path = folder.file("decisions.parquet")
    values = [path, *([kind] if kind else []), *([group] if group else []), path, path]
    return fetch_integers(folder.connection, sql, values)


def leaked_rows(folder: Folder, kind: str = "") -> NDArray[np.int32] | None:
    """Positions of the training rows with an image of an evaluation; None if the set was not compared with any.

    Rows that ask the same come first, then the nearest, then the first.

    Args:
        kind: of ``leak_kinds``; '' takes all.

    Raises:
        UserError: a table is broken.
    """
    column = _kind_column(folder, _CONTAMINATION, ("kind", "match"))
    if not (folder.path / _CONTAMINATION).is_file():
        return None
    sql = f"""
        SELECT position FROM (
            SELECT sample_id, bool_or(same_question) AS same_question, min(distance) AS distance FROM read_parquet(?)
            {f"WHERE {column} = ?" if kind and column else "WHERE ? = ''" if kind else ""} GROUP BY sample_id)
        JOIN (SELECT sample_id, position FROM read_parquet(?)) USING (sample_id)
        ORDER BY coalesce(same_question, false) DESC, distance NULLS LAST, position"""
    return fetch_integers(
        folder.connection, sql,
        [folder.file(_CONTAMINATION), *([kind] if kind else []), folder.file("decisions.parquet")],
    )  # fmt: skip


def _kinds(folder: Folder, file: str, names: tuple[str, ...]) -> list[str]:
    column = _kind_column(folder, file, names)
    if column is None:
        return []
    sql = f"SELECT DISTINCT {column} AS kind FROM read_parquet(?) WHERE {column} IS NOT NULL ORDER BY 1"
    return [str(row["kind"]) for row in fetch(folder.connection, sql, [folder.file(file)])]


@cached(16)
def _kind_column(folder: Folder, file: str, names: tuple[str, ...]) -> str | None:
    """The first of these columns that a table of the set has."""
    if not (folder.path / file).is_file():
        return None
    known = columns_of(folder.connection, folder.file(file))
    return next((name for name in names if name in known), None)
