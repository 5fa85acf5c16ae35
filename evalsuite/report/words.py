"""Sentences that both reports use."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import between, number, title

SLICE_NOTE = "Corpus metrics of a slice use the document frequencies of the whole task."


def how_to_read(scores: Mapping[str, Any]) -> list[str]:
    """What the numbers mean, one fact a sentence."""
    return [
        "A row without an answer (unparsed, refused, truncated, failed) scores 0 and is never read as text; "
        "coverage is the share of rows with an answer, and “of answered” is the score on those alone.",
        f"Intervals hold {round(100 * scores['level'])} % of 2,000 bootstrap resamples of whole images, because "
        "questions about one image are not independent. Where every row is right, or every row wrong, the bound is "
        "Clopper and Pearson's with images as trials.",
        "Scores are × 100, except CIDEr-D, which goes to 10.",
    ]


def skipped_sentence(entry: Mapping[str, Any] | None) -> str:
    """What the task's source held that was not asked, or ''."""
    if not entry:
        return ""
    parts = []
    if entry["bad"]:
        parts.append(f"{entry['bad']:,} rows of the source could not be read")
    if entry["without_answer"]:
        parts.append(f"{entry['without_answer']:,} rows have no question or no reference")
    return f"Not asked: {'; '.join(parts)}." if parts else ""


def intersection_sentence(task: Mapping[str, Any]) -> str:
    """On which rows two runs are compared."""
    text = f"Compared on the {task['n']:,} rows that both runs hold"
    parts = [
        (task["only_in_a"], "only in the baseline"),
        (task["only_in_b"], "only in this run"),
        (task["changed"], "with another question, image or reference"),
    ]
    left_out = [f"{count:,} {what}" for count, what in parts if count]
    return text + (f"; left out: {', '.join(left_out)}." if left_out else "; nothing is left out.")


def verdict(task: Mapping[str, Any], metric: str) -> str:
    """One sentence about the difference in the headline metric."""
    entry = task["metrics"][metric]
    difference = f"{number(metric, entry['difference'], sign=True)} ({between(metric, entry, sign=True)})"
    if entry["ci_low"] is None:
        return f"{title(metric)} changed by {difference}; too few images for an interval."
    if entry["ci_low"] > 0:
        return f"{title(metric)} rose by {difference}; the interval excludes zero."
    if entry["ci_high"] < 0:
        return f"{title(metric)} fell by {difference}; the interval excludes zero."
    return f"{title(metric)} changed by {difference}; the interval holds zero, so no difference is shown."
