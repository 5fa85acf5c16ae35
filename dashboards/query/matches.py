"""Training rows that curation found to be the same as a given row: leaks and copies."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dashboards.query.catalog import Folder
from dashboards.query.engine import Connection, fetch

CONTAMINATION = "contamination.parquet"
_LISTED = 50


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


def matches_of(connection: Connection, folder: Folder, sample_id: str, image_keys: Sequence[str | None]) -> Matches:
    """What a curated set recorded about a row's image.

    Leaks are training rows whose image matches the image of this evaluation row. Copies are
    rows that were dropped or flagged because of this row.

    Raises:
        UserError: a table is broken.
    """
    leaks = _leaks(connection, folder, [key for key in image_keys if key])
    copies = _copies(connection, folder, sample_id)
    known = {match.sample_id for match, _ in leaks}
    others = [item for item in copies if item[0].sample_id not in known]
    return Matches(
        folder=folder,
        checked=(folder.path / CONTAMINATION).is_file(),
        leaks=tuple(match for match, _ in leaks),
        leak_count=leaks[0][1] if leaks else 0,
        copies=tuple(match for match, _ in others),
        copy_count=copies[0][1] if others else 0,
    )


def _leaks(connection: Connection, folder: Folder, image_keys: list[str]) -> list[tuple[Match, int]]:
    if not image_keys or not (folder.path / CONTAMINATION).is_file():
        return []
    sql = f"""
        SELECT sample_id, any_value(decision) AS decision, min(distance) AS distance, min(hamming) AS hamming,
               bool_or(same_question) AS same_question, count(*) OVER () AS total
        FROM read_parquet(?) LEFT JOIN (SELECT sample_id, decision FROM read_parquet(?)) USING (sample_id)
        WHERE evaluation_key IN (SELECT unnest(?))
        GROUP BY sample_id ORDER BY same_question DESC, distance, sample_id LIMIT {_LISTED}"""
    return _found(connection, sql, [folder.file(CONTAMINATION), folder.file("decisions.parquet"), image_keys])


def _copies(connection: Connection, folder: Folder, sample_id: str) -> list[tuple[Match, int]]:
    sql = f"""
        SELECT sample_id, decision, duplicate_distance AS distance, hamming, NULL::BOOLEAN AS same_question,
               count(*) OVER () AS total
        FROM read_parquet(?)
        WHERE decision <> 'keep' AND len(list_filter(rules, lambda rule: rule.related_row = ?)) > 0
        ORDER BY distance NULLS LAST, sample_id LIMIT {_LISTED}"""
    return _found(connection, sql, [folder.file("decisions.parquet"), sample_id])


def _found(connection: Connection, sql: str, values: Sequence[object]) -> list[tuple[Match, int]]:
    rows = fetch(connection, sql, values)
    return [(Match(**{name: row[name] for name in Match.__dataclass_fields__}), row["total"]) for row in rows]
