"""Results as CSV tables, plots and a Markdown section: every number in the text is computed here.

A table is a list of rows; the first row is the heading.
"""

from __future__ import annotations

import csv
import io
import json
import math
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from studies.curation_pays.plots import draw_blur, draw_copies, draw_curves, draw_main, draw_sweep
from winnow.errors import UserError
from winnow.files import write_text
from winnow.text import table


def section(report: dict[str, Any], plots: Path) -> str:
    """The Markdown text about all parts that have run.

    Args:
        plots: folder of the plots, as the page links to it.
    """
    parts = {"main": _main, "second_turn": _turn, "sweep": _sweep, "rules": _rules, "photos": _photos}
    texts = [text(report, plots.as_posix()) for name, text in parts.items() if name in report]
    return "\n\n".join(texts) + "\n"


def _main(report: dict[str, Any], out: str) -> str:
    main = report["main"]
    settings, dirty = main["settings"], main["untouched"]["accuracy"]["dirty"]
    text = (
        f"Three training sets are made from easy-vqa: *dirty* has the demo's defects at {settings['strength']:g} times"
        " their rates, *curated* is what `curate run` keeps of it, and *clean* has no defects. All are trained with the"
        f" same recipe, {settings['training']['batch_size']} conversations per step, {len(settings['seeds'])} trainings"
        f" each. The test has {dirty['n']:,} questions about {dirty['images']:,} images, none of which was leaked into"
        " a training set. The 95% intervals are over images and trainings.\n\n"
        f"{markdown(main_rows(main))}\n\n![Accuracy of the arms]({out}/main.png)"
    )
    if leaked := main.get("leaked"):
        scores = ", ".join(f"{name} {between(found)}" for name, found in leaked["accuracy"].items())
        images = leaked["accuracy"]["dirty"]["images"]
        text += f"\n\nAccuracy on the {images} test images that were leaked into the dirty set: {scores}."
    return text


def _turn(report: dict[str, Any], _: str) -> str:
    turn = report["second_turn"]
    rows = turn["loss_rule"]["rows"]
    return (
        f"{markdown(turn_rows(turn))}\n\nThe losses come from the first training on the dirty set, which saw"
        f" {turn['rows_with_a_loss']:,} rows. Of the {rows['dropped']:,} rows that the rule drops,"
        f" {rows.get('without_defect', 0):,} have no defect. The reviewer is simulated from the truth: wrong answers"
        " are corrected, blurred images and contradictions are dropped, and the rest is left. The rows of highest loss"
        f" minus random rows: {points(turn['worst_minus_random'])} points."
    )


def chance(main: dict[str, Any]) -> float:
    """Twice the standard deviation of a difference between two trainings that differ only in their seed."""
    spreads = [found["seed_std"] or 0.0 for found in main["untouched"]["accuracy"].values()]
    return 2 * math.sqrt(2 * sum(spread**2 for spread in spreads) / len(spreads))


