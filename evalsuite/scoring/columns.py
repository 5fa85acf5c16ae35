"""What goes into scoring and what comes out: answered rows, metric columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from evalsuite.statistics import Estimate, Floats


@dataclass(frozen=True)
class Answered:
    """The rows of one task, ready to score.

    Attributes:
        ids: sample ids.
        texts: extracted answers, None where the status is not ok.
        references: accepted answers of each row.
        raws: raw replies of rows whose status is ok or unparsed, None for the others: what variants
            that read by their own rule read.
        choices: options of each row, empty where it has none.
        slices: slice key → value of each row.
        images: what image each row is about, as text.
    """

    ids: Sequence[str]
    texts: Sequence[str | None]
    references: Sequence[Sequence[str]]
    raws: Sequence[str | None] = ()
    choices: Sequence[Sequence[str]] = ()
    slices: Sequence[Mapping[str, str]] = ()
    images: Sequence[str] = field(default=())


@dataclass(frozen=True)
class Column:
    """One metric on all rows of a task.

    Attributes:
        name: of the column in ``predictions.parquet``.
        per_row: score of every row, NaN where the metric does not apply. A row without an answer
            scores 0: keeping silent never pays.
        sums: (rows, k); the metric of any set of rows is ``estimate`` of their sum.
        estimate: (m, k) → (m,).
        variant: what exactly was computed, for the report.
        binary: every row is right or wrong, so that McNemar's test applies.
    """

    name: str
    per_row: Floats
    sums: Floats
    estimate: Estimate
    variant: str
    binary: bool = False

    @property
    def perfect(self) -> float:
        """The highest score of one row: 10 for CIDEr-D, else 1."""
        return 10.0 if "cider" in self.name else 1.0
