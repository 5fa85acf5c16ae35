"""A judge's verdicts in scores: read out of what it said, put onto rows, compared with rules and reviewers."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from evalsuite.analysis.corrected import reviewed_references
from evalsuite.analysis.results import TaskResult, score_rows
from evalsuite.analysis.rows import Rows
from evalsuite.judge.agreement import agreement
from evalsuite.judge.ask import reply_text
from evalsuite.judge.judgements import Judgement, by_row
from evalsuite.judge.rubric import Reader
from evalsuite.judge.settings import JudgeSettings
from evalsuite.judge.verdict import Verdict, read_verdict
from evalsuite.metrics.base import MetricColumn, Row
from evalsuite.metrics.judged import JUDGE
from evalsuite.tasks.spec import TaskSpec
from winnow.corrections import Resolved
from winnow.files import digest_of

_SAME = 1e-9  # a row's score in one order and in the other


def with_verdicts(spec: TaskSpec, rows: Rows, judgements: Sequence[Judgement], judge: str) -> Rows:
    """The rows with their ``verdict``: JSON with ``status``, ``score`` (0 to 1), ``by``, and what the rubric gives.

    ``status`` is ``ok``; ``unparsed``: the judge's reply has no verdict of the rubric's form, which scores 0;
    ``no_reply``: there was nothing to judge, which scores 0. A row that the judge was not asked about, or that it
    failed on, has no verdict and is left out of the score.

    Args:
        judge: its name, as reports show it.
    """
    settings = _settings(spec)
    by = f"judged by {judge}, rubric {settings.rubric.name}"
    said = by_row(judgements)
    verdicts = [
        _row_verdict(row, said.get(row["sample_id"], ()), settings.rubric.reader, spec.generation.stop)
        for row in rows.dicts(["sample_id", "raw", "finish_reason"])
    ]
    if settings.rubric.reader.kind == "answer":
        _score_answers(spec, rows, verdicts)
    texts = [None if verdict is None else json.dumps({**verdict, "by": by}) for verdict in verdicts]
    return rows.with_columns({"verdict": pa.array(texts, pa.string())})


def _settings(spec: TaskSpec) -> JudgeSettings:
    assert spec.judge is not None
    return spec.judge


def _row_verdict(
    row: Row, judgements: Sequence[Judgement], reader: Reader, stop: Sequence[str]
) -> dict[str, Any] | None:
    if not judgements:
        return None if reply_text(row, stop) else _worst("no_reply", reader)
    if any(judgement.finish_reason == "error" for judgement in judgements):
        return None
    verdicts = [(one.place, read_verdict(one.raw, one.finish_reason, reader)) for one in judgements]
    read = [(place, verdict) for place, verdict in verdicts if verdict is not None]
    if len(read) < len(verdicts):
        return _worst("unparsed", reader)
    if not verdicts[0][0]:
        (_, only) = read[0]
        return {"status": "ok", "score": only.score, **({"answer": only.answer} if only.answer is not None else {})}
    return {"status": "ok", **_of_both_orders(read)}


def _worst(status: str, reader: Reader) -> dict[str, Any]:
    numbers = {"own": reader.low, "other": reader.high} if reader.kind == "two_numbers" else {}
    return {"status": status, "score": 0.0, **numbers}


def _of_both_orders(read: Sequence[tuple[str, Verdict]]) -> dict[str, Any]:
    """The mean over the orders, from the side of this model; ``orders`` has its score in each."""
    scores = {place: _own_score(place, verdict) for place, verdict in read}
    found: dict[str, Any] = {"score": sum(scores.values()) / len(scores), "orders": scores}
    numbers = [
        verdict.numbers if place == "first" else verdict.numbers[::-1] for place, verdict in read if verdict.numbers
    ]
    if numbers:
        found["own"], found["other"] = (sum(side) / len(numbers) for side in zip(*numbers, strict=True))
    return found


def _own_score(place: str, verdict: Verdict) -> float:
    score = verdict.score or 0.0
    return score if place == "first" else 1.0 - score


def _score_answers(spec: TaskSpec, rows: Rows, verdicts: Sequence[dict[str, Any] | None]) -> None:
    """Score the answers that the judge extracted, by the task's first metric of its own."""
    name, rule = next(iter(spec.rule_metrics.items()))
    alone = spec.model_copy(update={"metrics": {name: rule}})
    answers = {place: verdict["answer"] for place, verdict in enumerate(verdicts) if verdict and "answer" in verdict}
    replies = rows.with_changed("raw", answers).with_changed("finish_reason", dict.fromkeys(answers, "stop"))
    scores = score_rows(alone, replies).columns[0].per_row
    for place in answers:
        verdict = verdicts[place]
        assert verdict is not None
        verdict["score"] = float(scores[place]) if np.isfinite(scores[place]) else 0.0


