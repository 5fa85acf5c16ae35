"""Which rules fired on which rows of a curated set, in memory."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from dashboards.query.catalog import Folder
from dashboards.query.codes import coded, read_columns
from evalsuite.statistics import Property

# The other texts in the list ``rules`` would be most of the reading.
_COLUMNS = ("position", "decision", "reason", "rules.list.element.rule", "rules.list.element.action")


@dataclass(frozen=True)
class Fired:
    """``decisions.parquet`` as numbers.

    Attributes:
        position: (rows,) place in the input, ascending.
        decision, reason: (rows,) what became of each row, and the rule it was dropped for ('' if it was not).
        rule, action: (firings,) a rule that fired, and what it does.
        row: (firings,) the row on which it did, as an index into ``position``.
    """

    position: NDArray[np.int64]
    decision: Property
    reason: Property
    rule: Property
    action: Property
    row: NDArray[np.int64]

    def mask(self, rule: str) -> NDArray[np.bool_]:
        """(rows,) where a rule fired."""
        fired = np.zeros(len(self.position), dtype=bool)
        if rule in self.rule.values:
            fired[self.row[self.rule.codes == self.rule.values.index(rule)]] = True
        return fired

    def is_reason(self, rule: str) -> NDArray[np.bool_]:
        """(rows,) which rows it dropped."""
        return self._has(self.reason, rule) & self._has(self.decision, "drop")

    def count(self, decision: str) -> int:
        """Rows with a decision: keep, drop or flag."""
        return int(self._has(self.decision, decision).sum())

    def actions(self) -> dict[str, str]:
        """Rule → what it does, in order of the first row on which each fired."""
        first = np.unique(self.rule.codes, return_index=True)[1]
        return {
            self.rule.values[self.rule.codes[at]]: self.action.values[self.action.codes[at]] for at in sorted(first)
        }

    @staticmethod
    def _has(known: Property, value: str) -> NDArray[np.bool_]:
        return known.codes == (known.values.index(value) if value in known.values else -1)


def read_fired(folder: Folder) -> Fired:
    """Read a set's decisions once.

    Raises:
        UserError: they are missing or broken.
    """
    path = folder.path / "decisions.parquet"
    table = read_columns(path, _COLUMNS)
    lists = table["rules"].combine_chunks()
    fired = pa.Table.from_struct_array(lists.flatten())
    return Fired(
        position=table["position"].to_numpy(),
        decision=coded(table["decision"]),
        reason=coded(table["reason"]),
        rule=coded(fired["rule"]),
        action=coded(fired["action"]),
        row=np.repeat(np.arange(len(lists)), lists.value_lengths().fill_null(0).to_numpy()),
    )