def gains(entries: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Defect → gain of curation as the mean over the defect's rates, largest first."""
    found: dict[str, list[float]] = {}
    for entry in entries:
        found.setdefault(entry["defect"], []).append(entry["curated_minus_dirty"]["difference"])
    means = {defect: sum(differences) / len(differences) for defect, differences in found.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _sweep(report: dict[str, Any], out: str) -> str:
    entries, swept = report["sweep"]["entries"], report["sweep"]["settings"]["sweep"]
    seeds, rates = len(swept["seeds"]), len(swept["rates"])
    over = "images and trainings" if seeds > 1 else "images only"
    text = (
        f"Each defect alone, {seeds} training{'s' * (seeds > 1)} each, with *clean* as above. The intervals are over"
        f" {over}"
    )
    means = ", ".join(
        f"{defect.replace('_', ' ')} {round(100 * gain, 1) + 0.0:+.1f}" for defect, gain in gains(entries).items()
    )
    mean = f"The gain of curation in points, as the mean over the {rates} rates: {means}."
    if "main" in report:
        alone = 100 * chance(report["main"]) / math.sqrt(seeds)
        text += f"; other seeds alone change a difference by up to {alone:.0f} points"
        mean += f" Up to {alone / math.sqrt(rates):.0f} points of a gain may be chance."
    if gone := max(entry["rows"]["gone_with_their_twin"] for entry in entries):
        mean += (
            f" Up to {gone} of the rows dropped without a defect were dropped as duplicates of a row that another rule"
            " dropped, so neither of the two was kept."
        )
    return f"{text}:\n\n{markdown(sweep_rows(report['sweep']))}\n\n{mean}\n\n![Each defect alone]({out}/sweep.png)"


def _rules(report: dict[str, Any], out: str) -> str:
    rules = report["rules"]
    return (
        f"Every rule against the truth, with {rules['settings']['strength']:g} times the demo's defect rates:\n\n"
        f"{markdown(rule_rows(rules))}\n\nThresholds, chosen on the images with even numbers and reported on those with"
        f" odd numbers:\n\n{markdown(threshold_rows(rules))}\n\n"
        f"![Recall and precision over the threshold]({out}/rules.png)"
    )


def _photos(report: dict[str, Any], out: str) -> str:
    photos = report["photos"]
    versions = ", ".join(f"{name} {number}" for name, number in photos["peers"].items())
    return (
        f"Real photographs, drawings, pages and forms, the same images for all tools ({versions}). Area under the ROC"
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


def regimes(main: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """A description of each training, and its comparison on images that were not leaked."""
    settings = main["settings"]
    own = {"steps": settings["training"]["steps"], "images": settings["images"], "kinds": settings["kinds"]}
    parts = [(own, main["untouched"]), *((other["regime"], other["untouched"]) for other in main["also"])]
    return [
        (f"{of['steps']} steps, {_images(of['images'])}, {_kinds(of['kinds'])}", compared) for of, compared in parts
    ]


def _images(count: int | None) -> str:
    return f"{count} images" if count else "all images"


def _kinds(kinds: list[str] | None) -> str:
    return f"questions of {' and '.join(kinds)}" if kinds else "all questions"


def main_rows(main: dict[str, Any]) -> Rows:
    """One row per regime."""
    rows: Rows = [("trained with", "dirty", "curated", "clean", "curated minus dirty, points", "gap won back")]
    for label, compared in regimes(main):
        accuracies = (between(compared["accuracy"][version]) for version in ("dirty", "curated", "clean"))
        won = compared["gap_won_back"]
        share = (
            f"{percent(won['share'], 0)} ({percent(won['low'], 0)} to {percent(won['high'], 0)})"
            if won["gap_is_real"]
            else "no clear gap"
        )
        rows.append((label, *accuracies, points(compared["curated_minus_dirty"]), share))
    return rows


def turn_rows(turn: dict[str, Any]) -> Rows:
    """One row per use of the losses."""
    heading = ("accuracy (95%)", "minus dirty, points", "rows changed", "points per 100 reviewed / changed")
    rows: Rows = [("second turn on the dirty set", *heading)]
    for name, label in {
        "loss_rule": f"drop rows with a loss above {turn['loss_threshold']}",
        "reviewed_worst": f"review the {turn['looked_at']} rows of highest loss",
        "reviewed_at_random": f"review {turn['looked_at']} random rows",
    }.items():
        found = turn[name]
        changed = found["rows_changed"] if "rows_changed" in found else found["rows"]["dropped"]
        per_row = [found[key] for key in ("gain_per_row_looked_at", "gain_per_row_changed") if key in found]
        each = " / ".join(f"{100 * 100 * gain:+.1f}" for gain in per_row) or "–"
        rows.append((label, between(found["accuracy"]), points(found["minus_dirty"]), f"{changed:,}", each))
    return rows


def sweep_rows(sweep: dict[str, Any]) -> Rows:
    """One row per defect and rate."""
    versions = ("dirty", "curated", "clean")
    counts = ("rows dropped", "without a defect")
    rows: Rows = [("defect", "rate", *versions, "curated minus dirty, points", *counts)]
    for entry in sorted(sweep["entries"], key=lambda entry: (entry["defect"], entry["rate"])):
        accuracies = (percent(entry["accuracy"][version]["accuracy"]) for version in versions)
        dropped = f"{entry['rows']['dropped']:,} of {entry['rows']['rows']:,}"
        gain, lost = points(entry["curated_minus_dirty"]), f"{entry['rows']['dropped_without_defect']:,}"
        rows.append((entry["defect"], percent(entry["rate"], 0), *accuracies, gain, dropped, lost))
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


PAGE = Path("docs/results/proof.md")
_START, _END = "<!-- proof: written by `make proof` -->", "<!-- /proof -->"
_DRAW: dict[str, Callable[[Any, Path], None]] = {"sweep": draw_sweep, "rules": draw_curves}
_TABLES = {"main": main_rows, "second_turn": turn_rows, "sweep": sweep_rows, "rules": rule_rows}


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write tables and plots of the parts that have run, and the section."""
    for name, draw in _DRAW.items():
        if name in report:
            draw(report[name], out / f"{name}.png")
    for name, rows in _TABLES.items():
        if name in report:
            write_text(out / f"{name}.csv", _csv(rows(report[name])))
    if main := report.get("main"):
        draw_main(regimes(main), out / "main.png")
    if photos := report.get("photos"):
        draw_blur(photos["blur"], out / "blur.png")
        draw_copies(photos["copies"], out / "copies.png")
    write_text(out / "section.md", section(report, Path()))


def update_page(report: dict[str, Any], out: Path, page: Path = PAGE) -> None:
    """Put the section between the two marks of a Markdown page.

    Raises:
        UserError: the marks are missing.
    """
    before, after = around_section(page)
    plots = Path(os.path.relpath(out, page.parent))
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
