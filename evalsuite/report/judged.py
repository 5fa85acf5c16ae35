"""What a judge's scores rest on: who judged, where it gave no verdict, how far it agrees with rules and reviewers."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from evalsuite.report.numbers import between, number, share

JUDGE_HEADER = [
    "the judge and", "rows", "agreement", "95 % interval", "Cohen’s kappa", "95 % interval", "both right",
    "only the judge", "only the other", "both wrong",
]  # fmt: skip
_WITHOUT = {
    "unparsed": "where the judge’s reply had no verdict of the rubric’s form (scored 0)",
    "no_reply": "where there was no reply to judge (scored 0)",
    "failed": "that the judge did not answer (left out)",
}


def judge_sentences(task: Mapping[str, Any]) -> list[str]:
    """Who judged by what, how many rows; how far the order of two replies mattered. Empty without a judge."""
    judge = task.get("judge")
    if not judge:
        return []
    lost = [f"{judge['statuses'][name]:,} {what}" for name, what in _WITHOUT.items() if judge["statuses"].get(name)]
    text = f"Judged by {judge['judge']} with the rubric {judge['rubric']}: {share(judge['coverage'])} of "
    text += f"{judge['rows']:,} rows have a verdict"
    sentences = [f"{text}. Of the others: {', '.join(lost)}." if lost else f"{text}."]
    if judge["coverage"] < 1 and judge["of_judged"] is not None:
        sentences[0] += f" On the rows with a verdict the score is {number('%', judge['of_judged'])}."
    changed = [
        f"{judge[name]:,} {what}"
        for name, what in (("cut", "shortened"), ("defused", "with marks or special tokens disarmed"))
        if judge.get(name)
    ]
    if changed:
        sentences.append(f"Replies as the judge saw them: {', '.join(changed)}.")
    if orders := judge.get("orders"):
        sentences.append(
            f"Asked in both orders about {orders['rows']:,} rows, it gave {orders['same']:,} the same score in both; "
            f"the first reply was preferred {orders['first_preferred']:,} times, the second "
            f"{orders['second_preferred']:,} times."
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
        name, f"{entry['n']:,}", number("%", same["value"]), between("%", same), number("", kappa["value"]),
        between("", kappa), *cells,
    ]  # fmt: skip
