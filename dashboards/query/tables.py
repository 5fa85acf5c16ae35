"""What the columns of an evaluation's ``predictions.parquet`` mean."""

from __future__ import annotations

from dataclasses import dataclass

from dashboards.query.catalog import MAKE
from dashboards.query.engine import Connection, columns_of, quoted
from winnow.errors import UserError

STATUSES = ("ok", "unparsed", "refused", "truncated", "failed")
RIGHT_FROM = 0.5  # a soft score (VQA accuracy) counts as right from here on
_CORRECTNESS = ("accuracy", "vqa_accuracy", "exact_match", "relaxed_accuracy", "anls")
_NOT_METRICS = ("seconds",)
_NEEDED = ("sample_id", "task", "question", "raw", "extracted", "status", "references")

# Slices that every evaluation has: the first two words of the question, and the first reference.
_SAID = {
    "question opens with": r"regexp_replace(regexp_extract(lower(question), '\S+(\s+\S+)?'), '\s+', ' ')",
    "reference": 'lower("references"[1])',
}


@dataclass(frozen=True)
class Predictions:
    """One ``predictions.parquet`` and what it can be asked.

    Attributes:
        path: the file.
        columns: every column's name.
        metrics: columns that hold a score, in file order.
        correctness: the metric columns that can tell right from wrong, best first.
    """

    path: str
    columns: frozenset[str]
    metrics: tuple[str, ...]
    correctness: tuple[str, ...]

    def slice_sql(self) -> dict[str, str]:
        """Slice name → SQL of a row's value as text: the slice columns, and what question and reference say."""
        stored = sorted(name for name in self.columns if name.startswith("slice_"))
        return {name.removeprefix("slice_"): f"{quoted(name)}::VARCHAR" for name in stored} | _SAID

    def correct_sql(self) -> str:
        """Boolean SQL: is the answer right? NULL where the task has no notion of it (captions).

        An answer that never came (any status but ``ok``) is wrong.
        """
        if not self.correctness:
            return "CASE WHEN status <> 'ok' THEN false END"
        score = f"coalesce({', '.join(quoted(name) for name in self.correctness)})"
        return f"CASE WHEN status <> 'ok' THEN false ELSE {score} >= {RIGHT_FROM} END"

    def ranking_sql(self, metric: str, *, worst_first: bool) -> str:
        """ORDER BY terms over ``metric``, or for '' over correctness, then the other metrics; ties go by sample_id."""
        others = tuple(name for name in self.metrics if name not in self.correctness)
        scores = (metric,) if metric in self.metrics else self.correctness + others
        direction = "ASC" if worst_first else "DESC"
        return ", ".join([*(f"{quoted(name)} {direction} NULLS LAST" for name in scores), "sample_id"])


def open_predictions(connection: Connection, path: str) -> Predictions:
    """Read the schema of a predictions file.

    Raises:
        UserError: the file is missing, no Parquet file, or lacks a column.
    """
    columns = columns_of(connection, path)
    if lost := [name for name in _NEEDED if name not in columns]:
        raise UserError(f"{path}: lacks the columns {', '.join(lost)}; remake it with `{MAKE['evals']}`")
    metrics = tuple(name for name, kind in columns.items() if kind in ("DOUBLE", "FLOAT") and name not in _NOT_METRICS)
    correctness = tuple(name for name in _CORRECTNESS if name in metrics)
    return Predictions(path, frozenset(columns), metrics, correctness)
