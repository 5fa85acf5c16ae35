"""What the commands of ``curate`` print; text of a dataset is printed as text, never as markup."""

from __future__ import annotations

import json
import shlex
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table
from rich.text import Text

from curate.exports.export import Exported
from curate.kinds import MEANING, Kind
from curate.readers import LAYOUTS
from curate.readers.facts import SourceFacts, shortened
from curate.readers.inspect import Inspection
from curate.readers.unclaimed import unused_fields, warnings
from curate.recipe import CONTAMINATION_ACTIONS, SourceSettings
from curate.report.diff import CurationDiff, Example
from curate.report.results import Leaks
from curate.rules.columns import FORMS, known_columns
from curate.rules.explain import RowExplanation
from curate.rules.find_row import FoundRows
from curate.workspace import ASSIGNED_SPLIT, Workspace
from winnow.records import to_record
from winnow.selections import PROOFS
from winnow.storage import shown
from winnow.text import counted, share, visible

_BAR = 24
_STYLES = {"keep": "green", "flag": "yellow", "drop": "red", "absent": "dim"}


def show_selection(of: Path, written: Sequence[tuple[Path, dict[str, Any], bool]]) -> None:
    """The folders of a selection, what earlier selections of the set have brought, and how to prove this one."""
    for folder, counts, was_there in written:
        taken = counts["keep"] + counts["flag"]
        print(f"{shown(folder)}: {counted(taken, 'row')}{', is up to date' if was_there else ''}")
    proofs = sorted((of / PROOFS).glob("*.json"))
    for proof in proofs:
        print(json.loads(proof.read_text(encoding="utf-8"))["sentence"])
    if not proofs:
        print("not proven: no selection of this set was trained on and compared with its random rows yet")
    if len(written) > 1:
        print("next: train on both, evaluate both, then `evalsuite chosen EVAL_OF_CHOSEN EVAL_OF_RANDOM`")


def _table(*headings: str, numbers: str = "", title: str | None = None) -> Table:
    """An open table whose long cells wrap; the column ``numbers`` is aligned to the right."""
    table = Table(box=None, pad_edge=False, header_style="dim", title=title, title_justify="left")
    for heading in headings:
        table.add_column(heading, justify="right" if heading == numbers else "left", overflow="fold")
    return table


