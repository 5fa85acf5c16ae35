"""The conversation that the columns of a row make: instruction tables and tables of preferences.

``system`` is the first turn, ``history`` the turns before the question: pairs of question and answer, also written as
text, or turns with roles. An ``instruction`` or ``prompt`` is followed by its ``input`` on a new line. This is what
LLaMA-Factory's alpaca converter and ms-swift's AlpacaPreprocessor make; where they differ, as ms-swift does: it alone
reads a history that is written as text, and half pairs. A question and an answer may be lists of turns, as in TRL's
conversational sets. A rejected answer goes to ``meta``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from curate.readers.fields import conversation
from curate.readers.tables import is_empty, list_literal
from winnow.records import Turn


@dataclass(frozen=True)
class ColumnTurns:
    """Turns, the images that they name themselves, and what goes to ``meta``."""

    turns: tuple[Turn, ...]
    images: tuple[str, ...] = ()
    meta: dict[str, Any] = field(default_factory=dict)


def is_turns(cell: Any) -> bool:
    """Whether a cell is a turn, or a list of turns."""
    items = cell if isinstance(cell, list) else [cell]
    keys = ({"role", "content"}, {"from", "value"})
    return bool(items) and all(isinstance(item, dict) and any(pair <= item.keys() for pair in keys) for item in items)


def with_input(question: Any, given: Any) -> Any:
    """An instruction and its input as one question: two lines if both hold text."""
    if isinstance(question, str) and isinstance(given, str) and question and given:
        return f"{question}\n{given}"
    return given if is_empty(question) else question


def column_turns(cells: Mapping[str, Any], question: Any, answer: Any, where: str) -> ColumnTurns:
    """The turns of a row.

    Args:
        cells: ``system``, ``history`` and ``rejected``, if the row has them.
        question, answer: text or turns; '' for no answer. An answer that begins with a user's turn is the whole
            conversation.

    Raises:
        ValueError: the history is neither pairs nor turns, or a turn is not one.
    """
    images: list[str] = []
    system = cells.get("system")
    opening = (Turn("system", system),) if isinstance(system, str) and system else ()
    before = (*opening, *_history(cells.get("history"), where), *_turns(question, "user", where, images))
    turns = _continued(before, _turns(answer, "assistant", where, images))
    rejected = cells.get("rejected")
    if is_empty(rejected):
        return ColumnTurns(turns, tuple(images))
    other = _continued(before, _turns(rejected, "assistant", where, []))
    if other[:-1] == turns[:-1] and other[-1].role == "assistant":
        return ColumnTurns(turns, tuple(images), {"rejected": other[-1].value})
    messages = [{"role": turn.role, "content": turn.value} for turn in other]
    return ColumnTurns(turns, tuple(images), {"rejected_messages": messages})


def _continued(before: tuple[Turn, ...], after: tuple[Turn, ...]) -> tuple[Turn, ...]:
    """Both, unless ``after`` is the whole conversation; a system turn that it lacks stays."""
    if not after or after[0].role == "assistant":
        return before + after
    opening = before[:1] if before and before[0].role == "system" and after[0].role != "system" else ()
    return opening + after


def _turns(cell: Any, role: Any, where: str, images: list[str]) -> tuple[Turn, ...]:
    if is_turns(cell):
        found = conversation({"messages": cell if isinstance(cell, list) else [cell]}, where, source="", split="")
        images += found.image
        return found.conversations
    if is_empty(cell):
        return ()
    if not isinstance(cell, str):
        raise ValueError(f"the {'question' if role == 'user' else 'answer'} is neither a text nor turns")
    return (Turn(role, cell),)


def _history(cell: Any, where: str) -> tuple[Turn, ...]:
    if is_empty(cell) or (isinstance(cell, str) and not cell.strip()):
        return ()
    pairs = list_literal(cell) if isinstance(cell, str) else cell
    if is_turns(pairs):
        return _turns(pairs, "user", where, [])
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError("the history is not a list of pairs of texts")
    found = [(role, text) for pair in pairs for role, text in zip(("user", "assistant"), pair, strict=True)]
    if not all(isinstance(text, str | None) for _, text in found):
        raise ValueError("the history is not a list of pairs of texts")
    return tuple(Turn(role, text) for role, text in found if text is not None)  # type: ignore[arg-type]
