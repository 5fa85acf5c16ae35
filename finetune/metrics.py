"""``metrics.jsonl``: one line a logged step."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

from winnow.errors import UserError


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``; empty if there is none. A last line cut short by a kill is left out."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def stop_on_nan(loss: float, step: int) -> None:
    """Refuse to go on with a loss that is no number.

    Raises:
        UserError: the loss is nan or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(f"the loss became {loss} at step {step}; lower learning_rate or use compute_dtype: float32")
