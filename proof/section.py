"""The README's section about the proof, and its tables."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any


def section(report: dict[str, Any], out: Path) -> str:
    """The README's text about the results, in Markdown."""
    parts = [_main_text(report, out), _turn_text(report), _sweep_text(report, out), _rules_text(report, out)]
    return "\n".join([*(part for part in parts if part), _photos_text(report, out)]).rstrip() + "\n"


def percent(value: float | None, digits: int = 1) -> str:
    """0.1234 → 12.3%; – for None."""
    return "–" if value is None else f"{100 * value:.{digits}f}%"


def points(found: dict[str, Any], key: str = "difference") -> str:
    """A difference in percentage points with its interval."""
    return f"{100 * found[key]:+.1f} ({100 * found['low']:+.1f} to {100 * found['high']:+.1f})"


def _between(found: dict[str, Any]) -> str:
    return f"{percent(found['accuracy'])} ({100 * found['low']:.1f}–{100 * found['high']:.1f})"


def _main_text(report: dict[str, Any], out: Path) -> str:
    if "main" not in report:
        return ""
    main, settings = report["main"], report["main"]["settings"]
    one = main["untouched"]["accuracy"]["dirty"]
    lines = [
        f"Three training sets from easy-vqa: *dirty* has the demo's defects at {settings['strength']:g} times their"
        f" rates, *curated* is what `curate run` leaves of it, *clean* never had them. The same recipe, steps of"
        f" {settings['training']['batch_size']} conversations, {len(settings['seeds'])} trainings each. Asked:"
        f" {one['n']:,} test questions about {one['pictures']:,} pictures of which no copy was leaked. Intervals (95%)"
        " are over pictures and trainings.",
        "",
        markdown(main_rows(main)),
        "",
        f"![Accuracy of the arms]({out.as_posix()}/main.png)",
        "",
    ]
    if leaked := main.get("leaked"):
        scores = "; ".join(f"{name} {_between(found)}" for name, found in leaked["accuracy"].items())
        pictures = leaked["accuracy"]["dirty"]["pictures"]
        lines[-1:] = ["", f"On the {pictures} asked pictures that were leaked into the dirty set: {scores}.", ""]
    return "\n".join(lines)


def regimes(main: dict[str, Any]) -> list[tuple[str, dict[str, Any]]]:
    """What was trained, in words, and its comparison on pictures that were not leaked."""
    settings = main["settings"]
    own = {"steps": settings["training"]["steps"], "images": settings["images"], "kinds": settings["kinds"]}
    parts = [(own, main["untouched"]), *((one["regime"], one["untouched"]) for one in main["also"])]
    return [
        (f"{of['steps']} steps, {_pictures(of['images'])}, {_kinds(of['kinds'])}", compared) for of, compared in parts
    ]


def _pictures(count: int | None) -> str:
    return f"{count} pictures" if count else "all pictures"


def _kinds(kinds: list[str] | None) -> str:
    return f"questions of {' and '.join(kinds)}" if kinds else "all questions"


def main_rows(main: dict[str, Any]) -> list[tuple[str, ...]]:
    """One line a regime."""
    rows: list[tuple[str, ...]] = [
        ("trained with", "dirty", "curated", "clean", "curated minus dirty, points", "gap won back")
    ]
    for label, compared in regimes(main):
        accuracies = (_between(compared["accuracy"][version]) for version in ("dirty", "curated", "clean"))
        won = compared["gap_won_back"]
        share = (
            f"{percent(won['share'], 0)} ({percent(won['low'], 0)} to {percent(won['high'], 0)})"
            if won["gap_is_real"]
            else "no certain gap"
        )
        rows.append((label, *accuracies, points(compared["curated_minus_dirty"]), share))
    return rows


def _turn_text(report: dict[str, Any]) -> str:
    turn = report.get("second_turn")
    if not turn:
        return ""
    rows = [
        (
            "second turn on the dirty set",
            "accuracy (95%)",
            "minus dirty, points",
            "rows changed",
            "points per 100 looked at",
        )
    ]
    for name, label in {
        "loss_rule": f"drop rows with a loss above {turn['loss_threshold']}",
        "reviewed_worst": f"reviewer looks at the {turn['looked_at']} rows of highest loss",
        "reviewed_at_random": f"reviewer looks at {turn['looked_at']} rows at random",
    }.items():
        one = turn[name]
        changed = one["rows_changed"] if "rows_changed" in one else one["rows"]["dropped"]
        gain = one.get("gain_per_row_looked_at")
        each = "–" if gain is None else f"{100 * 100 * gain:+.1f}"
        rows.append((label, _between(one["accuracy"]), points(one["minus_dirty"]), f"{changed:,}", each))
    return "\n" + markdown(rows) + "\n"


def sweep_rows(sweep: Iterable[dict[str, Any]]) -> list[tuple[Any, ...]]:
    """One line a defect and rate."""
    rows: list[tuple[Any, ...]] = [
        (
            "defect",
            "rate",
            "dirty",
            "curated",
            "clean",
            "curated minus dirty, points",
            "rows dropped",
            "without a defect",
        )
    ]
    for one in sorted(sweep, key=lambda entry: (entry["defect"], entry["rate"])):
        rows.append(
            (
                one["defect"], percent(one["rate"], 0),
                *(percent(one["accuracy"][version]["accuracy"]) for version in ("dirty", "curated", "clean")),
                points(one["curated_minus_dirty"]), f"{one['rows']['dropped']:,} of {one['rows']['rows']:,}",
                f"{one['rows']['dropped_without_defect']:,}",
            )
        )  # fmt: skip
    return rows


