"""How far a score depends on the reading: on replies that were cut off, and on what other readers would have read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from evalsuite.analysis.results import TaskResult, answers_of, score_rows
from evalsuite.analysis.rows import Mask, Rows
from evalsuite.metrics.base import MetricColumn
from evalsuite.reading import may_read_differently, other_readers
from evalsuite.reading.read import Extraction, read_answer
from evalsuite.statistics import Floats, mean_of_sums
from evalsuite.tasks.spec import score
from winnow.errors import UserError

READ_AGAIN = 20_000  # rows that every other reader reads; where there are more, as many are drawn
NOTED_SHARE = 0.01


def with_readings(entry: dict[str, Any], result: TaskResult, seed: int) -> dict[str, Any]:
    """The task's entry in ``scores.json`` with ``truncated`` replies, ``truncated_as_wrong`` and ``reading``."""
    truncated = int(result.truncated.sum())
    wrong = truncated_as_wrong(result) if truncated else {name: one["value"] for name, one in entry["metrics"].items()}
    metrics = {name: {**facts, "truncated_as_wrong": wrong[name]} for name, facts in entry["metrics"].items()}
    return {**entry, "metrics": metrics, "truncated": truncated, "reading": reading_report(result, seed)}


def truncated_as_wrong(result: TaskResult) -> dict[str, float | None]:
    """Column → the score where every row whose reply was cut off counts as wrong.

    Such a row scores 0 in a mean; for every other number (F1, BLEU, CIDEr …) it has no answer.
    """
    cut = result.truncated
    sums = {column.name: column.sums for column in result.columns}
    for key in result.spec.metrics:
        columns = _columns_of(result, key)
        if result.spec.metrics[key].definition.whole_set or not all(map(_is_mean, columns)):
            sums |= {name: found for name, (_, found) in _rescored(result, key, _unread(result, cut), cut).items()}
            continue
        for column in columns:
            sums[column.name] = np.stack([np.where(cut, 0.0, column.sums[:, 0]), column.sums[:, 1]], axis=1)
    return {column.name: _value(column, sums[column.name].sum(0)) for column in result.columns}


def reading_report(result: TaskResult, seed: int) -> dict[str, Any]:
    """What other readers would make of the replies.

    Of more than 20,000 rows as many are read again, drawn by image; a reader's score is then the headline moved by
    what changes on those rows.

    Returns:
        ``rows`` that were read again; ``readers``, each with ``name``, ``extraction``, ``changed`` rows whose score on
        the headline is another, their ``share``, ``gained`` rows that are right under this reader only and ``lost``
        rows that are right as read only (of a headline that judges no single row: rows that score higher and lower),
        the ``score``, and whether it ``guesses``; and a ``warning``, if a reader that does not guess gains more than
        1 % of the rows, that names the setting.
    """
    others = other_readers(result.spec.extraction)
    key = next(iter(result.spec.metrics))
    judged = result.spec.metrics[key].definition.of_judge  # a judge has the whole reply before it
    if judged or not others or not len(result.rows):
        return {"rows": 0, "readers": [], "warning": None}
    drawn = _drawn(result, seed)
    headline = result.spec.model_copy(update={"metrics": {key: result.spec.metrics[key]}})
    part = result if drawn.all() else score_rows(headline, result.rows.where(drawn), result.image_root)
    own = part.headline
    readers = []
    for name, rows, differs in _read_again(part, others):
        again = _rescored(part, key, rows, differs) if differs.any() else {}
        per_row, sums = again.get(own.name, (own.per_row, own.sums))
        changed = int((~np.isclose(per_row, own.per_row, rtol=0, atol=0, equal_nan=True)).sum())
        before, after = _judged(own.per_row, own), _judged(per_row, own)
        moved = (sums.sum(0) - own.sums.sum(0)) * (len(result.rows) / len(part.rows))
        readers.append({
            "name": name, "extraction": others[name].model_dump(mode="json", exclude_defaults=True),
            "changed": changed, "share": changed / len(part.rows),
            "gained": int((after > before).sum()), "lost": int((after < before).sum()),
            "score": _value(result.headline, result.headline.sums.sum(0) + moved),
            "guesses": _guesses(others[name]),
        })  # fmt: skip
    return {"rows": len(part.rows), "readers": readers, "warning": _warning(result, readers, len(part.rows))}


def _guesses(reader: Extraction) -> bool:
    """Whether a reader of a closed answer finds one in a reply that holds none, as POPE's own code reads *yes*."""
    closed = reader.kind in ("letter", "yes_no", "choice", "number")
    return closed and read_answer("…", "stop", reader, ("cat", "dog")).answer is not None


def _judged(per_row: Floats, column: MetricColumn) -> Floats:
    """1 for a right row and 0 for a wrong one, where the number judges rows; else their scores."""
    return per_row if column.right_from is None else np.where(per_row >= column.right_from, 1.0, 0.0)