def show_summary(counts: dict[str, Any], seconds: dict[str, float], workspace: Workspace, recipe: str) -> None:
    """Print the funnel, the time that each step took, and what to do next."""
    screen = Console()
    rows = counts["rows"]
    table = Table(box=None, pad_edge=False, header_style="dim", show_footer=True, footer_style="bold")
    table.add_column("rule", footer="out", no_wrap=True)
    table.add_column("action", footer="")
    table.add_column("fired", justify="right", footer="")
    table.add_column("left", justify="right", footer=f"{counts['keep'] + counts['flag']:,}")
    table.add_column("share", justify="right", footer=share(counts["keep"] + counts["flag"], rows))
    table.add_column("", footer=_bar(counts["keep"] + counts["flag"], rows, "green"), min_width=_BAR)
    left = rows
    table.add_row("in", "", "", f"{rows:,}", "", _bar(rows, rows, "blue"), style="bold")
    for rule in counts["rules"]:
        if not rule["fired"]:
            continue
        left -= rule["reason"]
        table.add_row(
            rule["rule"],
            Text(rule["action"], style=_STYLES[rule["action"]]),
            f"{rule['fired']:,}",
            f"{left:,}",
            share(rule["fired"], rows),
            _bar(rule["fired"], rows, _STYLES[rule["action"]]),
        )
    screen.print()
    screen.print(table)
    idle = [rule["rule"] for rule in counts["rules"] if not rule["fired"] and rule["rule"] != "bad_row"]
    if idle:
        screen.print(f"fired on no row: {', '.join(idle)}", style="dim", highlight=False)
    for found in counts["image_errors"][:_IMAGE_ERRORS_SHOWN]:
        detail = f": {found['detail']}" if found["detail"] else ""
        line = f"images: {found['images']:,} {found['error']}, such as {found['example']}{detail}"
        screen.print(Text(visible(line), style="yellow"), soft_wrap=True)
    read = [SourceFacts.model_validate(each) for each in counts["read"]]
    for facts in read:
        if facts.bad_rows:
            line = f"rows: {facts.bad_rows:,} unreadable, such as {facts.first_bad}"
            screen.print(Text(visible(line), style="yellow"), soft_wrap=True)
    for rule in counts["rules"]:
        if rule["action"] == "drop" and rule["unvalidated"]:
            line = (
                f"rule {rule['rule']} drops by {' or '.join(rule['unvalidated'])} alone, which is not validated: look"
                f" at its {counted(rule['fired'], 'row')}, then let it flag, or write on what it is `validated:`"
            )
            screen.print(Text(visible(f"{line} in {recipe}"), style="yellow"), soft_wrap=True)
        chosen = rule["rule"] not in ("bad_row", "correction") and "error" not in rule["columns"]
        if chosen and rows / 2 < rule["reason"] < rows:
            line = (
                f"rule {rule['rule']} dropped {rule['reason']:,} of {rows:,} rows; to keep them, set its action to flag"
            )
            screen.print(Text(visible(f"{line} in {recipe} and decide again"), style="yellow"), soft_wrap=True)
    show_reading(screen, read, {column for rule in counts["rules"] for column in rule["columns"]})
    screen.print(
        f"\nkept {counts['keep']:,}, flagged {counts['flag']:,} (kept too), dropped {counts['drop']:,} of {rows:,} rows"
        f" about {counted(counts['images'], 'different image')}",
        highlight=False,
    )
    if counts["copies"]:
        screen.print(f"copies among the rows: {by_kind(counts['copies'])}", highlight=False)
    for found in counts["contamination"]:
        kinds = f" ({by_kind(found['kinds'])})" if found["kinds"] else ""
        screen.print(
            f"{counted(found['images'], 'image')} also in {escape(found['benchmark'])};"
            f" {counted(found['rows'], 'row')}{kinds}, {found['rows_dropped']:,} dropped",
            highlight=False,
        )
    if counts["splits"]:
        totals: dict[str, int] = {}
        for source in counts["splits"]:
            for name, number in source["rows"].items():
                totals[name] = totals.get(name, 0) + number
        screen.print(f"splits: {', '.join(f'{name} {totals[name]:,}' for name in sorted(totals))}", highlight=False)
    if counts["corrections"]:
        statuses = ", ".join(f"{number:,} {status}" for status, number in counts["corrections"].items())
        screen.print(f"reviewers' corrections: {statuses}", highlight=False)
    times = ", ".join(f"{name} {value:.1f} s" for name, value in seconds.items() if value >= 0.05)
    screen.print(f"{sum(seconds.values()):.1f} s: {times}" if times else "", style="dim", highlight=False)
    data = workspace.folder.parents[1] if workspace.folder.parent.name == "curated" else None
    name = escape(f"{shown(workspace.folder)}/")
    screen.print(
        f"\n[bold]{name}[/]  README.md (card), samples.jsonl, ledger.jsonl, decisions.parquet", highlight=False
    )
    _show_next(
        screen,
        (
            f"curate explain ROW --curated {shlex.quote(shown(workspace.folder))}",
            "says why; ROW: id, image or words of a question",
        ),
        (f"curate decide {shlex.quote(recipe)}", "after an edit of its rules; opens no image"),
        *([(f"dashboards --data {shlex.quote(str(data))}", "the rows in a browser")] if data else []),
    )


def by_kind(kinds: Sequence[Mapping[str, Any]]) -> str:
    """``12 exact, 3 cropped``: rows of each kind."""
    return ", ".join(f"{found['rows']:,} {found['kind']}" for found in kinds)


def _show_next(screen: Console, *commands: tuple[str, str]) -> None:
    """Print what to do next: commands, each with what it does behind it, or below it where the line is too long."""
    for command, what in commands:
        line = f"next: {visible(command)}"
        gap = "  " if len(line) + 2 + len(what) <= screen.width else f"\n{' ' * 6}"
        screen.print(Text.assemble(line, (gap + what, "dim")), soft_wrap=True)


def show_nothing_kept(cause: str, rows: int) -> None:
    """Print the error of a curation that kept no row, in red where the terminal has colours."""
    line = Text(visible(f"error: kept none of {counted(rows, 'row')}: {cause}"), style="bold red")
    Console(stderr=True).print(line, soft_wrap=True)


_FIELDS_SHOWN, _WARNINGS_SHOWN, _IMAGE_ERRORS_SHOWN = 8, 8, 4


def show_reading(screen: Console, read: Sequence[SourceFacts], used: Collection[str] = ()) -> None:
    """Print what reading has assumed, and the fields that nothing uses, with what to write to use them.

    Args:
        used: columns of the rules.
    """
    found = [(facts, unused) for facts in read for unused in unused_fields(facts, used)]
    told = [warning for facts in read for warning in warnings(facts)]
    if told:
        screen.print()
    for warning in told[:_WARNINGS_SHOWN]:
        screen.print(Text(f"note: {warning}", style="yellow"))
    if len(told) > _WARNINGS_SHOWN:
        screen.print(f"… and {len(told) - _WARNINGS_SHOWN:,} more notes", style="dim")
    if not found:
        return
    several = len(read) > 1
    table = _table(
        "field", *(["source"] if several else []), "filled in", "for example", "to use it", numbers="filled in"
    )
    for facts, unused in found[:_FIELDS_SHOWN]:
        field = unused.field
        cells = [shortened(field.name), *([Path(facts.location).name] if several else [])]
        cells += [f"{field.rows:,} of {facts.rows:,}", field.example, unused.remedy]
        table.add_row(*map(Text, cells))
    screen.print(Text("\nfields that nothing uses, kept under `meta`:", style="yellow"))
    screen.print(table)
    if len(found) > _FIELDS_SHOWN:
        names = ", ".join(shortened(unused.field.name) for _, unused in found[_FIELDS_SHOWN:][:_NAMES_SHOWN])
        screen.print(Text(f"… and {len(found) - _FIELDS_SHOWN:,} more: {names}", style="dim"))


