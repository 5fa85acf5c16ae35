"""The README's section about the proof."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from studies.curation_pays.tables import (
    between,
    blur_rows,
    copy_rows,
    main_rows,
    markdown,
    points,
    rule_rows,
    sweep_rows,
    threshold_rows,
    turn_rows,
)


def section(report: dict[str, Any], out: Path) -> str:
    """The text about all parts that have run, in Markdown.

    Args:
        out: folder of the plots.
    """
    parts = {"main": _main, "second_turn": _turn, "sweep": _sweep, "rules": _rules, "photos": _photos}
    texts = [text(report, out.as_posix()) for name, text in parts.items() if name in report]
    return "\n\n".join(texts) + "\n"


def _main(report: dict[str, Any], out: str) -> str:
    main = report["main"]
    settings, one = main["settings"], main["untouched"]["accuracy"]["dirty"]
    text = (
        f"Three training sets from easy-vqa: *dirty* has the demo's defects at {settings['strength']:g} times their"
        f" rates, *curated* is what `curate run` leaves of it, *clean* never had them. The same recipe, steps of"
        f" {settings['training']['batch_size']} conversations, {len(settings['seeds'])} trainings each. Asked:"
        f" {one['n']:,} test questions about {one['images']:,} images of which no copy was leaked. Intervals (95%)"
        f" are over images and trainings.\n\n{markdown(main_rows(main))}\n\n![Accuracy of the arms]({out}/main.png)"
    )
    if leaked := main.get("leaked"):
        scores = "; ".join(f"{name} {between(found)}" for name, found in leaked["accuracy"].items())
        images = leaked["accuracy"]["dirty"]["images"]
        text += f"\n\nOn the {images} asked images that were leaked into the dirty set: {scores}."
    return text


def _turn(report: dict[str, Any], _: str) -> str:
    turn = report["second_turn"]
    rows = turn["loss_rule"]["rows"]
    return (
        f"{markdown(turn_rows(turn))}\n\nThe losses are those of the first training on the dirty set, of the"
        f" {turn['rows_with_a_loss']:,} rows that it came to. Of the {rows['dropped']:,} rows that the rule drops,"
        f" {rows.get('without_defect', 0):,} have no defect. The reviewer is simulated from the truth: mends wrong"
        " answers, drops blurred images and contradictions, leaves the rest. Rows of highest loss minus rows at"
        f" random: {points(turn['worst_minus_random'])} points."
    )


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


def _sweep(report: dict[str, Any], out: str) -> str:
    entries, swept = report["sweep"]["entries"], report["sweep"]["settings"]["sweep"]
    seeds, rates = len(swept["seeds"]), len(swept["rates"])
    over = "images and trainings" if seeds > 1 else "images alone"
    text = f"Each defect alone, {seeds} training{'s' * (seeds > 1)} each, *clean* as above; intervals are over {over}"
    means = ", ".join(
        f"{defect.replace('_', ' ')} {round(100 * gain, 1) + 0.0:+.1f}" for defect, gain in gains(entries).items()
    )
    mean = f"What curation gains, the mean over the {rates} rates, in points: {means}."
    if "main" in report:
        alone = 100 * chance(report["main"]) / math.sqrt(seeds)
        text += f". By other seeds alone, a difference changes by up to {alone:.0f} points"
        mean += f" Up to {alone / math.sqrt(rates):.0f} points of that may be chance."
    if gone := max(one["rows"]["gone_with_their_twin"] for one in entries):
        mean += (
            f" Up to {gone} of the rows dropped without a defect went as duplicates of a row that another rule dropped,"
            " so that none of the two stayed."
        )
    return f"{text}:\n\n{markdown(sweep_rows(report['sweep']))}\n\n{mean}\n\n![Each defect alone]({out}/sweep.png)"


def _rules(report: dict[str, Any], out: str) -> str:
    rules = report["rules"]
    return (
        f"Every rule against the truth, the demo's defect rates times {rules['settings']['strength']:g}:\n\n"
        f"{markdown(rule_rows(rules))}\n\nThresholds, chosen on the images with even numbers and reported on the"
        f" others:\n\n{markdown(threshold_rows(rules))}\n\n"
        f"![Recall and precision over the threshold]({out}/rules.png)"
    )


def _photos(report: dict[str, Any], out: str) -> str:
    photos = report["photos"]
    versions = ", ".join(f"{name} {number}" for name, number in photos["peers"].items())
    return (
        f"Real photographs, drawings, pages and forms, the same images for all ({versions}). Blurred photographs"
        f" before sharp images, area under the ROC curve:\n\n{markdown(blur_rows(photos['blur']))}\n\nShare of copies"
        f" found (stored anew as JPEG, WebP, resized) and pairs of different images joined:\n\n"
        f"{markdown(copy_rows(photos['copies']))}\n\n"
        f'<img src="{out}/blur.png" width="32%" alt="Area under the ROC curve by strength of the blur"> '
        f'<img src="{out}/copies.png" width="66%" alt="Copies found and images joined by radius">'
    )