def chance(main: dict[str, Any]) -> float:
    """Twice the standard deviation of a difference between two trainings that differ in their seed alone."""
    spreads = [one["seed_std"] or 0.0 for one in main["untouched"]["accuracy"].values()]
    return 2 * math.sqrt(2 * sum(spread**2 for spread in spreads) / len(spreads))


def gains(entries: Iterable[dict[str, Any]]) -> dict[str, float]:
    """Defect → what curation gains, the mean over its rates, largest first."""
    found: dict[str, list[float]] = {}
    for one in entries:
        found.setdefault(one["defect"], []).append(one["curated_minus_dirty"]["difference"])
    means = {defect: sum(differences) / len(differences) for defect, differences in found.items()}
    return dict(sorted(means.items(), key=lambda item: -item[1]))


def _sweep_text(report: dict[str, Any], out: Path) -> str:
    if not report.get("sweep"):
        return ""
    entries, swept = report["sweep"]["entries"], report["sweep"]["settings"]["sweep"]
    seeds, rates = len(swept["seeds"]), len(swept["rates"])
    text = f"\nEach defect alone, {seeds} training{'s' * (seeds > 1)} each; intervals are over pictures alone"
    means = ", ".join(f"{defect.replace('_', ' ')} {100 * gain:+.1f}" for defect, gain in gains(entries).items())
    mean = f"\n\nWhat curation gains, the mean over the {rates} rates, in points: {means}."
    if "main" in report:
        alone = 100 * chance(report["main"]) / math.sqrt(seeds)
        text += f". By another seed alone, a difference changes by up to {alone:.0f} points"
        mean += f" Up to {alone / math.sqrt(rates):.0f} points of that may be chance."
    text += ":\n\n" + markdown(sweep_rows(entries)) + mean
    return text + f"\n\n![Each defect alone]({out.as_posix()}/sweep.png)\n"


def rule_rows(rules: dict[str, Any]) -> list[tuple[Any, ...]]:
    """One line a defect: how its rule did with the default thresholds."""
    rows: list[tuple[Any, ...]] = [("defect", "affected", "recall", "precision")]
    for name, one in rules["rules"].items():
        rows.append((name, f"{one['affected']:,}", percent(one["recall"]), percent(one["precision"])))
    return rows


def _rules_text(report: dict[str, Any], out: Path) -> str:
    rules = report.get("rules")
    if not rules:
        return ""
    rows = [("signal", "default", "chosen on one half", "its recall / precision on the other", "the default's")]
    for name, one in rules["curves"].items():
        both = [f"{percent(at['recall'])} / {percent(at['precision'])}" for at in (one["chosen"], one["default"])]
        rows.append((name, f"{one['default']['threshold']:g}", f"{one['chosen']['threshold']:.3g}", *both))
    text = f"\nEvery rule against the truth, the demo's defect rates times {rules['settings']['strength']:g}:\n\n"
    text += markdown(rule_rows(rules))
    text += "\n\nThresholds, chosen on the pictures with even numbers and reported on the others:\n\n" + markdown(rows)
    return text + f"\n\n![Recall and precision over the threshold]({out.as_posix()}/rules.png)\n"


def _photos_text(report: dict[str, Any], out: Path) -> str:
    photos = report.get("photos")
    if not photos:
        return ""
    versions = ", ".join(f"{name} {number}" for name, number in photos["peers"].items())
    blur = [("Gaussian blur, σ in pixels of 256", "Winnow", "CleanVision")]
    for sigma, scores in photos["blur"]["sigmas"].items():
        ours, theirs = (scores[tool]["all sharp pictures"]["roc_auc"] for tool in ("winnow", "cleanvision"))
        blur.append((sigma, f"{ours:.3f}", f"{theirs:.3f}"))
    tools = {"winnow": 8, "imagededup PHash": 10, "imagededup DHash": 10}  # their default radius
    copies: list[Sequence[str]] = [
        ("found / joined", *(f"{name.replace('winnow', 'Winnow')}, radius {bits}" for name, bits in tools.items()))
    ]
    for kind, one in photos["copies"].items():
        rates = [(one["tools"][name], bits) for name, bits in tools.items()]
        cells = [f"{percent(of['found_by_radius'][k])} / {of['joined_by_radius'][k]:,}" for of, k in rates]
        copies.append((f"{kind} ({one['pairs']:,} pairs)", *cells))
    return (
        f"\nReal photographs, drawings, pages and forms, the same pictures for all ({versions}). Blurred photographs"
        f" before sharp pictures, area under the ROC curve:\n\n{markdown(blur)}\n\nShare of copies found (stored"
        f" anew as JPEG, WebP, resized) and pairs of different pictures joined:\n\n{markdown(copies)}\n\n"
        f'<img src="{out.as_posix()}/blur.png" width="32%" alt="Area under the ROC curve by strength of the blur"> '
        f'<img src="{out.as_posix()}/copies.png" width="66%" alt="Copies found and pictures joined by radius">\n'
    )


def markdown(rows: Sequence[Sequence[Any]]) -> str:
    """A table; the first row is its heading."""
    lines = ["| " + " | ".join(str(cell) for cell in row) + " |" for row in rows]
    return "\n".join([lines[0], "|" + "---|" * len(rows[0]), *lines[1:]])
