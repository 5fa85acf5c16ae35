"""``README.md`` of a curated folder: what went in, what came out, by which rules, with examples.

It is a dataset card of the Hugging Face hub: the front matter names licence, size and files.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from curate.card import sections
from curate.card.examples import Examples, examples
from curate.card.text import share
from curate.recipe import CurateRecipe
from curate.report.results import LEDGER, SAMPLES, SAMPLES_TABLE
from curate.rules.fates import CheckedRule
from curate.workspace import Workspace
from curate.writing.license import license_fields
from winnow.files import write_text

CARD = "README.md"
_SIZES = ((1_000, "n<1K"), (10_000, "1K<n<10K"), (100_000, "10K<n<100K"), (1_000_000, "100K<n<1M"), (10**7, "1M<n<10M"))


def write_card(
    space: Workspace,
    recipe: CurateRecipe,
    recipe_name: str,
    rules: list[CheckedRule],
    counts: dict[str, Any],
    root: Path,
    *,
    decode_examples: bool,
) -> Examples:
    """Write the dataset card and its thumbnails.

    Args:
        recipe_name: how to call the recipe in commands.
        counts: of ``summary.count_rows``.
        root: folder below which the images lie.
        decode_examples: see ``examples.examples``.
    """
    chosen = examples(space, recipe, rules, root, decode_pictures=decode_examples)
    parts = [
        _head(recipe, counts),
        sections.funnel(counts),
        sections.sources(recipe, counts),
        sections.splits(recipe, counts),
        sections.contamination(counts),
        sections.corrections(json.loads(space.corrections.read_text(encoding="utf-8"))),
        sections.rules(rules),
        chosen.text,
        _reproduce(recipe, recipe_name, root),
    ]
    write_text(space.folder / CARD, "\n\n".join(part for part in parts if part) + "\n")
    return chosen


def front_matter(recipe: CurateRecipe, kept: int) -> dict[str, Any]:
    """The YAML that the hub reads."""
    names = [one.license for one in recipe.sources if one.license]
    files = (
        [{"split": split, "path": f"samples-{split}.jsonl"} for split in recipe.splits.shares] if recipe.splits else []
    )
    return {
        "pretty_name": recipe.name,
        **license_fields(names),
        "task_categories": ["visual-question-answering"],
        "size_categories": [next((name for limit, name in _SIZES if kept < limit), "n>10M")],
        "configs": [{"config_name": "default", "data_files": files or [{"split": "train", "path": SAMPLES}]}],
    }


def _head(recipe: CurateRecipe, counts: dict[str, Any]) -> str:
    kept = counts["keep"] + counts["flag"]
    front = yaml.safe_dump(front_matter(recipe, kept), sort_keys=False, allow_unicode=True)
    parts = (
        [f"| `samples-{split}.jsonl` | those of the split |" for split in recipe.splits.shares] if recipe.splits else []
    )
    return "\n".join(
        [
            f"---\n{front}---",
            f"# {recipe.name}",
            "",
            f"{kept:,} of {counts['rows']:,} rows kept ({share(kept, counts['rows'])}), {counts['flag']:,} flagged;",
            f"{counts['drop']:,} dropped; {counts['images']:,} different images.",
            "",
            "| file | content |",
            "|---|---|",
            f"| `{SAMPLES}` | kept rows in input order, one JSON object a line |",
            *parts,
            f"| `{SAMPLES_TABLE}` | every input row with its decision |",
            "| `decisions.parquet` | every rule that fired on a row, with values and thresholds |",
            f"| `{LEDGER}` | dropped and flagged rows, readable with less |",
            "| `signals/` | what was measured, by image and by row |",
            "| `manifest.json` | recipe, digests of inputs and outputs, versions, counts, timings |",
        ]
    )


def _reproduce(recipe: CurateRecipe, recipe_name: str, root: Path) -> str:
    settings = yaml.safe_dump(
        recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False, allow_unicode=True
    )
    return f"""## Make it again

`curate run {recipe_name}` (image paths are relative to `{root}`). `curate explain SAMPLE_ID --curated {recipe.folder}`
says why a row has the fate it has.

```yaml
{settings}```"""
