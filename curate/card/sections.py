"""The parts of a dataset card that are tables of numbers."""

from __future__ import annotations

from typing import Any

from curate.card.text import cell, table
from curate.recipe import CurateRecipe
from curate.rules.fates import CheckedRule

_FATES = {
    "applied": "changed the row, or decided its fate",
    "noted": "kept for evaluation, changes nothing here",
    "stale": "the row is not the one that the reviewer saw",
    "conflict": "two reviewers disagree; nothing was done",
    "superseded": "the same reviewer decided again later",
    "undone": "taken back by the reviewer",
    "elsewhere": "about a row that is not in this set",
}
_LISTED = 10


def funnel(counts: dict[str, Any]) -> str:
    """Rules in order with what each took out."""
    left = counts["rows"]
    rows = [["input", "", "", "", "", f"{left:,}"]]
    for rule in counts["rules"]:
        left -= rule["reason"]
        numbers = (rule["fired"], rule["alone"], rule["reason"], left)
        rows.append([rule["rule"], rule["action"], *(f"{number:,}" for number in numbers)])
    return f"""## Funnel

`fired` counts rows on which the rule fired; `reason` those that it took out, because no dropping
rule before it had; `alone` those that no other rule fired on.

{table(["rule", "action", "fired", "alone", "reason", "rows left"], rows, numbers_from=2)}"""


def sources(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Rows of each source, and where they came from under which licence."""
    columns = ("rows", "keep", "flag", "drop")
    rows = [[cell(one["source"]), *(f"{one[name]:,}" for name in columns)] for one in counts["sources"]]
    places = [[cell(one.location, code=True), cell(one.license or "not stated")] for one in recipe.sources]
    return f"""## Sources

{table(["source", "rows", "kept", "flagged", "dropped"], rows, numbers_from=1)}

{table(["read from", "licence"], places)}"""


def splits(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    """Rows of each split by source."""
    if not counts["splits"] or not recipe.splits:
        return ""
    named = list(recipe.splits.shares)
    rows = []
    for one in counts["splits"]:
        numbers = [f"{one['rows'].get(name, 0):,} ({one['rows'].get(name, 0) / one['total']:.1%})" for name in named]
        rows.append([cell(one["source"]), *numbers])
    asked = ", ".join(f"{name} {share:g}" for name, share in recipe.splits.shares.items())
    return f"""## Splits

Asked for: {asked}, seed {recipe.splits.seed}. Rows about the same or near-identical pictures are in one split.

{table(["source", *named], rows, numbers_from=1)}"""


def contamination(counts: dict[str, Any]) -> str:
    """Pictures and questions that evaluation sets hold too."""
    if not counts["contamination"]:
        return ""
    rows = []
    for one in counts["contamination"]:
        same = one["images_by_bytes"]
        images = (one["images"], same, one["images"] - same)
        numbers = (*images, one["rows"], one["rows_with_same_question"], one["rows_dropped"])
        rows.append([cell(one["benchmark"]), *(f"{number:,}" for number in numbers)])
    headings = ["benchmark", "images", "byte for byte", "by look", "rows", "with the same question", "dropped"]
    return f"""## Contamination

What is also in an evaluation set; `contamination.parquet` lists it row by row.

{table(headings, rows, numbers_from=1)}"""


def corrections(report: dict[str, Any]) -> str:
    """What became of the reviewers' lines; those that need a second look by id."""
    if not report["counts"]:
        return ""
    rows = [[fate, f"{number:,}", _FATES.get(fate, "")] for fate, number in report["counts"].items()]
    listed = [f"{table(['fate', 'lines', 'meaning'], rows)}"]
    for fate in ("conflict", "stale"):
        ids = [one for one, found in report["lines"].items() if found == fate]
        if ids:
            more = f" and {len(ids) - _LISTED:,} more" if len(ids) > _LISTED else ""
            listed.append(f"{fate.capitalize()}: {', '.join(cell(one) for one in ids[:_LISTED])}{more}.")
    return "\n\n".join(["## Corrections", "Reviewers' lines; `corrections.json` has the fate of each.", *listed])


def rules(checked: list[CheckedRule]) -> str:
    """Every rule with its condition, which holds the thresholds."""
    rows = [[rule.name, rule.action, cell(rule.expression.text, code=True)] for rule in checked]
    return f"""## Rules

In the order in which a reason is sought.

{table(["rule", "action", "fires when"], rows)}"""
