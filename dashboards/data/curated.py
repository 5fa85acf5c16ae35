"""What curation did: the funnel of a set, the rows behind each rule, and the decision about one row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.rules.explain import RowExplanation, explain_row
from dashboards.data.catalog import MAKE, Folder, manifest_of
from dashboards.data.engine import cached, coded, fetch, read_columns
from evalsuite.statistics import Property
from winnow.errors import UserError
from winnow.files import parse_json

# The other texts in the list ``rules`` would be most of the reading.
_DECISION_COLUMNS = ("position", "decision", "reason", "rules.list.element.rule", "rules.list.element.action")


@dataclass(frozen=True)
class Fired:
    """``decisions.parquet`` as numbers.

    Attributes:
        position: (rows,) place in the input, ascending.
        decision, reason: (rows,) what became of each row, and the rule it was dropped for ('' if it was not).
        rule, action: (firings,) a rule that fired, and what it does.
        row: (firings,) the row on which it did, as an index into ``position``.
    """

    position: NDArray[np.int64]
    decision: Property
    reason: Property
    rule: Property
    action: Property
    row: NDArray[np.int64]

    def mask(self, rule: str) -> NDArray[np.bool_]:
        """(rows,) where a rule fired."""
        fired = np.zeros(len(self.position), dtype=bool)
        if rule in self.rule.values:
            fired[self.row[self.rule.codes == self.rule.values.index(rule)]] = True
        return fired

    def is_reason(self, rule: str) -> NDArray[np.bool_]:
        """(rows,) which rows it dropped."""
        return self._has(self.reason, rule) & self._has(self.decision, "drop")

    def count(self, decision: str) -> int:
        """Rows with a decision: keep, drop or flag."""
        return int(self._has(self.decision, decision).sum())

    @staticmethod
    def _has(known: Property, value: str) -> NDArray[np.bool_]:
        mask: NDArray[np.bool_] = known.codes == (known.values.index(value) if value in known.values else -1)
        return mask


@cached(4)
def fired_rules(folder: Folder) -> Fired:
    """Which rules fired on which rows of a set: 24 MB for a million rows.

    Raises:
        UserError: they are missing or broken.
    """
    path = folder.path / "decisions.parquet"
    table = read_columns(path, _DECISION_COLUMNS)
    lists = table["rules"].combine_chunks()
    fired = pa.Table.from_struct_array(lists.flatten())
    return Fired(
        position=table["position"].to_numpy(),
        decision=coded(table["decision"]),
        reason=coded(table["reason"]),
        rule=coded(fired["rule"]),
        action=coded(fired["action"]),
        row=np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy()),
    )


@cached(16)
def rule_actions(folder: Folder) -> Mapping[str, str]:
    """Rule → what it does, in order of the first row on which each fired; raises UserError for a broken table."""
    fired = fired_rules(folder)
    first = np.unique(fired.rule.codes, return_index=True)[1]
    return {
        fired.rule.values[fired.rule.codes[at]]: fired.action.values[fired.action.codes[at]] for at in sorted(first)
    }


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
class RowDecision:
    """What one curated set did with one sample.

    Attributes:
        position: its place in the input.
        record: the row as the set holds it, a JSON object in Winnow's own form; '' where it is not kept.
    """

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
    position: int = 0
    source: str = ""
    split: str = ""
    record: str = ""


@cached(64)
def funnel(folder: Folder) -> Funnel:
    """Counts over the decisions, rules in recipe order; raises UserError for a broken table."""
    fired = fired_rules(folder)
    rows_in = len(fired.position)
    steps, left = [], rows_in
    counted = [
        (rule, action, int(fired.mask(rule).sum()), int(fired.is_reason(rule).sum()))
        for rule, action in rule_actions(folder).items()
    ]
    for rule, action, times, dropped in _in_order(counted, folder):
        left -= dropped
        steps.append(Step(rule, action, times, dropped, left))
    return Funnel(rows_in, rows_in - fired.count("drop"), fired.count("flag"), tuple(steps))


def _in_order(counted: list[tuple[str, str, int, int]], folder: Folder) -> list[tuple[str, str, int, int]]:
    """The rules in the order in which curation looks for a row's reason; unlisted ones come last."""
    counts = manifest_of(folder).get("counts")
    listed = counts.get("rules") if isinstance(counts, Mapping) else None
    named = [rule.get("rule") for rule in listed if isinstance(rule, Mapping)] if isinstance(listed, list) else []
    return sorted(
        counted, key=lambda rule: (named.index(rule[0]) if rule[0] in named else len(named), -rule[2], rule[0])
    )


@cached(64)
def row_decisions(sets: tuple[Folder, ...], sample_id: str) -> Sequence[RowDecision]:
    """What each of these curated sets decided about a sample, for those that hold it."""
    found = [row_decision(folder, sample_id) for folder in sets]
    return [decision for decision in found if decision]


def row_decision(folder: Folder, sample_id: str) -> RowDecision | None:
    """What ``folder`` holds and decided about a sample; None if it does not hold it."""
    found = _decided(folder, "sample_id", [sample_id])
    return found[0] if found else None


