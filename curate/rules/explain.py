"""Why a row was kept, flagged or dropped: every rule in order, with values and thresholds, fired or not."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb

from curate.recipe import all_rules, read_finished
from curate.rules.checked import CheckedRule
from curate.rules.columns import create_facts
from curate.rules.connection import lock
from curate.rules.decide import check_rules
from curate.rules.expression import quoted
from curate.rules.find_row import near_ids
from curate.settings.copies import DuplicateSettings
from curate.views import create_views
from curate.workspace import Workspace, of_this_version
from winnow.corrections import Correction, read_corrections
from winnow.errors import UserError
from winnow.media.images import CLASSES
from winnow.parquet.tables import database, parquet

_LISTED = 5
_REPEATS = """
    SELECT r.sample_id FROM duplicates d JOIN rows r USING (position) WHERE d.duplicate_of = ? ORDER BY r.position
"""


_ERRORS = """
    SELECT DISTINCT p.path, p.error, p.error_detail FROM paths p
    JOIN (SELECT unnest(images) AS path FROM rows WHERE sample_id = ?) USING (path) WHERE p.error IS NOT NULL ORDER BY 1
"""


@dataclass(frozen=True)
class RuleOutcome:
    """One rule on one sample.

    Attributes:
        fired: whether it fired on any of the sample's images.
        values: column → value, of the image on which it fired, else of the first.
    """

    rule: CheckedRule
    fired: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class RowExplanation:
    """Everything that curation knows about one sample.

    Attributes:
        sample: its row of ``samples.parquet``.
        decision: its row of ``decisions.parquet``.
        image_names: of images that came inside the dataset: the names that they had there.
        image_errors: one line for each image that cannot be used.
        contamination: its rows of ``contamination.parquet``.
        duplicates: what counted as near-identical, if the recipe sought duplicates.
        stands_for: rows that were found to repeat it, the first of them; ``repeats`` counts all.
        rival: a row about a near-identical image with the same question and another answer, or None.
        corrections: reviewers' lines about it with what became of each.
    """

    sample: dict[str, Any]
    decision: dict[str, Any]
    rules: list[RuleOutcome]
    image_names: list[str]
    image_errors: list[str]
    contamination: list[dict[str, Any]]
    duplicates: DuplicateSettings | None
    stands_for: list[str]
    repeats: int
    rival: str | None
    corrections: list[tuple[Correction, str]]


def explain_row(folder: Path, sample_id: str) -> RowExplanation:
    """Evaluate every rule of a finished curation on one of its rows again.

    Raises:
        UserError: the folder is unfinished or has no such row (near ids are named).
    """
    recipe, _ = read_finished(folder)
    workspace = Workspace(folder)
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    with of_this_version(workspace), database(workspace.work) as connection:
        create_views(connection, workspace, recipe.losses)
        query = "SELECT * FROM {} WHERE sample_id = ?"
        samples = _rows(connection, query.format(parquet([workspace.samples_table])), sample_id)
        if not samples:
            raise UserError(f"{folder}: no row {sample_id!r}; {near_ids(connection, sample_id)}")
        decisions = _rows(connection, query.format(parquet([workspace.decisions])), sample_id)
        columns = dict.fromkeys(name for rule in rules for name in rule.columns)
        create_facts(connection, columns, f"r.position = {int(samples[0]['position'])}")
        repeats = connection.execute(_REPEATS, [sample_id]).fetchall()
        rival = connection.execute(
            "SELECT conflict_with FROM duplicates WHERE position = ?", [samples[0]["position"]]
        ).fetchall()
        errors = connection.execute(_ERRORS, [sample_id]).fetchall()
        matches: list[dict[str, Any]] = []
        if workspace.contamination.is_file():
            matches = _rows(connection, query.format(parquet([workspace.contamination])), sample_id)
        lock(connection)
        outcomes = [_outcome(connection, rule, decisions[0]["rules"]) for rule in rules]
    return RowExplanation(
        sample=samples[0],
        decision=decisions[0],
        rules=outcomes,
        image_names=_image_names(samples[0]["record"]),
        image_errors=[f"{error:<9} {path}: {detail or CLASSES[error]}" for path, error, detail in errors],
        contamination=matches,
        duplicates=recipe.duplicates,
        stands_for=[str(row[0]) for row in repeats[:_LISTED]],
        repeats=len(repeats),
        rival=rival[0][0] if rival else None,
        corrections=_corrections(workspace, recipe.corrections, sample_id),
    )


def _image_names(record: str | None) -> list[str]:
    found = json.loads(record or "{}").get("meta", {}).get("image_path", [])
    names = found if isinstance(found, list) else [found]
    return [name for name in names if isinstance(name, str)]


def _corrections(workspace: Workspace, folder: Path | None, sample_id: str) -> list[tuple[Correction, str]]:
    """Reviewers' lines about a row, in the order of time; lines written since the last decision are ``new``."""
    if folder is None or not workspace.corrections.is_file():
        return []
    statuses = json.loads(workspace.corrections.read_text(encoding="utf-8"))["lines"]
    lines = [line for line in read_corrections(folder) if line.sample_id == sample_id and line.action != "undo"]
    return [(line, statuses.get(line.correction_id, "new")) for line in lines]


def _rows(connection: duckdb.DuckDBPyConnection, query: str, value: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query, params=[value]).to_arrow_table().to_pylist()
    return rows


def _outcome(connection: duckdb.DuckDBPyConnection, rule: CheckedRule, recorded: list[dict[str, Any]]) -> RuleOutcome:
    if rule.cap:  # depends on which other rows are left: as it was decided
        values = [json.loads(fired["values"]) for fired in recorded if fired["rule"] == rule.name]
        return RuleOutcome(rule, bool(values), values[0] if values else {})
    fires = f"coalesce({rule.expression.sql}, false)"
    columns = "".join(f", {quoted(name)}" for name in rule.columns)
    row = connection.execute(f"SELECT {fires}{columns} FROM facts ORDER BY 1 DESC, image_no LIMIT 1").fetchone()
    if row is None:
        return RuleOutcome(rule, False, {})
    return RuleOutcome(rule, bool(row[0]), dict(zip(rule.columns, row[1:], strict=True)))
