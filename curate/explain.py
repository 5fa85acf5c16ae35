"""Why a row has its fate: every rule in order, with values and thresholds, fired or not."""

from __future__ import annotations

import difflib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from curate.config import parse_recipe
from curate.errors import UserError
from curate.facts import create_facts, create_views, known_columns, parquet
from curate.manifest import read_manifest
from curate.policy import CheckedRule, check_rules
from curate.recipe import CurateRecipe, DuplicateSettings, all_rules
from curate.results import SAMPLES_TABLE
from curate.workspace import Workspace

_STYLES = {"keep": "green", "flag": "yellow", "drop": "red"}


@dataclass(frozen=True)
class RuleOutcome:
    """One rule on one sample.

    Attributes:
        rule: the rule.
        fired: whether it fired on any of the sample's images.
        values: column → value, of the image on which it fired, else of the first.
    """

    rule: CheckedRule
    fired: bool
    values: dict[str, Any]


@dataclass(frozen=True)
class Explanation:
    """Everything that curation knows about one sample.

    Attributes:
        sample: its row of ``samples.parquet``.
        decision: its row of ``decisions.parquet``.
        rules: all rules in order.
        contamination: its rows of ``contamination.parquet``.
        duplicates: what counted as near-identical, if the recipe sought duplicates.
    """

    sample: dict[str, Any]
    decision: dict[str, Any]
    rules: list[RuleOutcome]
    contamination: list[dict[str, Any]]
    duplicates: DuplicateSettings | None


def explain(folder: Path, sample_id: str) -> Explanation:
    """Evaluate every rule of a finished curation on one of its rows again.

    Raises:
        UserError: the folder is unfinished or has no such row (near ids are named).
    """
    manifest = read_manifest(folder, finish_with="curate run RECIPE")
    recipe = parse_recipe(manifest["recipe"], CurateRecipe, where=f"{folder}/manifest.json")
    space = Workspace(folder)
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    with duckdb.connect(":memory:") as connection:
        create_views(connection, space, recipe.losses)
        query = "SELECT * FROM {} WHERE sample_id = ?"
        samples = _rows(connection, query.format(parquet([folder / SAMPLES_TABLE])), sample_id)
        if not samples:
            raise UserError(f"{folder}: no row {sample_id!r}; {_near(connection, sample_id)}")
        decisions = _rows(connection, query.format(parquet([space.decisions])), sample_id)
        columns = dict.fromkeys(name for rule in rules for name in rule.expression.columns)
        create_facts(connection, columns, f"r.position = {int(samples[0]['position'])}")
        outcomes = [_outcome(connection, rule) for rule in rules]
        matches: list[dict[str, Any]] = []
        if space.contamination.is_file():
            matches = _rows(connection, query.format(parquet([space.contamination])), sample_id)
    return Explanation(samples[0], decisions[0], outcomes, matches, recipe.duplicates)


def _rows(connection: duckdb.DuckDBPyConnection, query: str, value: str) -> list[dict[str, Any]]:
    found = connection.execute(query, [value])
    names = [column[0] for column in found.description or []]
    return [dict(zip(names, row, strict=True)) for row in found.fetchall()]


def _outcome(connection: duckdb.DuckDBPyConnection, rule: CheckedRule) -> RuleOutcome:
    fires = f"coalesce({rule.expression.sql}, false)"
    columns = "".join(f', "{name}"' for name in rule.expression.columns)
    row = connection.execute(f"SELECT {fires}{columns} FROM facts ORDER BY 1 DESC, image_no LIMIT 1").fetchone()
    if row is None:
        return RuleOutcome(rule, False, {})
    return RuleOutcome(rule, bool(row[0]), dict(zip(rule.expression.columns, row[1:], strict=True)))


def _near(connection: duckdb.DuckDBPyConnection, sample_id: str) -> str:
    tail = sample_id.rsplit("/", 1)[-1]
    rows = connection.execute(
        "SELECT sample_id FROM rows ORDER BY jaro_winkler_similarity(sample_id, ?) DESC, position LIMIT 20", [sample_id]
    ).fetchall()
    ids = [str(row[0]) for row in rows]
    near = (
        difflib.get_close_matches(sample_id, ids, n=3, cutoff=0.5) or [one for one in ids if tail in one][:3] or ids[:3]
    )
    return f"did you mean {' or '.join(near)}?" if near else "it has no rows"


def show(found: Explanation) -> None:
    """Print an explanation."""
    screen = Console()
    sample, decision = found.sample, found.decision
    fate = decision["decision"]
    reason = f" by [bold]{escape(decision['reason'])}[/]" if decision["reason"] else ""
    screen.print(f"[bold]{escape(sample['sample_id'])}[/]  [{_STYLES[fate]}]{fate}[/]{reason}", highlight=False)
    for name in ("images", "question", "answer"):
        value = ", ".join(sample[name]) if isinstance(sample[name], list) else sample[name]
        screen.print(f"  {name:<9} {escape(value) or '–'}", highlight=False, style="dim")
    table = Table(box=None, pad_edge=False, header_style="dim")
    for heading in ("", "rule", "action", "fires when", "values"):
        table.add_column(heading, overflow="fold")
    for outcome in found.rules:
        style = _STYLES[outcome.rule.action] if outcome.fired else "dim"
        values = ", ".join(f"{name} = {_shown(value)}" for name, value in outcome.values.items())
        cells = (
            "●" if outcome.fired else "○",
            outcome.rule.name,
            outcome.rule.action,
            outcome.rule.expression.text,
            values,
        )
        table.add_row(*(escape(cell) for cell in cells), style=style)
    screen.print(table)
    for fired in decision["rules"]:
        if fired["kept_twin"]:
            screen.print(f"{escape(fired['rule'])}: see [bold]{escape(fired['kept_twin'])}[/]", highlight=False)
        if fired["rule"] == "correction":
            screen.print(f"a reviewer decided: {escape(str(json.loads(fired['values'])))}", highlight=False)
    if decision["duplicate_distance"] is not None and found.duplicates:
        screen.print(
            f"its picture and the kept one's differ by {decision['duplicate_distance']:.2f} of 255 on average (at most"
            f" {found.duplicates.confirm:g} counts as the same), their hashes in {decision['hamming']} of 64 bits",
            highlight=False,
        )
    for match in found.contamination:
        screen.print(escape(f"{match['benchmark']}: {_leak(match)}; see {match['evaluation']}"), highlight=False)


def _leak(match: dict[str, Any]) -> str:
    if match["match"] == "question":
        return "the same question is asked there"
    how = "byte for byte"
    if match["match"] == "look":
        how = f"thumbnails differ by {match['distance']:.2f} of 255, hashes in {match['hamming']} of 64 bits"
    asked = ", where the same question is asked" if match["same_question"] else ""
    return f"same picture as {match['evaluation_path']} ({how}){asked}"


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def columns_table() -> Table:
    """Every column that a rule may use: type, source, meaning."""
    table = Table(
        box=None, pad_edge=False, header_style="dim", title="Columns that rules may use", title_justify="left"
    )
    for heading in ("column", "type", "of", "meaning"):
        table.add_column(heading, overflow="fold")
    for name, column in known_columns().items():
        table.add_row(f"[bold]{name}[/]", column.type.lower(), column.table, escape(column.about))
    return table