@cached(64)
def decisions_at(folder: Folder, positions: tuple[int, ...]) -> Sequence[RowDecision]:
    """What ``folder`` holds and decided about the rows at these positions of the input, in this order.

    Positions without a row are left out. Raises UserError for a broken table.
    """
    by_place = {row.position: row for row in _decided(folder, "position", list(positions))}
    return [by_place[place] for place in positions if place in by_place]


def _decided(folder: Folder, key: Literal["sample_id", "position"], values: list[Any]) -> list[RowDecision]:
    """Rows whose ``key`` is one of ``values``: a query for the rows and one for the decisions about them."""
    sql = f"SELECT * FROM read_parquet(?) WHERE {key} IN (SELECT unnest(?))"
    samples, decided = (
        fetch(folder.connection, sql, [folder.file(name), values]) for name in ("samples.parquet", "decisions.parquet")
    )
    decision_of = {row[key]: row for row in decided}
    return [_row_decision(folder, sample, decision_of.get(sample[key], {})) for sample in samples]


def _row_decision(folder: Folder, sample: Mapping[str, Any], decision: Mapping[str, Any]) -> RowDecision:
    return RowDecision(
        folder=folder,
        sample_id=sample["sample_id"],
        decision=decision.get("decision") or sample.get("decision") or "",
        reason=decision.get("reason") or sample.get("reason") or "",
        rules=tuple(_fired_rule(rule) for rule in decision.get("rules") or ()),
        question=sample.get("question") or "",
        answer=sample.get("answer") or "",
        answers=tuple(sample.get("answers") or ()),
        images=tuple(sample.get("images") or ()),
        image_keys=tuple(sample.get("image_keys") or ()),
        representative=decision.get("representative") or "",
        duplicate_distance=decision.get("duplicate_distance"),
        hamming=decision.get("hamming"),
        content_hash=sample.get("content_hash") or "",
        position=sample["position"],
        source=sample.get("source") or "",
        split=sample.get("split") or "",
        record=sample.get("record") or "",
    )


def _fired_rule(rule: Mapping[str, Any]) -> FiredRule:
    return FiredRule(
        rule=rule.get("rule") or "",
        action=rule.get("action") or "",
        expression=rule.get("expression") or "",
        threshold=rule.get("threshold") or "",
        values=json_object(rule.get("values")),
        related_row=rule.get("related_row") or "",
    )


def json_object(text: str | None) -> dict[str, Any]:
    """The JSON object in ``text``; anything else becomes its only value, to be shown as it is."""
    try:
        loaded = parse_json(text or "{}")
    except ValueError:
        return {"values": text}
    return loaded if isinstance(loaded, dict) else {"values": loaded}


@dataclass(frozen=True)
class Case:
    """A training row, as small as a card needs it."""

    sample_id: str
    question: str
    answer: str
    decision: str
    reason: str
    image_keys: tuple[str | None, ...]
    content_hash: str = ""


_CASE_COLUMNS = "sample_id, question, answer, decision, reason, image_keys, content_hash"


def cases_at(folder: Folder, positions: Sequence[int]) -> list[Case]:
    """The rows at these positions of the input, in this order; raises UserError for a broken table."""
    sql = f"SELECT position, {_CASE_COLUMNS} FROM read_parquet(?) WHERE position IN (SELECT unnest(?))"
    found = fetch(folder.connection, sql, [folder.file("samples.parquet"), list(positions)])
    by_place = {row["position"]: case_of(row) for row in found}
    return [by_place[place] for place in positions if place in by_place]


@cached(64)
def cases_of(folder: Folder, ids: tuple[str, ...]) -> Mapping[str, Case]:
    """The rows with these ids, by id; raises UserError for a broken table."""
    sql = f"SELECT {_CASE_COLUMNS} FROM read_parquet(?) WHERE sample_id IN (SELECT unnest(?))"
    found = fetch(folder.connection, sql, [folder.file("samples.parquet"), list(ids)])
    return {row["sample_id"]: case_of(row) for row in found}


def case_of(row: dict[str, object]) -> Case:
    """A ``Case`` from a row with its columns."""
    keys = row["image_keys"]
    return Case(
        str(row["sample_id"]), str(row["question"] or ""), str(row["answer"] or ""), str(row["decision"] or ""),
        str(row["reason"] or ""), tuple(keys) if isinstance(keys, list | tuple) else (),
        str(row.get("content_hash") or ""),
    )  # fmt: skip


@cached(64)
def cases_of_rule(folder: Folder, rule: str, offset: int, count: int) -> Sequence[Case]:
    """A page of the rows on which a rule fired, those that it dropped first; raises UserError for a broken table."""
    fired = fired_rules(folder)
    mask, reason = fired.mask(rule), fired.is_reason(rule)
    rows = np.concatenate([np.flatnonzero(mask & reason), np.flatnonzero(mask & ~reason)])[offset : offset + count]
    return cases_at(folder, fired.position[rows].tolist())


def explanation_of(folder: Folder, sample_id: str) -> RowExplanation:
    """Every rule of a set on one of its rows, as ``curate explain`` shows it.

    Raises:
        UserError: the folder has no such row (near ids are named), or cannot be read.
    """
    if "recipe" not in manifest_of(folder):
        raise UserError(f"{folder.path}: its manifest holds no recipe; remake it with `{MAKE['curated']}`")
    try:
        return explain_row(folder.path, sample_id)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder.path}: its signals cannot be read ({reason}); run `{MAKE['curated']}`") from error
