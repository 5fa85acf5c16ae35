"""What curation did: the funnel of a set, and the fate of one row."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from dashboards.query.catalog import Folder, manifest_of
from dashboards.query.engine import Connection, fetch
from dashboards.query.fired import Fired


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
    related_row: str


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


def funnel(folder: Folder, fired: Fired) -> Funnel:
    """Counts over the decisions, rules in recipe order."""
    rows_in = len(fired.position)
    steps, left = [], rows_in
    counted = [
        (rule, action, int(fired.mask(rule).sum()), int(fired.is_reason(rule).sum()))
        for rule, action in fired.actions().items()
    ]
    for rule, action, times, dropped in _in_order(counted, folder):
        left -= dropped
        steps.append(Step(rule, action, times, dropped, left))
    return Funnel(rows_in, rows_in - fired.count("drop"), fired.count("flag"), tuple(steps))


def _in_order(counted: list[tuple[str, str, int, int]], folder: Folder) -> list[tuple[str, str, int, int]]:
    """The rules in the order in which curation seeks a row's reason; any that the manifest does not list come last."""
    counts = manifest_of(folder).get("counts")
    listed = counts.get("rules") if isinstance(counts, Mapping) else None
    named = [rule.get("rule") for rule in listed if isinstance(rule, Mapping)] if isinstance(listed, list) else []
    return sorted(counted, key=lambda one: (named.index(one[0]) if one[0] in named else len(named), -one[2], one[0]))


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
        related_row=rule.get("related_row") or "",
    )


def json_object(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``; anything else is shown as it stands."""
    try:
        loaded = json.loads(text or "{}")
    except ValueError:
        return {"values": text}
    return loaded if isinstance(loaded, dict) else {"values": loaded}
