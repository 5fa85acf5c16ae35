"""A rule whose condition is known to be safe."""

from __future__ import annotations

from dataclasses import dataclass

from curate.rules.expression import Expression
from curate.rules.keep import Cap

# Column that a rule asks about → column that names the related row.
_RELATED = {
    "duplicate": "duplicate_of", "edited_copy": "edited_copy_of", "conflicting": "conflict_with",
    "contaminated": "evaluation", "leak_suspected": "evaluation",
    "contaminated_text": "text_evaluation", "question_cluster_place": "question_cluster",
    "answer_cluster_place": "answer_cluster", "row_cluster_place": "row_cluster",
}  # fmt: skip
# The same → columns that say more about it.
_OF_DUPLICATE, _OF_LEAK = ("duplicate_kind", "duplicate_strength"), ("contaminated_kind", "contamination_strength")
_DETAILS = {
    "duplicate": _OF_DUPLICATE, "edited_copy": _OF_DUPLICATE, "contaminated": _OF_LEAK, "leak_suspected": _OF_LEAK
}  # fmt: skip


@dataclass(frozen=True)
class CheckedRule:
    """A rule whose condition is known to be safe.

    Attributes:
        validated: what the recipe says about it.
        unvalidated: the scores that nobody has validated and one of which is enough to make it fire; none if the recipe
            says on what the rule was validated.
    """

    name: str
    action: str
    expression: Expression
    cap: Cap | None = None
    validated: str | None = None
    unvalidated: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns that it asks for, with those that say more about a copy."""
        asked = self.expression.columns
        return tuple(dict.fromkeys([*asked, *(more for name in asked for more in _DETAILS.get(name, ()))]))

    @property
    def shown(self) -> tuple[str, ...]:
        """The columns whose values are put on record when it fires."""
        return (*self.columns, *([self.cap.filled] if self.cap else []))

    @property
    def related_column(self) -> str | None:
        """The column that names the row which made it fire, such as the kept one of two duplicates."""
        return next((_RELATED[column] for column in self.expression.columns if column in _RELATED), None)

    @property
    def threshold(self) -> str | None:
        """Its comparisons as one text."""
        return "; ".join(self.expression.thresholds) or None