def _bar(part: int, whole: int, color: str) -> Text:
    cells = part / whole * _BAR if whole else 0
    full, rest = int(cells), cells - int(cells)
    end = "" if part == 0 else "▏▎▍▌▋▊▉█"[int(rest * 8)] if rest > 0 or not full else ""
    return Text("█" * full + end, style=color)


def show_found_rows(found: FoundRows, folder: Path) -> None:
    """Print rows of which one may be meant, and how to choose it."""
    screen = Console()
    table = _table("id", "decision", "image", "question")
    for row in found.rows:
        question = row.question if len(row.question) <= _LONGEST_QUESTION else f"{row.question[:_LONGEST_QUESTION]}…"
        cells = (Text(visible(", ".join(row.images[:2])) or "–"), Text(visible(question)))
        table.add_row(Text(visible(row.sample_id)), Text(row.decision, style=_STYLES[row.decision]), *cells)
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
        f"[bold]{escape(visible(sample['sample_id']))}[/]  [{_STYLES[decided]}]{decided}[/]{reason}{split}",
        highlight=False,
    )
    about = [("images", ", ".join(sample["images"])), ("question", sample["question"]), ("answer", sample["answer"])]
    if found.image_names:
        about.insert(1, ("called", ", ".join(found.image_names)))
    for name, value in about:
        screen.print(f"  {name:<9} {escape(visible(value)) or '–'}", highlight=False, style="dim", soft_wrap=True)
    for error in found.image_errors:
        screen.print(Text(visible(f"  {error}"), style="yellow"), soft_wrap=True)
    table = _table("", "rule", "action", "fires when", "values")
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
        table = _table("kind", "images", "rows", "for example", numbers="rows")
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


def show_diff(found: CurationDiff) -> None:
    """Print the comparison: totals, rules that changed, one line a transition with examples."""
    screen = Console()
    screen.print(
        f"[bold]{found.changed:,}[/] rows changed, {found.same:,} did not; {found.new:,} new, {found.gone:,} gone"
        f"  [dim]({escape(found.a)} → {escape(found.b)})[/]",
        highlight=False,
    )
    if found.rules:
        changes = _table("rule", "was", "now")
        for change in found.rules:
            changes.add_row(change.rule, escape(change.was or "–"), escape(change.now or "–"))
        screen.print()
        screen.print(changes)
    if found.transitions:
        table = _table("rows", "was", "now", "for example", numbers="rows")
        for way in found.transitions:
            examples = "; ".join(escape(visible(_example(example))) for example in way.examples)
            table.add_row(f"{way.rows:,}", _decision(way.was, way.was_by), _decision(way.now, way.now_by), examples)
        screen.print()
        screen.print(table)


def _decision(decision: str, rule: str | None) -> str:
    return f"[{_STYLES[decision]}]{decision}[/]" + (f" {escape(rule)}" if rule else "")


def _example(example: Example) -> str:
    values = ", ".join(f"{name} {_shown(value)}" for name, value in example.values.items())
    return f"{example.sample_id} ({values})" if values else example.sample_id


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


def _shown(value: Any) -> str:
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, list):
        return ", ".join(map(_shown, value))
    return f"{value:.4g}" if isinstance(value, float) else str(value)


_LONGEST_ROW, _LONGEST_QUESTION = 600, 120
_NAMES_SHOWN = 8


def show_inspection(found: Inspection, console: Console | None = None) -> None:
    """Print layout and counts, the first rows, and every class of problem with its first example."""
    console = console or Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    for name, value in _facts(found):
        table.add_row(Text(name, style="dim"), Text(visible(str(value))))
    console.print(table)
    for number, sample in enumerate(found.examples, start=1):
        console.print(Text(f"\nrow {number}", style="bold"))
        line = visible(json.dumps(to_record(sample), ensure_ascii=False))
        console.print(Text(line if len(line) <= _LONGEST_ROW else line[:_LONGEST_ROW] + " …"))
    show_reading(console, [found.facts])
    _show_problems(found, console)
    location = _as_arguments(found.settings)
    console.print()
    if not found.rows:
        _show_next(
            console,
            (f"curate inspect {location} --columns ROLE=FIELD", "says what a field is, e.g. answer=label"),
            (f"curate inspect {location} --as LAYOUT", "reads another layout; `curate sources` lists them"),
        )
        return
    _show_next(
        console,
        (f"curate run {location}", "curates it with the shipped policy"),
        (f"curate init {location}", "writes only the recipe, to edit"),
    )


