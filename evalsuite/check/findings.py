"""A finding: one sentence about what is wrong, where, and what to do; findings of a kind are counted, not repeated."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from winnow.text import one_line

Level = Literal["error", "warning", "note"]
LEVELS: tuple[Level, ...] = ("error", "warning", "note")
_EXAMPLES = 3


@dataclass(frozen=True)
class Finding:
    """One thing to know before anything is asked.

    Attributes:
        level: ``error``: the scores would mean nothing, or there would be none; a run does not start.
            ``warning``: some rows or readings are probably not what is meant. ``note``: good to know.
        task: of which task; '' for the whole recipe.
        what: what is the matter.
        fix: what to do about it, where `what` does not say it.
        rows: number of rows it concerns; 0 where it is about no row.
        examples: ids of some of them.
    """

    level: Level
    task: str
    what: str
    fix: str
    rows: int = 0
    examples: tuple[str, ...] = ()

    def sentence(self) -> str:
        """The finding as one line without its level."""
        where = ""
        if self.rows:
            ids = ", ".join(self.examples) + (" …" if self.rows > len(self.examples) else "")
            where = f" ({self.rows:,} row{'s' if self.rows != 1 else ''}: {ids})"
        return f"{self.task + ': ' if self.task else ''}{self.what}{where}{'; ' if self.fix else ''}{self.fix}"

    def to_json(self) -> dict[str, Any]:
        """For the manifest."""
        return {**vars(self), "examples": list(self.examples)}

    @staticmethod
    def from_json(values: Mapping[str, Any]) -> Finding:
        """From a manifest."""
        return Finding(**{**values, "examples": tuple(values["examples"])})


@dataclass
class Counted:
    """Rows with the same trouble: how many, some ids, and what was seen in the first."""

    rows: int = 0
    examples: list[str] = field(default_factory=list)
    first: str = ""

    def add(self, sample_id: str, seen: str = "") -> None:
        """Count a row."""
        self.rows += 1
        if len(self.examples) < _EXAMPLES:
            self.examples.append(one_line(sample_id))
        self.first = self.first or seen

    def finding(self, level: Level, task: str, what: str, fix: str) -> Finding:
        """The finding about these rows; ``{first}`` in ``what`` stands for what was seen in the first."""
        return Finding(level, task, what.replace("{first}", self.first), fix, self.rows, tuple(self.examples))
