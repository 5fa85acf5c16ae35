"""What curation did: the funnel of a set, and the fate of one row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.query.catalog import Folder, manifest_of
from dashboards.query.engine import Connection, fetch


@dataclass(frozen=True)
class Step:
    """One rule of the funnel.

    Attributes:
        fired: rows on which the rule fired, whatever else fired.
        dropped: rows for which it is the reason of the drop.
        left: rows left after it, in recipe order.
    """

    rule: str
    action: str
    fired: int
    dropped: int
    left: int


@dataclass(frozen=True)
class Funnel:
    """Rows in, what each rule did, rows kept."""

    rows_in: int
    kept: int
    flagged: int
    steps: tuple[Step, ...]


@dataclass(frozen=True)
class FiredRule:
    """One rule that fired on a row; ``values`` are the columns that it read."""

    rule: str
    action: str
    expression: str
    threshold: str
    values: dict[str, Any]
    kept_twin: str


@dataclass(frozen=True)
class Fate:
    """What one curated set did with one sample."""

    folder: Folder
    sample_id: str
    decision: str
    reason: str
    rules: tuple[FiredRule, ...]
    question: str
    answer: str
    answers: tuple[str, ...]
    images: tuple[str, ...]
    image_keys: tuple[str | None, ...]
    representative: str
    duplicate_distance: float | None
    hamming: int | None
    content_hash: str


def funnel(connection: Connection, folder: Folder) -> Funnel:
    """Counts over ``decisions.parquet``, rules in recipe order; raises UserError for a broken table."""
    path = folder.file("decisions.parquet")
    totals = {
        row["decision"]: row["n"]
        for row in fetch(connection, "SELECT decision, count(*) AS n FROM read_parquet(?) GROUP BY 1", [path])
    }
    fired = fetch(
        connection,
        """
        SELECT r.rule AS rule, any_value(r.action) AS action, count(DISTINCT sample_id) AS fired,
               count(DISTINCT sample_id) FILTER (WHERE decision = 'drop' AND reason = r.rule) AS dropped
        FROM (SELECT sample_id, decision, reason, unnest(rules) AS r FROM read_parquet(?) WHERE len(rules) > 0)
        GROUP BY 1""",
        [path],
    )
    rows_in = sum(totals.values())
    steps, left = [], rows_in
    for row in _in_order(fired, folder):
        left -= row["dropped"]
        steps.append(Step(row["rule"], row["action"] or "", row["fired"], row["dropped"], left))
    return Funnel(rows_in, rows_in - totals.get("drop", 0), totals.get("flag", 0), tuple(steps))


def _in_order(rows: list[dict[str, Any]], folder: Folder) -> list[dict[str, Any]]:
    """The rules in the order in which curation seeks a row's reason; any that the manifest does not list come last."""
    counts = manifest_of(folder).get("counts")
    listed = counts.get("rules") if isinstance(counts, Mapping) else None
    named = [rule.get("rule") for rule in listed if isinstance(rule, Mapping)] if isinstance(listed, list) else []
    return sorted(
        rows,
        key=lambda row: (named.index(row["rule"]) if row["rule"] in named else len(named), -row["fired"], row["rule"]),
    )


def fate_of(connection: Connection, folder: Folder, sample_id: str) -> Fate | None:
    """What ``folder`` holds and decided about a sample; None if it never saw it."""
    rows = fetch(
        connection, "SELECT * FROM read_parquet(?) WHERE sample_id = ?", [folder.file("samples.parquet"), sample_id]
    )
    if not rows:
        return None
    sample = rows[0]
    decided = fetch(
        connection, "SELECT * FROM read_parquet(?) WHERE sample_id = ?", [folder.file("decisions.parquet"), sample_id]
    )
    decision = decided[0] if decided else {}
    return Fate(
        folder=folder,
        sample_id=sample_id,
        decision=decision.get("decision") or sample.get("decision") or "",
        reason=decision.get("reason") or sample.get("reason") or "",
        rules=tuple(_fired(rule) for rule in decision.get("rules") or ()),
        question=sample.get("question") or "",
        answer=sample.get("answer") or "",
        answers=tuple(sample.get("answers") or ()),
        images=tuple(sample.get("images") or ()),
        image_keys=tuple(sample.get("image_keys") or ()),
        representative=decision.get("representative") or "",
        duplicate_distance=decision.get("duplicate_distance"),
        hamming=decision.get("hamming"),
        content_hash=sample.get("content_hash") or "",
    )


def _fired(rule: Mapping[str, Any]) -> FiredRule:
    return FiredRule(
        rule=rule.get("rule") or "",
        action=rule.get("action") or "",
        expression=rule.get("expression") or "",
        threshold=rule.get("threshold") or "",
        values=json_object(rule.get("values")),
        kept_twin=rule.get("kept_twin") or "",
    )


def json_object(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``; anything else is shown as it stands."""
    try:
        loaded = json.loads(text or "{}")
    except ValueError:
        return {"values": text}
    return loaded if isinstance(loaded, dict) else {"values": loaded}