def _as_arguments(settings: SourceSettings) -> str:
    """A source as `curate run`, `init` and `inspect` take it, for a shell."""
    given = settings.model_dump(exclude_defaults=True)
    arguments = [given.pop("location")]
    for role, column in given.pop("columns", {}).items():
        arguments += ["--columns", f"{role}={column}"]
    for key, value in given.items():
        option = "--as" if key == "layout" else f"--{key.replace('_', '-')}"
        arguments += [option] if value is True else [option, str(value)]
    return shlex.join(arguments)


def _show_problems(found: Inspection, console: Console) -> None:
    console.print(Text("\nwhat is wrong", style="bold"))
    if not (found.row_problems or found.image_problems):
        console.print(f"nothing found ({counted(found.images_checked, 'image')} decoded)")
        return
    wrong = _table("what", "how many", "meaning", "examples", numbers="how many")
    read = found.rows + found.bad_rows
    for problems, total in ((found.row_problems, read), (found.image_problems, found.images_checked)):
        for problem in problems:
            count = f"{problem.count:,} of {total:,}"
            wrong.add_row(
                problem.name, count, Text(visible(problem.meaning)), Text(visible("\n".join(problem.examples)))
            )
    console.print(wrong)
    if found.images > found.images_checked:
        console.print(f"images: {found.images_checked:,} of {found.images:,} were decoded")


def _facts(found: Inspection) -> list[tuple[str, Any]]:
    fewest, most = found.votes
    return [
        ("location", found.settings.location),
        ("layout", found.layout),
        ("image root", found.image_root),
        *([("also reads", ", ".join(map(str, found.also_read)))] if found.also_read else []),
        *([("licence", found.license)] if found.license else []),
        ("rows", f"{found.rows:,}"),
        ("unreadable rows", f"{found.bad_rows:,}"),
        ("rows without answers", f"{found.unanswered:,}"),
        *([("answers a row", f"{fewest:,}" if fewest == most else f"{fewest:,} to {most:,}")] if most > 0 else []),
        ("images", counted(found.images, "distinct path")),
        ("rows without an image", f"{found.text_only:,}"),
        ("rows with several images", f"{found.several_images:,}"),
        *([("splits", _counted(found.splits))] if any(found.splits) else []),
        *([("question types", _counted(found.question_types))] if found.question_types else []),
    ]


def _counted(names: Mapping[str, int]) -> str:
    """``train 12, val 3``, the most frequent first, at most eight."""
    ordered = sorted(names.items(), key=lambda item: (-item[1], item[0]))
    shown = ", ".join(f"{name or '(none)'} {count:,}" for name, count in ordered[:_NAMES_SHOWN])
    return f"{shown}, … ({len(ordered):,} in all)" if len(ordered) > _NAMES_SHOWN else shown


def sources_table() -> Table:
    """One row a layout: its name, the first line of its module's docstring, an entry of ``sources:``."""
    table = _table("layout", "what it is, and an entry of `sources:`")
    for name, layout in LAYOUTS.items():
        about = [Text(layout.title), Text(f"- {layout.example}", style="dim")]
        table.add_row(Text(name, style="bold"), Text("\n").join(about))
    return table


def show_export(done: Exported) -> None:
    """Print what the export holds, and how many rows do not fit its format."""
    screen = Console()
    state = "" if done.fresh else "is up to date: "
    splits = ", ".join(f"{name} {rows:,}" for name, rows in done.counts["splits"].items())
    screen.print(
        f"[bold]{shown(done.folder)}/[/]  {state}{counted(done.counts['rows'], 'row')} ({splits}),"
        f" {counted(done.counts['images'], 'image')}; README.md says how to load it",
        highlight=False,
        soft_wrap=True,
    )
    if done.counts["rejected"]:
        rejected = counted(done.counts["rejected"], "row")
        screen.print(f"rejected by the format: {rejected}; {shown(done.folder)}/rejects.jsonl says why", soft_wrap=True)


def columns_table() -> Table:
    """Every column that a rule may use: type, source, meaning."""
    table = _table("column", "type", "of", "meaning", title="Columns that rules may use")
    for name, column in known_columns().items():
        table.add_row(f"[bold]{name}[/]", column.type.lower(), column.table, escape(column.meaning))
    table.add_section()
    for form, about in FORMS.items():
        table.add_row(f"[bold]{escape(form)}[/]", "", "the set" if "meta" not in form else "rows", escape(about))
    return table
