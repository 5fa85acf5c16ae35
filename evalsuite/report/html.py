"""The report as one HTML file: no request leaves it, and text from data is always escaped."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup, escape

from evalsuite.analysis.results import TaskResult
from evalsuite.backends.images import load_image
from evalsuite.report import numbers, sentences
from evalsuite.report.compared import COMPARISON_HEADER, FOUND_HEADER, comparison_cells, slice_cells
from evalsuite.report.judged import JUDGE_HEADER, judge_rows, judge_sentences
from evalsuite.report.sentences import finding_rows
from winnow.media.images import DEFAULT_MAX_BYTES
from winnow.media.locate import locate

_HERE = Path(__file__).parent
_WORST = 24
_CHANGED = 8
_LEFT, _RIGHT, _ROW, _AXIS = 190, 90, 30, 26
_WIDTH = 760  # pixels of the plots
_SIDE = 240  # pixels of an image in the gallery
_REFERENCES = 3
_REPLY = 800  # characters of a reply


def html_report(
    scores: Mapping[str, Any],
    results: Mapping[str, TaskResult],
    image_roots: Mapping[str, Path],
    skipped: Mapping[str, Any],
) -> str:
    """The whole page."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    environment = Environment(
        loader=FileSystemLoader(_HERE), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals.update({name: getattr(numbers, name) for name in ("number", "between", "probability", "share")})
    environment.filters["code"] = _with_code
    comparison = scores["comparison"]
    tasks = [
        _task(name, entry, results[name], image_roots[name], scores, skipped.get(name))
        for name, entry in scores["tasks"].items()
    ]
    return environment.get_template("template.html").render(
        scores=scores,
        comparison=comparison,
        tasks=tasks,
        style=(_HERE / "style.css").read_text(encoding="utf-8"),
        notes=sentences.how_to_read(scores),
        partial=sentences.partial_sentence(scores),
        again=sentences.again_sentence(scores),
        checked=sentences.check_sentences(scores, ""),
        batch_check=sentences.batch_sentence(scores["batch_check"]) if scores["batch_check"] else "",
        reading_header=sentences.READING_HEADER,
        judge_header=JUDGE_HEADER,
        comparison_header=COMPARISON_HEADER,
        found_header=FOUND_HEADER,
        comparison_cells=comparison_cells,
    )


def _with_code(text: str) -> Markup:
    """Text in which what stands between backticks is code."""
    return Markup("").join(
        Markup("<code>{}</code>").format(piece) if code else escape(piece) for piece, code in numbers.code_parts(text)
    )


def _task(
    name: str,
    entry: Mapping[str, Any],
    result: TaskResult,
    root: Path,
    scores: Mapping[str, Any],
    skipped: Mapping[str, Any] | None,
) -> dict[str, Any]:
    comparison = scores["comparison"]
    against = comparison["tasks"].get(name) if comparison else None
    headline = entry["headline"]
    worst = worst_rows(result, _WORST)
    return {
        "name": name,
        "description": result.spec.description,
        "entry": entry,
        "headline": headline,
        "failures": sentences.failures_sentence(entry),
        "skipped": sentences.skipped_sentence(skipped),
        "asked": sentences.notes_sentence(entry),
        "plots": _metric_plots(entry, against),
        "truncated": sentences.truncated_sentence(entry),
        "reading": sentences.reading_sentence(entry),
        "reading_warning": bool((entry.get("reading") or {}).get("warning")),
        "reading_rows": sentences.reading_rows(entry),
        "judged": judge_sentences(entry),
        "judge_rows": judge_rows(entry),
        "checked": sentences.check_sentences(scores, name),
        "slices": _slice_plots(entry, against, headline),
        "against": against,
        "findings": sentences.finding_sentences(entry, scores),
        "finding_rows": finding_rows(entry),
        "slices_sentence": sentences.slices_sentence(name, entry["worst_slices"]),
        "worst_slices": [slice_cells(found) for found in entry["worst_slices"]["slices"]],
        "difference": sentences.difference_sentence(against, comparison["tests"]) if against else "",
        "wins": sentences.wins_sentence(against) if against else "",
        "intersection": sentences.intersection_sentence(against) if against else "",
        "changed": _changed(result, against, root) if against else [],
        "worst": cards(result, worst, root),
        "imperfect": int((result.headline.per_row < result.headline.best_row).sum()),
    }