def _warning(result: TaskResult, readers: list[dict[str, Any]], rows: int) -> str | None:
    headline = result.headline
    value = _value(headline, headline.sums.sum(0))
    better = [
        reader for reader in readers
        if reader["gained"] > NOTED_SHARE * rows and not reader["guesses"]
        and (headline.right_from is not None or (reader["score"] or 0) > (value or 0))
    ]  # fmt: skip
    if not better:
        return None
    best = max(better, key=lambda reader: (reader["gained"] - reader["lost"], reader["gained"]))
    setting = json.dumps(best["extraction"], ensure_ascii=False) if best["extraction"] else "{kind: text}"
    right, wrong = ("right", "wrong") if headline.right_from is not None else ("better", "worse")
    return (
        f"{100 * best['gained'] / rows:.1f} % of the rows are {right} under the reader “{best['name']}” and {wrong} as "
        f"read now, {100 * best['lost'] / rows:.1f} % the other way round; {headline.title} is "
        f"{_shown(headline, best['score'])} instead of {_shown(headline, value)}. Look at some with "
        f"`evalsuite explain`; `extraction: {setting}` in the task or the recipe reads them so."
    )


def _shown(column: MetricColumn, value: float | None) -> str:
    if value is None:
        return "nothing"
    return f"{100 * value:.1f}" if column.unit == "%" else f"{value:.2f}"


def _drawn(result: TaskResult, seed: int) -> Mask:
    """All rows, or those of images drawn at random until there are at least ``READ_AGAIN`` rows."""
    if len(result.rows) <= READ_AGAIN:
        return np.ones(len(result.rows), dtype=bool)
    sizes = np.bincount(result.clusters)
    order = np.random.default_rng(seed).permutation(len(sizes))
    enough = int(np.searchsorted(np.cumsum(sizes[order]), READ_AGAIN)) + 1
    chosen = np.zeros(len(sizes), dtype=bool)
    chosen[order[:enough]] = True
    return chosen[result.clusters]


def _read_again(part: TaskResult, others: Mapping[str, Extraction]) -> Iterator[tuple[str, Rows, Mask]]:
    """Each reader's name, the rows as it reads them, and which it reads differently."""
    own, stop = part.spec.extraction, part.spec.generation.stop
    names = ["raw", "finish_reason", "choices", "extracted", "status"]
    for name, other in others.items():
        texts: list[str | None] = []
        statuses: list[str] = []
        differs: list[bool] = []
        for row in part.rows.dicts(names):
            text, status = row["extracted"], row["status"]
            raw = row["raw"] or ""
            if status != "failed" and may_read_differently(raw, own, other):
                text, status, _ = read_answer(raw, row["finish_reason"], other, row["choices"] or (), stop)
            texts.append(text)
            statuses.append(status)
            differs.append((text, status) != (row["extracted"], row["status"]))
        columns = {"extracted": pa.array(texts, pa.string()), "status": pa.array(statuses, pa.string())}
        yield name, part.rows.with_columns(columns), np.array(differs)


def _unread(result: TaskResult, cut: Mask) -> Rows:
    """The rows without the answers of those in ``cut``."""
    columns = {}
    for name, kept in (("extracted", None), ("status", "failed")):
        old = [table.column(name).combine_chunks() for table in result.rows.batches([name])]
        whole = pa.chunked_array(old, pa.string()).combine_chunks()
        columns[name] = pc.if_else(pa.array(cut), pa.scalar(kept, pa.string()), whole)
    return result.rows.with_columns(columns)


def _rescored(result: TaskResult, key: str, rows: Rows, differs: Mask) -> dict[str, tuple[Floats, Floats]]:
    """Column → its scores and sums of all rows, where the answers in ``differs`` are those of ``rows``.

    Only those rows are scored, unless the metric looks at others beside them.
    """
    settings = {key: result.spec.metrics[key]}
    own = {column.name: column for column in _columns_of(result, key)}
    if not settings[key].definition.whole_set:
        try:
            found = score(answers_of(rows.where(differs), result.spec, result.image_root), settings)
        except UserError:  # what it needs is in other rows only
            found = []
        if {column.name: column.sums.shape[1] for column in found} == {
            name: column.sums.shape[1] for name, column in own.items()
        }:
            return {column.name: _placed(own[column.name], column, differs) for column in found}
    whole = score(answers_of(rows, result.spec, result.image_root), settings)
    return {column.name: (column.per_row, column.sums) for column in whole if column.name in own}


def _placed(old: MetricColumn, new: MetricColumn, where: Mask) -> tuple[Floats, Floats]:
    per_row, sums = old.per_row.copy(), old.sums.copy()
    per_row[where], sums[where] = new.per_row, new.sums
    return per_row, sums


def _columns_of(result: TaskResult, key: str) -> list[MetricColumn]:
    suffixes = result.spec.metrics[key].definition.numbers
    names = {key + suffix for suffix in suffixes}
    return [column for column in result.columns if column.name in names]


def _is_mean(column: MetricColumn) -> bool:
    return column.estimate is mean_of_sums and column.sums.shape[1] == 2


def _value(column: MetricColumn, total: Floats) -> float | None:
    value = float(column.estimate(total[None, :])[0])
    return value if np.isfinite(value) else None
