"""The results as tables: lists of rows, the first one the heading."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

Rows = list[tuple[Any, ...]]
_RADII = {"winnow": 8, "imagededup PHash": 10, "imagededup DHash": 10}  # bits; each tool's default


def markdown(rows: Sequence[Sequence[Any]]) -> str:
    """A Markdown table."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])


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
    """What was trained, in words, and its comparison on images that were not leaked."""
    settings = main["settings"]
    own = {"steps": settings["training"]["steps"], "images": settings["images"], "kinds": settings["kinds"]}
    parts = [(own, main["untouched"]), *((one["regime"], one["untouched"]) for one in main["also"])]
    return [
        (f"{of['steps']} steps, {_images(of['images'])}, {_kinds(of['kinds'])}", compared) for of, compared in parts
    ]


def _images(count: int | None) -> str:
    return f"{count} images" if count else "all images"


def _kinds(kinds: list[str] | None) -> str:
    return f"questions of {' and '.join(kinds)}" if kinds else "all questions"


def main_rows(main: dict[str, Any]) -> Rows:
    """One line a regime."""
    rows: Rows = [("trained with", "dirty", "curated", "clean", "curated minus dirty, points", "gap won back")]
    for label, compared in regimes(main):
        accuracies = (between(compared["accuracy"][version]) for version in ("dirty", "curated", "clean"))
        won = compared["gap_won_back"]
        share = (
            f"{percent(won['share'], 0)} ({percent(won['low'], 0)} to {percent(won['high'], 0)})"
            if won["gap_is_real"]
            else "no certain gap"
        )
        rows.append((label, *accuracies, points(compared["curated_minus_dirty"]), share))
    return rows


def turn_rows(turn: dict[str, Any]) -> Rows:
    """One line a use of the losses."""
    heading = ("accuracy (95%)", "minus dirty, points", "rows changed", "points per 100 looked at / changed")
    rows: Rows = [("second turn on the dirty set", *heading)]
    for name, label in {
        "loss_rule": f"drop rows with a loss above {turn['loss_threshold']}",
        "reviewed_worst": f"reviewer looks at the {turn['looked_at']} rows of highest loss",
        "reviewed_at_random": f"reviewer looks at {turn['looked_at']} rows at random",
    }.items():
        one = turn[name]
        changed = one["rows_changed"] if "rows_changed" in one else one["rows"]["dropped"]
        gains = [one[key] for key in ("gain_per_row_looked_at", "gain_per_row_changed") if key in one]
        each = " / ".join(f"{100 * 100 * gain:+.1f}" for gain in gains) or "–"
        rows.append((label, between(one["accuracy"]), points(one["minus_dirty"]), f"{changed:,}", each))
    return rows


def sweep_rows(sweep: dict[str, Any]) -> Rows:
    """One line a defect and rate."""
    versions = ("dirty", "curated", "clean")
    counts = ("rows dropped", "without a defect")
    rows: Rows = [("defect", "rate", *versions, "curated minus dirty, points", *counts)]
    for one in sorted(sweep["entries"], key=lambda entry: (entry["defect"], entry["rate"])):
        accuracies = (percent(one["accuracy"][version]["accuracy"]) for version in versions)
        dropped = f"{one['rows']['dropped']:,} of {one['rows']['rows']:,}"
        gain, lost = points(one["curated_minus_dirty"]), f"{one['rows']['dropped_without_defect']:,}"
        rows.append((one["defect"], percent(one["rate"], 0), *accuracies, gain, dropped, lost))
    return rows


def rule_rows(rules: dict[str, Any]) -> Rows:
    """One line a defect: how its rule did with the default thresholds."""
    rows: Rows = [("defect", "affected", "recall", "precision")]
    for name, one in rules["rules"].items():
        rows.append((name, f"{one['affected']:,}", percent(one["recall"]), percent(one["precision"])))
    return rows


def threshold_rows(rules: dict[str, Any]) -> Rows:
    """One line a signal: its default threshold beside the one chosen from the truth."""
    rows: Rows = [("signal", "default", "chosen on one half", "its recall / precision on the other", "the default's")]
    for name, one in rules["curves"].items():
        both = [f"{percent(at['recall'])} / {percent(at['precision'])}" for at in (one["chosen"], one["default"])]
        rows.append((name, f"{one['default']['threshold']:g}", f"{one['chosen']['threshold']:.3g}", *both))
    return rows


def blur_rows(blur: dict[str, Any]) -> Rows:
    """One line a strength of blur."""
    rows: Rows = [("Gaussian blur, σ in pixels of 256", "Winnow", "CleanVision")]
    for sigma, scores in blur["sigmas"].items():
        ours, theirs = (scores[tool]["all sharp images"]["roc_auc"] for tool in ("winnow", "cleanvision"))
        rows.append((sigma, f"{ours:.3f}", f"{theirs:.3f}"))
    return rows


def copy_rows(copies: dict[str, Any]) -> Rows:
    """One line a kind of image."""
    heading = (f"{name.replace('winnow', 'Winnow')}, radius {bits}" for name, bits in _RADII.items())
    rows: Rows = [("found / joined", *heading)]
    for kind, one in copies.items():
        rates = [(one["tools"][name], bits) for name, bits in _RADII.items()]
        cells = [f"{percent(of['found_by_radius'][k])} / {of['joined_by_radius'][k]:,}" for of, k in rates]
        rows.append((f"{kind} ({one['pairs']:,} pairs)", *cells))
    return rows
