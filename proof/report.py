"""Results as CSV tables, plots, and the section of the README: every number in it comes from here."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from curate.atomic import write_text
from curate.errors import UserError
from proof.plots import draw_blur, draw_copies, draw_curves, draw_main, draw_sweep

README = Path("README.md")
_START, _END = "<!-- proof: written by `make proof` -->", "<!-- /proof -->"
_DRAW: dict[str, Callable[[Any, Path], None]] = {"main": draw_main, "sweep": draw_sweep, "rules": draw_curves}


def write_report(report: dict[str, Any], out: Path) -> None:
    """Write tables and plots of the parts that there are, and the README's section."""
    for name, draw in _DRAW.items():
        if name in report:
            draw(report[name], out / f"{name}.png")
    if photos := report.get("photos"):
        draw_blur(photos["blur"], out / "blur.png")
        draw_copies(photos["copies"], out / "copies.png")
    if sweep := report.get("sweep"):
        write_text(out / "sweep.csv", _csv(sweep_rows(sweep["entries"])))
    if rules := report.get("rules"):
        write_text(out / "rules.csv", _csv(rule_rows(rules)))
    write_text(out / "section.md", section(report, out))


def update_readme(section_text: str, readme: Path = README) -> None:
    """Put the section between its two marks.

    Raises:
        UserError: the marks are missing.
    """
    before, after = around_section(readme)
    write_text(readme, f"{before}{_START}\n{section_text}{_END}{after}")


def around_section(readme: Path = README) -> tuple[str, str]:
    """What stands before and after the two marks.

    Raises:
        UserError: the marks are missing.
    """
    before, start, rest = readme.read_text(encoding="utf-8").partition(_START)
    _, end, after = rest.partition(_END)
    if not (start and end):
        raise UserError(f"{readme}: has no lines {_START} and {_END}; put them where the section should stand")
    return before, after


def read_parts(out: Path, parts: Iterable[str]) -> dict[str, Any]:
    """The results of all parts that have run, whenever that was."""
    files = {name: out / f"{name}.json" for name in parts}
    return {name: json.loads(file.read_text(encoding="utf-8")) for name, file in files.items() if file.is_file()}


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
    found, settings = report["main"]["untouched"], report["main"]["settings"]
    rows = [("trained on", "accuracy (95%)", "each seed")]
    rows += [
        (name, _between(one), ", ".join(percent(seed) for seed in one["seeds"]))
        for name, one in found["accuracy"].items()
    ]
    won = found["gap_won_back"]
    gap = (
        f"Curation wins back {percent(won['share'], 0)} of the gap between dirty and clean"
        f" (95% interval {percent(won['low'], 0)} to {percent(won['high'], 0)})."
        if won["gap_is_real"]
        else "The gap between dirty and clean cannot be told from zero, so there is nothing to win back."
    )
    budget, one = settings["training"], found["accuracy"]["dirty"]
    lines = [
        f"Three training sets from easy-vqa, the same recipe, {budget['steps']} steps of {budget['batch_size']}"
        f" conversations, {len(settings['seeds'])} seeds; the demo's defect rates times {settings['strength']:g}."
        f" Asked: {one['n']:,} test questions about {one['pictures']:,} pictures of which no copy was leaked.",
        "",
        markdown(rows),
        "",
        f"Curated minus dirty: {points(found['curated_minus_dirty'])} points; clean minus curated:"
        f" {points(found['clean_minus_curated'])}. {gap} Intervals are resampled by picture.",
        "",
        f"![Accuracy of the arms]({out.as_posix()}/main.png)",
        "",
    ]
    if leaked := report["main"].get("leaked"):
        lines[-1:] = [
            "",
            f"On the {leaked['accuracy']['dirty']['pictures']} test pictures that were leaked into the dirty set, dirty"
            f" scores {_between(leaked['accuracy']['dirty'])} and clean {_between(leaked['accuracy']['clean'])}.",
            "",
        ]
    return "\n".join(lines)


def _turn_text(report: dict[str, Any]) -> str:
    turn = report.get("second_turn")
    if not turn:
        return ""
    rows = [("second turn on the dirty set", "accuracy (95%)", "minus dirty, points", "rows changed")]
    for name, label in {
        "loss_rule": f"drop rows with a loss above {turn['loss_threshold']}",
        "reviewed_worst": f"reviewer looks at the {turn['looked_at']} rows of highest loss",
        "reviewed_at_random": f"reviewer looks at {turn['looked_at']} rows at random",
    }.items():
        one = turn[name]
        changed = one["rows_changed"] if "rows_changed" in one else one["rows"]["dropped"]
        rows.append((label, _between(one["accuracy"]), points(one["minus_dirty"]), f"{changed:,}"))
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


def _sweep_text(report: dict[str, Any], out: Path) -> str:
    if not report.get("sweep"):
        return ""
    text = "\nEach defect alone:\n\n" + markdown(sweep_rows(report["sweep"]["entries"]))
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


def _csv(rows: Iterable[Sequence[Any]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows(rows)
    return text.getvalue()
