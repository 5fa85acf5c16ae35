"""What reports say about a judge: how far it judged, whether the order mattered, and with whom it agrees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import number, share

AGREEMENT_HEADER = [
    "judge against",
    "rows",
    "same",
    "kappa",
    "both right",
    "only the judge",
    "only the other",
    "both wrong",
]
_DOUBTFUL = 0.6  # kappas below are called moderate or less (Landis and Koch 1977)


def judge_sentences(task: Mapping[str, Any]) -> list[str]:
    """Who judged and how much of it could be read; empty for a task without a judge."""
    entry = task.get("judge")
    if not entry:
        return []
    counts = entry["statuses"]
    failed = f"; the judge failed on {counts['failed']:,}, which are left out" if counts["failed"] else ""
    found = [
        f"Judged by {entry['judge']}, rubric {entry['rubric']}: {counts['ok']:,} of {entry['rows']:,} rows have a "
        f"verdict ({share(entry['coverage'])}). Counted as wrong: {counts['unparsed']:,} whose verdict could not be "
        f"read and {counts['no_reply']:,} without a reply{failed}. On rows with a verdict the score is "
        f"{number('%', entry['of_judged'])}."
    ]
    if orders := entry["orders"]:
        found.append(
            f"In both orders: {orders['same']:,} of {orders['rows']:,} rows have the same verdict; the reply that "
            f"stood first was preferred {orders['first_preferred']:,} times, the second "
            f"{orders['second_preferred']:,} times."
        )
    if entry["defused"] or entry["cut"]:
        found.append(
            f"{entry['defused']:,} replies held text that ends a reply, or a special token, which was disarmed in the "
            f"judge's prompt; {entry['cut']:,} rows were cut to fit it."
        )
    if low := [one["title"] for _, one in _agreements(entry) if one["kappa"]["value"] is not None
               and one["kappa"]["value"] < _DOUBTFUL]:  # fmt: skip
        found.append(
            f"Agreement is moderate or less (kappa below {_DOUBTFUL}) with {', '.join(low)}: read some verdicts."
        )
    return found


def agreement_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Under ``AGREEMENT_HEADER``: the judge against each rule, and against reviewers."""
    return [
        [
            one["title"],
            f"{one['n']:,}",
            _with_interval(one["agreement"]),
            _with_interval(one["kappa"]),
            *(f"{one[name]:,}" for name in ("both_right", "only_judge", "only_other", "both_wrong")),
        ]
        for _, one in _agreements(task.get("judge") or {})
    ]


def _agreements(entry: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    found = [*entry.get("agreement", {}).items()]
    if reviewers := entry.get("reviewers"):
        found.append(("reviewers", {**reviewers, "title": f"reviewers' answers, by {reviewers['metric']}"}))
    return found


def _with_interval(entry: Mapping[str, Any]) -> str:
    if entry["value"] is None:
        return "–"
    bounds = "" if entry["ci_low"] is None else f" ({entry['ci_low']:.2f} to {entry['ci_high']:.2f})"
    return f"{entry['value']:.2f}{bounds}".replace("-", "−")