def _metric_plots(entry: Mapping[str, Any], against: Mapping[str, Any] | None) -> list[Any]:
    """One plot for the metrics of each scale."""
    plots = []
    scales = {name: _top(facts) for name, facts in entry["metrics"].items()}
    for top in dict.fromkeys(scales.values()):
        lines = []
        for name, facts in entry["metrics"].items():
            if scales[name] == top:
                before = against["metrics"].get(name) if against else None
                lines.append(_line(facts["unit"], facts["title"], facts, before))
        plots.append(_plot(lines, top, "scores with intervals"))
    return plots


def _slice_plots(task: Mapping[str, Any], against: Mapping[str, Any] | None, headline: str) -> list[dict[str, Any]]:
    found, metric = [], task["metrics"][headline]
    for column, values in task["slices"].items():
        if len(values) < 2:
            continue  # it would repeat the whole
        before = against["slices"].get(column, {}) if against else {}
        lines = [
            _line(metric["unit"], value, entry[headline], before.get(value, {}).get(headline))
            for value, entry in values.items()
        ]
        label = column.removeprefix("slice_").replace("_", " ")
        plot = _plot(lines, _top(metric), f"{metric['title']} by {label}")
        found.append({"label": label, "plot": plot, "values": values})
    return found


def _top(facts: Mapping[str, Any]) -> float:
    """The upper end of a metric's axis; without a perfect score, that of a share."""
    return 1.0 if facts["top"] is None else float(facts["top"])


def _line(unit: str, label: str, now: Mapping[str, Any], against: Mapping[str, Any] | None) -> Line:
    points = [] if now["value"] is None else [Point("now", now["value"], now["ci_low"], now["ci_high"])]
    if against and against["a"] is not None:
        points.insert(0, Point("before", against["a"], None, None))
    return Line(label, points, numbers.number(unit, now["value"]))


def _plot(lines: list[Line], top: float, name: str) -> Any:
    shown = 100.0 if top == 1.0 else top  # as people quote it
    ticks = [(part * top / 5, f"{part * shown / 5:g}") for part in range(6)]
    return interval_plot(lines, top, ticks, name)


def _changed(result: TaskResult, against: Mapping[str, Any], root: Path) -> list[dict[str, Any]]:
    """Some rows that this run does better, and some that it does worse, with both answers."""
    found = []
    wanted = {sample_id for key in ("worse_ids", "better_ids") for sample_id in against[key][:_CHANGED]}
    ids = result.rows.column("sample_id")
    place = {sample_id: number for number, sample_id in enumerate(ids) if sample_id in wanted}
    for label, key in (("worse", "worse_ids"), ("better", "better_ids")):
        listed = [place[sample_id] for sample_id in against[key][:_CHANGED]]
        shown: list[Card] = cards(result, listed, root, against["answers_before"])
        if shown:
            found.append({"label": label, "count": against[label], "cards": shown})
    return found


# ---- plots ----------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Point:
    """A value with its interval; ``kind`` is the style class (``now`` or ``before``)."""

    kind: str
    value: float
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Line:
    """One labelled line of a plot; ``shown`` is the number written at its right end."""

    label: str
    points: Sequence[Point]
    shown: str


def interval_plot(lines: Sequence[Line], top: float, ticks: Sequence[tuple[float, str]], name: str) -> Markup:
    """Dots with whiskers on a common axis from 0 to ``top``.

    Args:
        ticks: (value, label) of the axis.
        name: what a screen reader says.
    """
    height = len(lines) * _ROW + _AXIS
    span = _WIDTH - _LEFT - _RIGHT

    def x(value: float) -> str:
        return f"{_LEFT + span * min(max(value / top, 0.0), 1.0):.1f}"

    parts = [f'<svg class="plot" viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{escape(name)}">']
    for value, label in ticks:
        parts.append(f'<line class="grid" x1="{x(value)}" x2="{x(value)}" y1="4" y2="{height - _AXIS + 4}"/>')
        parts.append(f'<text class="tick" x="{x(value)}" y="{height - 6}" text-anchor="middle">{escape(label)}</text>')
    for number, line in enumerate(lines):
        middle = number * _ROW + _ROW / 2 + 2
        parts.append(f'<text class="label" x="0" y="{middle + 4}">{escape(_short(line.label))}</text>')
        for place, point in enumerate(line.points):
            y = middle + (place - (len(line.points) - 1) / 2) * 9
            if point.low is not None and point.high is not None:
                parts.append(
                    f'<line class="whisker {point.kind}" x1="{x(point.low)}" x2="{x(point.high)}" y1="{y}" y2="{y}"/>'
                )
            parts.append(f'<circle class="dot {point.kind}" cx="{x(point.value)}" cy="{y}" r="4.5"/>')
        parts.append(f'<text class="shown" x="{_WIDTH}" y="{middle + 4}" text-anchor="end">{escape(line.shown)}</text>')
    parts.append("</svg>")
    return Markup("".join(parts))  # every text in it was escaped above


