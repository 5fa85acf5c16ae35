"""``README.md`` of a curated folder: what went in, what came out, by which rules, with examples."""

from __future__ import annotations

import html
import json
import os
from pathlib import Path
from typing import Any
from urllib.parse import quote

import duckdb
import yaml

from curate.atomic import write_text
from curate.facts import literal, parquet
from curate.policy import CheckedRule
from curate.recipe import CurateRecipe
from curate.results import LEDGER, SAMPLES, SAMPLES_TABLE
from curate.workspace import Workspace

CARD = "README.md"
_EXAMPLES = 4
_LONGEST = 120


def write_card(
    space: Workspace,
    recipe: CurateRecipe,
    recipe_name: str,
    rules: list[CheckedRule],
    counts: dict[str, Any],
    root: Path,
) -> Path:
    """Write the dataset card.

    Args:
        recipe_name: how to call the recipe in commands.
        counts: of ``summary.count_rows``.
        root: folder below which the images lie.
    """
    path = space.folder / CARD
    parts = [
        _head(recipe, counts),
        _funnel(counts),
        _sources(counts),
        _contamination(counts),
        _rules(rules),
        _examples(space, recipe.seed, rules, root),
        _reproduce(recipe, recipe_name, root),
    ]
    write_text(path, "\n\n".join(part for part in parts if part) + "\n")
    return path


def _head(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    kept = counts["keep"] + counts["flag"]
    front = yaml.safe_dump(
        {"pretty_name": recipe.name, "task_categories": ["visual-question-answering"]}, sort_keys=True
    )
    return f"""---
{front}---
# {recipe.name}

{kept:,} of {counts["rows"]:,} rows kept ({_share(kept, counts["rows"])}), {counts["flag"]:,} of them flagged;
{counts["drop"]:,} dropped; {counts["images"]:,} different images.

| file | content |
|---|---|
| `{SAMPLES}` | kept rows in input order, one JSON object a line |
| `{SAMPLES_TABLE}` | every input row with its decision |
| `decisions.parquet` | every rule that fired on a row, with values and thresholds |
| `{LEDGER}` | dropped and flagged rows, readable with less |
| `signals/` | what was measured, by image and by row |
| `manifest.json` | recipe, digests of inputs and outputs, versions, counts, timings |"""


def _funnel(counts: dict[str, Any]) -> str:
    left = counts["rows"]
    lines = [
        "## Funnel",
        "",
        "`fired` counts rows on which the rule fired; `reason` those that it took out, because no dropping",
        "rule before it had; `alone` those that no other rule fired on.",
        "",
        "| rule | action | fired | alone | reason | rows left |",
        "|---|---|--:|--:|--:|--:|",
        f"| input | | | | | {left:,} |",
    ]
    for rule in counts["rules"]:
        left -= rule["reason"]
        numbers = " | ".join(f"{number:,}" for number in (rule["fired"], rule["alone"], rule["reason"], left))
        lines.append(f"| {rule['rule']} | {rule['action']} | {numbers} |")
    if counts["corrections"]:
        fates = ", ".join(f"{number:,} {fate}" for fate, number in counts["corrections"].items())
        lines += ["", f"Reviewers' corrections: {fates} (`corrections.json`)."]
    return "\n".join(lines)


def _sources(counts: dict[str, Any]) -> str:
    lines = ["## Sources", "", "| source | rows | kept | flagged | dropped |", "|---|--:|--:|--:|--:|"]
    for one in counts["sources"]:
        lines.append(
            f"| {_cell(one['source'])} | {one['rows']:,} | {one['keep']:,} | {one['flag']:,} | {one['drop']:,} |"
        )
    return "\n".join(lines)


def _contamination(counts: dict[str, Any]) -> str:
    if not counts["contamination"]:
        return ""
    lines = [
        "## Contamination",
        "",
        "Pictures that are also in an evaluation set; `contamination.parquet` lists them.",
        "",
        "| benchmark | images | byte for byte | by look | rows | with the same question |",
        "|---|--:|--:|--:|--:|--:|",
    ]
    for one in counts["contamination"]:
        same = one["images_by_bytes"]
        numbers = (one["images"], same, one["images"] - same, one["rows"], one["rows_with_same_question"])
        lines.append(f"| {_cell(one['benchmark'])} | {' | '.join(f'{number:,}' for number in numbers)} |")
    return "\n".join(lines)


def _rules(rules: list[CheckedRule]) -> str:
    lines = [
        "## Rules",
        "",
        "In the order in which a reason is sought.",
        "",
        "| rule | action | fires when |",
        "|---|---|---|",
    ]
    lines += [f"| {rule.name} | {rule.action} | {_cell(rule.expression.text, code=True)} |" for rule in rules]
    return "\n".join(lines)


def _examples(space: Workspace, seed: int, rules: list[CheckedRule], root: Path) -> str:
    parts = ["## Examples"]
    up = os.path.relpath(root.absolute(), space.folder.absolute())
    with duckdb.connect(":memory:") as connection:
        for rule in rules:
            rows = connection.execute(f"""
                SELECT s.sample_id, CASE WHEN coalesce(p.error, '') IN ('', 'wrong_extension') THEN s.images[1] END,
                       s.question, s.answer, fired.values, fired.kept_twin
                FROM (SELECT position, unnest(rules) AS fired FROM {parquet([space.decisions])}) d
                JOIN {parquet([space.folder / SAMPLES_TABLE])} s USING (position)
                LEFT JOIN {parquet([space.paths])} p ON p.path = s.images[1]
                WHERE fired.rule = {literal(rule.name)}
                ORDER BY md5({seed} || s.sample_id), s.sample_id LIMIT {_EXAMPLES}
            """).fetchall()
            if rows:
                parts.append(_example_table(rule.name, rows, up, root))
    return "\n\n".join(parts) if len(parts) > 1 else ""


def _example_table(name: str, rows: list[tuple[Any, ...]], up: str, root: Path) -> str:
    lines = [f"### {name}", "", "| image | row | question | answer | because | instead |", "|---|---|---|---|---|---|"]
    for sample_id, image, question, answer, values, twin in rows:
        because = ", ".join(f"{key} {_number(value)}" for key, value in json.loads(values or "{}").items())
        cells = [
            _picture(image, up, root),
            *(_cell(text or "") for text in (sample_id, question, answer, because, twin)),
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines)


def _picture(image: str | None, up: str, root: Path) -> str:
    if image is None or image.startswith("/") or ".." in Path(image).parts or not (root / image).is_file():
        return "–"
    return f'<img src="{quote(f"{up}/{image}")}" width="64">'


def _number(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def _reproduce(recipe: CurateRecipe, recipe_name: str, root: Path) -> str:
    settings = yaml.safe_dump(
        recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True
    )
    return f"""## Make it again

`curate run {recipe_name}` (image paths are relative to `{root}`). `curate explain SAMPLE_ID --curated {recipe.folder}`
says why a row has the fate it has.

```yaml
{settings}```"""


def _cell(text: str, *, code: bool = False) -> str:
    """Text of a dataset as text: no Markdown, no HTML, one line, not too long."""
    flat = " ".join(text.split())
    short = flat if len(flat) <= _LONGEST or code else flat[: _LONGEST - 1] + "…"
    escaped = html.escape(short, quote=False).replace("|", "&#124;").replace("`", "&#96;")
    if code:
        return f"<code>{escaped}</code>"
    return "".join(f"\\{character}" if character in "\\*_[]!#~" else character for character in escaped).replace(
        "&\\#", "&#"
    )


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.1%}" if whole else "–"