def judge_summary(
    result: TaskResult, judgements: Sequence[Judgement], judge: str, resolved: Mapping[str, Resolved], seed: int
) -> dict[str, Any]:
    """The task's entry ``judge`` in ``scores.json``.

    It has ``judge`` and ``rubric`` by name; ``rubric_digest``; ``rows``; ``statuses`` (``ok``, ``unparsed``,
    ``no_reply``, ``failed``); ``coverage``: the share of rows with a verdict; ``of_judged``: the judge's score on those
    alone; ``cut`` and ``defused``: rows whose prompt was changed so; ``orders``: of rows judged in both orders, how
    many have the same score in both, and how many times the first or the second reply was preferred; ``agreement``:
    with each metric that tells right from wrong; ``reviewers``: with the answers that reviewers kept or corrected, by
    the task's first such metric (``evalsuite.judge.agreement``).
    """
    settings = _settings(result.spec)
    verdicts = [json.loads(text) if text else None for text in result.rows.column("verdict")]
    statuses = Counter(verdict["status"] if verdict else "failed" for verdict in verdicts)
    read = np.array([verdict is not None and verdict["status"] == "ok" for verdict in verdicts], dtype=bool)
    column = _column(result)
    rules = _rules(result)
    right = read & (column.per_row >= (column.right_from or 0.0))
    scored = column.sums[read].sum(0, keepdims=True)
    return {
        "judge": judge,
        "rubric": settings.rubric.name,
        "rubric_digest": digest_of(settings.rubric.model_dump(mode="json")),
        "rows": len(read),
        "statuses": {name: statuses[name] for name in ("ok", "unparsed", "no_reply", "failed")},
        "coverage": float(read.mean()) if len(read) else 0.0,
        "of_judged": float(column.estimate(scored)[0]) if read.any() else None,
        "cut": len({one.sample_id for one in judgements if one.cut}),
        "defused": len({one.sample_id for one in judgements if one.defused}),
        "orders": _orders([verdict["orders"] for verdict in verdicts if verdict and "orders" in verdict]),
        "agreement": {
            rule.name: {"title": rule.title, **_agreement(right, rule.per_row, rule, read, result, seed)}
            for rule in rules
        },
        "reviewers": _reviewers(result, rules[0], right, read, resolved, seed) if rules else None,
    }


def _column(result: TaskResult) -> MetricColumn:
    """The judge's score from 0 to 1."""
    key = next(key for key, settings in result.spec.metrics.items() if settings.metric == JUDGE)
    return next(column for column in result.columns if column.name == key)


def _rules(result: TaskResult) -> list[MetricColumn]:
    """Columns that tell right from wrong without the judge."""
    spec = result.spec
    names = {key + suffix for key, one in spec.rule_metrics.items() for suffix in one.definition.numbers}
    return [column for column in result.columns if column.name in names and column.right_from is not None]


def _agreement(
    right: NDArray[np.bool_], scores: np.ndarray, rule: MetricColumn, rows: NDArray[np.bool_], result: TaskResult,
    seed: int,
) -> dict[str, Any]:  # fmt: skip
    """The judge against a rule on the rows that both scored; a row without an answer is wrong by the rule."""
    both = rows & np.isfinite(scores)
    return agreement(right[both], scores[both] >= (rule.right_from or 0.0), result.clusters[both], seed)


def _reviewers(
    result: TaskResult, rule: MetricColumn, right: NDArray[np.bool_], read: NDArray[np.bool_],
    resolved: Mapping[str, Resolved], seed: int,
) -> dict[str, Any] | None:  # fmt: skip
    """The judge against what reviewers' answers make of the reply, on the rows that they kept or relabelled.

    None if there is no such row.
    """
    reviewed = reviewed_references(result.rows, resolved)
    mask = read & np.isin(np.arange(len(read)), list(reviewed))
    if not mask.any():
        return None
    alone = result.spec.model_copy(update={"metrics": result.spec.rule_metrics})
    rows = result.rows.with_changed("references", reviewed)
    again = next(one for one in score_rows(alone, rows, result.image_root).columns if one.name == rule.name)
    return {"metric": rule.title, **_agreement(right, again.per_row, rule, mask, result, seed)}


def _orders(orders: Sequence[Mapping[str, float]]) -> dict[str, int] | None:
    """How far verdicts depend on which reply stood first."""
    if not orders:
        return None
    first = [(one["first"], 1.0 - one["second"]) for one in orders]  # scores of whatever reply stood first
    return {
        "rows": len(orders),
        "same": sum(abs(one["first"] - one["second"]) < _SAME for one in orders),
        "first_preferred": sum(score > 0.5 for pair in first for score in pair),
        "second_preferred": sum(score < 0.5 for pair in first for score in pair),
    }