def _short(label: str, limit: int = 26) -> str:
    return label if len(label) <= limit else label[: limit - 1] + "…"


# ---- rows with their images -----------------------------------------------------------------------


@dataclass(frozen=True)
class Card:
    """One row as the report shows it.

    Attributes:
        image: data URI of the first image, or None with ``why_not``.
        shown_score: on the headline metric, '' for a metric that only tells right from wrong.
        before: the baseline's answer, where two runs are compared.
    """

    sample_id: str
    image: str | None
    why_not: str
    question: str
    references: list[str]
    raw: str
    extracted: str
    status: str
    truncated: bool
    shown_score: str
    more_references: int
    more_images: int
    before: str | None = None


def worst_rows(result: TaskResult, count: int) -> list[int]:
    """Indices of the lowest scores on the headline metric, at most one an image.

    Among equal scores the choice looks random but never changes: it goes by a digest of the id.
    """
    scores = result.headline.per_row
    chosen: list[int] = []
    images: set[int] = set()
    for score in np.unique(scores[scores < result.headline.best_row]):
        level = scores == score
        ids = result.rows.where(level).column("sample_id")
        for _, index in sorted(zip(map(_mixed, ids), np.flatnonzero(level).tolist(), strict=True)):
            if int(result.clusters[index]) not in images:
                images.add(int(result.clusters[index]))
                chosen.append(index)
            if len(chosen) == count:
                return chosen
    return chosen


def cards(result: TaskResult, indices: Sequence[int], root: Path, before: dict[str, str] | None = None) -> list[Card]:
    """Cards of the given rows."""
    headline = result.headline
    shown = ["" if headline.binary else numbers.number(headline.unit, float(headline.per_row[i])) for i in indices]
    return [_card(row, score, root, before) for row, score in zip(result.rows.take(indices), shown, strict=True)]


def _card(row: dict[str, Any], shown_score: str, root: Path, before: dict[str, str] | None) -> Card:
    image, why_not = data_uri(row["images"][0], root) if row["images"] else (None, "no image")
    references = list(dict.fromkeys(row["references"]))
    return Card(
        sample_id=row["sample_id"],
        image=image,
        why_not=why_not,
        question=row["question"],
        references=references[:_REFERENCES],
        raw=numbers.ends(row["raw"] or "", _REPLY),
        extracted=numbers.ends(row["extracted"] or "", _REPLY),
        status=row["status"],
        truncated=bool(row.get("truncated")),
        shown_score=shown_score,
        more_references=max(0, len(references) - _REFERENCES),
        more_images=max(0, len(row["images"]) - 1),
        before=(before or {}).get(row["sample_id"]),
    )


def data_uri(path: str, root: Path) -> tuple[str | None, str]:
    """An image of at most 240 pixels a side as a PNG data URI, or None and why."""
    found = locate(path, str(root.resolve()), max_bytes=DEFAULT_MAX_BYTES)
    if found.file is None:
        return None, found.error or "missing"
    image, error = load_image(found.file)
    if image is None:
        return None, (error or "unreadable").rpartition(": ")[2]
    image.thumbnail((_SIDE, _SIDE))
    buffer = BytesIO()
    image.save(buffer, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode(), ""


def _mixed(sample_id: str) -> str:
    return hashlib.sha256(sample_id.encode("utf-8", "surrogatepass")).hexdigest()
