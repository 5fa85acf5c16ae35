"""Results as CSV tables, plots and a Markdown section: every number in the text is computed here.

A table is a list of rows; the first row is the heading.
"""

from __future__ import annotations

import csv
import io
import json
import os
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from studies.demo.plots import draw_blur, draw_copies, draw_curves, draw_main
from winnow.errors import UserError
from winnow.files import write_text
from winnow.text import table


def section(report: dict[str, Any], plots: Path) -> str:
    """The Markdown text about all parts that have run.

    Args:
        plots: folder of the plots, as the page links to it.
    """
    parts = {"main": _main, "rules": _rules, "photos": _photos}
    texts = [text(report[name], plots.as_posix()) for name, text in parts.items() if name in report]
    return "\n\n".join(texts) + "\n"


def headline(main: dict[str, Any]) -> str:
    """The result in one line: of the comparison with the largest gap, how much of it curation wins back."""
    widest = max(main["comparisons"], key=lambda one: one["untouched"]["gap_won_back"]["gap"])
    found, rates = widest["untouched"], widest["rates"]
    return (
        f"{percent(2 * rates['answers'], 0)} of the questions spoiled: curated minus dirty"
        f" {points(found['curated_minus_dirty'])} points, gap won back {share(found['gap_won_back'])}"
    )


def _main(main: dict[str, Any], out: str) -> str:
    settings, compared = main["settings"], main["comparisons"]
    training, dirty = settings["training"], compared[0]["untouched"]["accuracy"]["dirty"]
    mistakes = "\n".join(f"- {_rates(one)}: {_mistakes(one['rows'])}" for one in compared)
    return (
        f"**Sets** ({main['made_by']}). *Clean* has the {compared[0]['rows']['sets']['clean']:,} questions about"
        f" {' and '.join(settings['kinds'])} of easy-vqa's first {settings['images']} images. *Dirty* has every defect"
        " that the demo knows, at two rates. The rate of pictures is the share of images that are blurred, of those"
        " that are there a second time as a re-encoded or resized copy, of those that are broken files, and of the test"
        " images that are leaked. The rate of answers is the share of questions that are answered wrongly, and of"
        " those that a second row contradicts. *Curated* is what `curate run` with the demo's recipe keeps.\n\n"
        f"**Training.** {training['steps']} steps of {training['batch_size']} rows, LoRA on the demo's model."
        " The arms of a seed start from the same weights, see as many rows, none of them twice, and have the rows that"
        " their sets share in the same batches.\n\n"
        f"**Test.** {dirty['n']:,} questions about {dirty['images']:,} images, the same for all; none is about an image"
        " that was leaked.\n\n"
        f"{markdown(main_rows(main))}\n\n"
        "The 95% intervals are bootstrapped over seeds and images, drawn once for all arms. Of made-up arms of five"
        " seeds, at least 9 of 10 such intervals hold the true share (`tests/studies/test_proof_compare.py`).\n\n"
        f"![Accuracy of the arms]({out}/main.png)\n\n"
        f"What curation did wrong:\n\n{mistakes}"
    )


def _rates(compared: dict[str, Any]) -> str:
    rates = compared["rates"]
    return f"pictures {percent(rates['pictures'], 0)}, answers {percent(rates['answers'], 0)}"


def _mistakes(rows: dict[str, Any]) -> str:
    kept = ", ".join(f"{count} ({name.replace('_', ' ')})" for name, count in rows["kept"].items()) or "none"
    lost = ", ".join(f"{count} by the rule {reason}" for reason, count in rows["lost"].items()) or "none"
    return (
        f"of {rows['sets']['dirty']:,} rows that can be read it kept {rows['sets']['curated']:,}, {kept} of them with a"
        f" defect. Rows without a defect that it dropped, and of which no copy stayed: {lost}."
    )


def _rules(rules: dict[str, Any], out: str) -> str:
    return (
        f"**Every rule against the truth** ({rules['made_by']}; all types of question, {rules['of']}):\n\n"
        f"{markdown(rule_rows(rules))}\n\nThresholds, chosen on the images with even numbers and reported on those with"
        f" odd numbers:\n\n{markdown(threshold_rows(rules))}\n\n"
        f"![Recall and precision over the threshold]({out}/rules.png)"
    )


def _photos(photos: dict[str, Any], out: str) -> str:
    versions = ", ".join(f"{name} {number}" for name, number in photos["peers"].items())
    return (
        f"**Real photographs, drawings, pages and forms**, the same images for all tools ({photos['made_by']},"
        f" {versions}). Area under the ROC"
        f" curve for ranking blurred photographs before sharp images:\n\n{markdown(blur_rows(photos['blur']))}\n\nShare"
        " of copies found (re-encoded as JPEG or WebP, or resized) and number of pairs of different images joined:\n\n"
        f"{markdown(copy_rows(photos['copies']))}\n\n"
        f"![Area under the ROC curve by strength of the blur]({out}/blur.png)\n\n"
        f"![Copies found and images joined by radius]({out}/copies.png)"
    )


Rows = list[tuple[Any, ...]]
_RADII = {"winnow": 8, "imagededup PHash": 10, "imagededup DHash": 10}  # bits; each tool's default


