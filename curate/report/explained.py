"""What ``curate explain`` and ``curate leaks`` print: rows, and why they were decided as they were."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.text import Text

from curate.kinds import MEANING, Kind
from curate.report.console import LONGEST_QUESTION, STYLES, plain_table, shown_value
from curate.report.contaminated import Leaks
from curate.rules.explain import RowExplanation
from curate.rules.find_row import FoundRows
from curate.settings.copies import CONTAMINATION_ACTIONS
from curate.workspace import ASSIGNED_SPLIT
from winnow.remote.addresses import shown
from winnow.text import counted, visible


def show_found_rows(found: FoundRows, folder: Path) -> None:
    """Print rows of which one may be meant, and how to choose it."""
    screen = Console()
    table = plain_table("id", "decision", "image", "question")
    for row in found.rows:
        question = row.question if len(row.question) <= LONGEST_QUESTION else f"{row.question[:LONGEST_QUESTION]}…"
        cells = (Text(visible(", ".join(row.images[:2])) or "–"), Text(visible(question)))
        table.add_row(Text(visible(row.sample_id)), Text(row.decision, style=STYLES[row.decision]), *cells)
    screen.print(table)
    more = f", {len(found.rows)} of them above" if found.count > len(found.rows) else ""
    example = escape(visible(shlex.quote(found.rows[0].sample_id)))
    screen.print(
        f"\n{found.count:,} rows fit{more}; choose one by its id:"
        f" curate explain {example} --curated {escape(shlex.quote(shown(folder)))}",
        highlight=False,
        soft_wrap=True,
    )


def show_explanation(found: RowExplanation) -> None:
    """Print an explanation."""
    screen = Console()
    sample, decision = found.sample, found.decision
    decided = decision["decision"]
    reason = f" by [bold]{escape(decision['reason'])}[/]" if decision["reason"] else ""
    split = f"  in {escape(sample[ASSIGNED_SPLIT])}" if sample.get(ASSIGNED_SPLIT) else ""
    screen.print(
        f"[bold]{escape(visible(sample['sample_id']))}[/]  [{STYLES[decided]}]{decided}[/]{reason}{split}",
        highlight=False,
    )
    about = [("images", ", ".join(sample["images"])), ("question", sample["question"]), ("answer", sample["answer"])]
    if found.image_names:
        about.insert(1, ("called", ", ".join(found.image_names)))
    for name, value in about:
        screen.print(f"  {name:<9} {escape(visible(value)) or '–'}", highlight=False, style="dim", soft_wrap=True)
    for error in found.image_errors:
        screen.print(Text(visible(f"  {error}"), style="yellow"), soft_wrap=True)
    table = plain_table("", "rule", "action", "fires when", "values")
    for outcome in found.rules:
        style = STYLES[outcome.rule.action] if outcome.fired else "dim"
        values = ", ".join(f"{name} = {shown_value(value)}" for name, value in outcome.values.items())
        cells = (
            "●" if outcome.fired else "○",
            outcome.rule.name,
            outcome.rule.action,
            outcome.rule.expression.text,
            values,
        )
        table.add_row(*(escape(visible(cell)) for cell in cells), style=style)
    screen.print(table)
    for fired in decision["rules"]:
        if fired["related_row"]:
            screen.print(
                f"{escape(fired['rule'])}: see [bold]{escape(visible(fired['related_row']))}[/]", highlight=False
            )
        if fired["rule"] == "correction":
            screen.print(f"a reviewer decided: {escape(str(json.loads(fired['values'])))}", highlight=False)
    if decision["duplicate_distance"] is not None and found.duplicates:
        screen.print(
            f"its image and the kept one's differ by {decision['duplicate_distance']:.2f} of 255 on average"
            f" (at most {found.duplicates.max_mean_diff:g} counts as the same),"
            f" their hashes in {decision['hamming']} of 64 bits",
            highlight=False,
        )
    if (kind := decision["duplicate_kind"]) and not decision["representative"]:
        screen.print(
            f"its image is a copy of that of [bold]{escape(visible(decision['edited_copy_of']))}[/]: {kind}"
            f" ({MEANING[kind]}), alike by {decision['duplicate_strength']:.2f} of 1 once that is undone",
            highlight=False,
        )
    for match in found.contamination:
        screen.print(
            escape(visible(f"{match['benchmark']}: {describe_match(match)}; see {match['evaluation']}")),
            highlight=False,
        )
    if found.stands_for:
        more = f" and {found.repeats - len(found.stands_for):,} more" if found.repeats > len(found.stands_for) else ""
        screen.print(f"it stands for {escape(', '.join(found.stands_for))}{more}, which repeat it", highlight=False)
    if found.rival:
        screen.print(f"same image and question, another answer: {escape(found.rival)}", highlight=False)
    for line, became in found.corrections:
        new = f" → {line.new}" if line.new else ""
        text = f"{line.reviewer} on {line.at:%Y-%m-%d}: {line.action}{new} ({became}, {line.correction_id})"
        screen.print(escape(visible(text)), highlight=False)


def show_leaks(found: Leaks, kinds: Sequence[Kind], out: Path | None) -> None:
    """Print what evaluation sets share with a set.

    Args:
        kinds: that were looked for; none: all that pixels tell.
        out: where the pairs were written.
    """
    screen = Console()
    for one in found.sets:
        screen.print(
            f"[bold]{escape(visible(one['benchmark']))}[/]: {counted(one['evaluation_rows'], 'row')},"
            f" {counted(one['evaluation_images'], 'image')}; [bold]{one['evaluation_images_found']:,}[/] of these"
            f" images found, in {one['rows']:,} of {counted(found.rows, 'row')} of the set",
            highlight=False,
        )
        if not one["kinds"]:
            continue
        table = plain_table("kind", "images", "rows", "for example", numbers="rows")
        for kind in one["kinds"]:
            shown = [example for example in one["examples"] if example["kind"] == kind["kind"]]
            examples = Text("\n".join(visible(_leak(example)) for example in shown))
            table.add_row(kind["kind"], f"{kind['images']:,}", f"{kind['rows']:,}", examples)
        screen.print(table)
        screen.print()
    sought = kinds or tuple(CONTAMINATION_ACTIONS)
    off = [kind for kind in CONTAMINATION_ACTIONS if kind not in sought]
    screen.print(f"looked for: {', '.join(sought)}", highlight=False)
    screen.print(
        f"not looked for: {', '.join([*off, 'semantic'])} (other pictures of the same thing: pixels do not tell)",
        style="dim",
        highlight=False,
    )
    if out:
        screen.print(f"pairs: {escape(str(out))}", highlight=False, soft_wrap=True)
    screen.print(f"measured in {escape(str(found.folder))}, which may be deleted", style="dim", soft_wrap=True)


def _leak(example: Mapping[str, Any]) -> str:
    if example["path"] is None:
        return f"{example['sample_id']} ↔ {example['evaluation']}"
    return f"{example['path']} ↔ {example['evaluation_path']} ({example['strength']:.2f})"


def describe_match(match: dict[str, Any]) -> str:
    """How a row of ``contamination.parquet`` matches, in words."""
    if match["match"] == "question":
        return "the same question is asked there"
    how = "byte for byte"
    if match["match"] == "look":
        differ = f"thumbnails differ by {match['distance']:.2f} of 255, hashes in {match['hamming']} of 64 bits"
        how = f"{match['kind']}: {differ}"
    if match["match"] == "edit":
        how = f"{match['kind']}: alike by {match['strength']:.2f} of 1 once that is undone"
    asked = ", where the same question is asked" if match["same_question"] else ""
    return f"same image as {match['evaluation_path']} ({how}){asked}"
