"""What a judge's scores rest on: who judged, where it gave no verdict, how far it agrees with rules and reviewers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import between, number, share

JUDGE_HEADER = [
    "judge and", "rows", "agreement", "Cohen’s kappa", "both right", "only judge right",
    "only other right", "both wrong",
]  # fmt: skip
_WITHOUT = {
    "unparsed": "not in the rubric’s form (scored 0)",
    "no_reply": "with no reply to judge (scored 0)",
    "failed": "not answered by the judge (left out)",
}


def judge_sentences(task: Mapping[str, Any]) -> list[str]:
    """Who judged by what, how many rows; how far the order of two replies mattered. Empty without a judge."""
    judge = task.get("judge")
    if not judge:
        return []
    lost = [f"{judge['statuses'][name]:,} {what}" for name, what in _WITHOUT.items() if judge["statuses"].get(name)]
    text = f"Judged by {judge['judge']} with the rubric {judge['rubric']}: {share(judge['coverage'])} of "
    text += f"{judge['rows']:,} rows have a verdict"
    if judge["coverage"] < 1 and judge["of_judged"] is not None:
        text += f", {number('%', judge['of_judged'])} on those alone"
    sentences = [f"{text}. Without a verdict: {', '.join(lost)}." if lost else f"{text}."]
    changed = [
        f"{judge[name]:,} {what}"
        for name, what in (("cut", "shortened"), ("defused", "with marks or special tokens disarmed"))
        if judge.get(name)
    ]
    if changed:
        sentences.append(f"Replies as the judge saw them: {', '.join(changed)}.")
    if orders := judge.get("orders"):
        sentences.append(
            f"Asked in both orders about {orders['rows']:,} rows, it scored {orders['same']:,} alike; it preferred the "
            f"first reply {orders['first_preferred']:,} times, the second {orders['second_preferred']:,} times."
        )
    return sentences


def judge_rows(task: Mapping[str, Any]) -> list[list[str]]:
    """Under ``JUDGE_HEADER``: agreement with each rule, then with reviewers."""
    judge = task.get("judge")
    if not judge:
        return []
    rows = [_row(entry["title"], entry) for entry in judge["agreement"].values()]
    if reviewers := judge.get("reviewers"):
        rows.append(_row(f"reviewers ({reviewers['metric']})", reviewers))
    return rows


def _row(name: str, entry: Mapping[str, Any]) -> list[str]:
    same, kappa = entry["agreement"], entry["kappa"]
    cells = [f"{entry[cell]:,}" for cell in ("both_right", "only_judge", "only_other", "both_wrong")]
    return [
        name, f"{entry['n']:,}", f"{number('%', same['value'])} ({between('%', same)})",
        f"{number('', kappa['value'])} ({between('', kappa)})", *cells,
    ]  # fmt: skip