def markdown(rows: Rows) -> str:
    """A Markdown table."""
    head, *body = ([str(cell) for cell in row] for row in rows)
    return table(head, body)


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 → 12.3%; – for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def points(found: dict[str, Any]) -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * found['difference']:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def between(found: dict[str, Any]) -> str:
    """An accuracy with its interval."""
    return f"{percent(found['accuracy'])} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"


def share(won: dict[str, Any]) -> str:
    """How much of the gap is won back, with its interval."""
    if not won["gap_is_real"]:
        return "no clear gap"
    return f"{percent(won['share'], 0)} ({percent(won['low'], 0)} to {percent(won['high'], 0)})"


def main_rows(main: dict[str, Any]) -> Rows:
    """One row per comparison."""
    gains = ("curated minus dirty, points", "clean minus curated, points", "gap won back")
    rows: Rows = [("rates of defects", "seeds", "dirty", "curated", "clean", *gains)]
    for one in main["comparisons"]:
        found = one["untouched"]
        accuracies = (between(found["accuracy"][version]) for version in ("dirty", "curated", "clean"))
        differences = (points(found[name]) for name in ("curated_minus_dirty", "clean_minus_curated"))
        won = share(found["gap_won_back"])
        rows.append((_rates(one), one["rates"]["trainings"], *accuracies, *differences, won))
    return rows


def rule_rows(rules: dict[str, Any]) -> Rows:
    """One row per defect: recall and precision of its rule with the default thresholds."""
    rows: Rows = [("defect", "affected", "recall", "precision")]
    for name, found in rules["rules"].items():
        rows.append((name, f"{found['affected']:,}", percent(found["recall"]), percent(found["precision"])))
    return rows


def threshold_rows(rules: dict[str, Any]) -> Rows:
    """One row per signal: its default threshold beside the threshold chosen from the truth."""
    rows: Rows = [("signal", "default", "chosen on one half", "its recall / precision on the other", "the default's")]
    for name, curve in rules["curves"].items():
        both = [f"{percent(at['recall'])} / {percent(at['precision'])}" for at in (curve["chosen"], curve["default"])]
        rows.append((name, f"{curve['default']['threshold']:g}", f"{curve['chosen']['threshold']:.3g}", *both))
    return rows


def blur_rows(blur: dict[str, Any]) -> Rows:
    """One row per strength of blur."""
    rows: Rows = [("Gaussian blur, σ in pixels of 256", "Winnow", "CleanVision")]
    for sigma, scores in blur["sigmas"].items():
        ours, theirs = (scores[tool]["all sharp images"]["roc_auc"] for tool in ("winnow", "cleanvision"))
        rows.append((sigma, f"{ours:.3f}", f"{theirs:.3f}"))
    return rows


def copy_rows(copies: dict[str, Any]) -> Rows:
    """One row per kind of image."""
    heading = (f"{name.replace('winnow', 'Winnow')}, radius {bits}" for name, bits in _RADII.items())
    rows: Rows = [("found / joined", *heading)]
    for kind, found in copies.items():
        rates = [(found["tools"][name], bits) for name, bits in _RADII.items()]
        cells = [f"{percent(of['found_by_radius'][k])} / {of['joined_by_radius'][k]:,}" for of, k in rates]
        rows.append((f"{kind} ({found['pairs']:,} pairs)", *cells))
    return rows


PAGE = Path("docs/proof.md")
_START, _END = "<!-- proof: written by `make proof` -->", "<!-- /proof -->"
_LINE = re.compile("(?<=<!-- demo -->).*?(?=<!-- /demo -->)")  # the result in the table of all studies
_DRAW: dict[str, Callable[[Any, Path], None]] = {"main": draw_main, "rules": draw_curves}
_TABLES = {"main": main_rows, "rules": rule_rows}


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write tables and plots of the parts that have run, and the section."""
    for name, draw in _DRAW.items():
        if name in report:
            draw(report[name], out / f"{name}.png")
    for name, rows in _TABLES.items():
        if name in report:
            write_text(out / f"{name}.csv", _csv(rows(report[name])))
    if photos := report.get("photos"):
        draw_blur(photos["blur"], out / "blur.png")
        draw_copies(photos["copies"], out / "copies.png")
    write_text(out / "section.md", section(report, Path()))


def update_page(report: dict[str, Any], out: Path, page: Path = PAGE) -> None:
    """Put the section between the two marks of a Markdown page, and the result into its table of studies.

    Raises:
        UserError: the marks are missing.
    """
    before, after = around_section(page)
    plots = Path(os.path.relpath(out, page.parent))
    if main := report.get("main"):
        before = _LINE.sub(headline(main), before)
    write_text(page, f"{before}{_START}\n{section(report, plots)}{_END}{after}")


def around_section(page: Path = PAGE) -> tuple[str, str]:
    """The text before and after the two marks.

    Raises:
        UserError: the marks are missing.
    """
    before, start, rest = page.read_text(encoding="utf-8").partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise UserError(f"{page}: has no lines {_START} and {_END}; put them where the section should stand")
    return before, after


def read_parts(out: Path, parts: Iterable[str]) -> dict[str, Any]:
    """The stored results of all parts that have run."""
    files = {name: out / f"{name}.json" for name in parts}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
