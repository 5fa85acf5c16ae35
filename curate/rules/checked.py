"""A rule whose condition is known to be safe."""

from __future__ import annotations

from dataclasses import dataclass

from curate.rules.expression import Expression
from curate.rules.keep import Cap

# Column that a rule asks about → column that names the related row.
_RELATED = {"duplicate": "duplicate_of", "conflicting": "conflict_with", "contaminated": "evaluation"}


@dataclass(frozen=True)
class CheckedRule:
    """A rule whose condition is known to be safe."""

    name: str
    action: str
    expression: Expression
    cap: Cap | None = None

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns whose values are put on record when it fires."""
        return (*self.expression.columns, *([self.cap.filled] if self.cap else []))

    @property
    def related_column(self) -> str | None:
        """The column that names the row which made it fire, such as the kept one of two duplicates."""
        return next((_RELATED[column] for column in self.expression.columns if column in _RELATED), None)

    @property
    def threshold(self) -> str | None:
        """Its comparisons as one text."""
        return "; ".join(self.expression.thresholds) or None
