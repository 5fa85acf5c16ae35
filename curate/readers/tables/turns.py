"""The turns that the columns of a row make.

``system`` is the first turn, ``history`` the turns before the question: pairs of question and answer, also written as
text, or turns with roles. An ``instruction`` or ``prompt`` is followed by its ``input`` on a new line. This is what
LLaMA-Factory's alpaca converter and ms-swift's AlpacaPreprocessor make; where they differ, it is what ms-swift makes:
only ms-swift reads a history that is written as text, and one with half pairs. Without any text in ``output`` there is
no answer, where both train an empty one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from curate.readers.tables.cells import is_empty, list_literal
from winnow.rows.conversations import ReadTurn, Role, Turn, read_side

_PAIR = {
    "user": ("question", "query", "user", "human", "q"),
    "assistant": ("answer", "response", "assistant", "gpt", "a"),
}
_NO_PAIRS = "the history is not a list of pairs of texts"


def is_turns(cell: Any) -> bool:
    """Whether a cell is a turn, or a list of turns."""
    if cell is None or isinstance(cell, str):
        return False
    items = cell if isinstance(cell, list) else [cell]
    return bool(items) and all(isinstance(item, dict) and not {"role", "from"}.isdisjoint(item) for item in items)


def paired_turns(cell: Any) -> list[dict[str, str]]:
    """``[{"question": …, "answer": …}]``, or one such object, as a list of turns; empty for anything else."""
    turns = []
    for pair in cell if isinstance(cell, list) else [cell]:
        if not isinstance(pair, dict):
            return []
        for role, keys in _PAIR.items():
            text = next((pair[key] for key in keys if key in pair), None)
            if not isinstance(text, str):
                return []
            turns.append({"role": role, "content": text})
    return turns


def with_input(question: Any, given: Any) -> Any:
    """An instruction and its input as one question: two lines if both hold text."""
    if isinstance(question, str) and isinstance(given, str) and question and given:
        return f"{question}\n{given}"
    return given if is_empty(question) else question


def column_turns(
    cells: Mapping[str, Any], question: Any, answer: Any, named: Mapping[str, str]
) -> tuple[ReadTurn, ...]:
    """The turns of a row.

    Args:
        cells: ``system`` and ``history``, if the row has them.
        question, answer: text or turns; '' for no answer. An answer that begins with a user's turn is the whole
            conversation.
        named: images by the marker that the texts give them; see ``winnow.rows.parts.pieces``.

    Raises:
        ValueError: the history is neither pairs nor turns, or a turn is not one.
    """
    system = _side(cells.get("system"), "system", named)
    turns = (*system, *_history(cells.get("history"), named), *_side(question, "user", named))
    answered = _side(answer, "assistant", named)
    if not answered or answered[0].turn.role == "assistant":
        return turns + answered
    return answered if answered[0].turn.role == "system" else (*system, *answered)


def _side(cell: Any, role: Role, named: Mapping[str, str]) -> tuple[ReadTurn, ...]:
    if isinstance(cell, str):
        return _spoken(cell, role, named) if cell else ()
    return read_side(cell, (), role, named) if is_turns(cell) else ()


def _spoken(text: str, role: Role, named: Mapping[str, str]) -> tuple[ReadTurn, ...]:
    return read_side(text, (), role, named) if "<" in text else (ReadTurn(Turn(role, text)),)


def _history(cell: Any, named: Mapping[str, str]) -> tuple[ReadTurn, ...]:
    if is_empty(cell) or (isinstance(cell, str) and not cell.strip()):
        return ()
    pairs = list_literal(cell) if isinstance(cell, str) else cell
    if is_turns(pairs):
        return read_side(pairs, (), "user", named)
    if not isinstance(pairs, list) or not all(isinstance(pair, list | tuple) and len(pair) == 2 for pair in pairs):
        raise ValueError(_NO_PAIRS)
    if not all(isinstance(text, str | None) for pair in pairs for text in pair):
        raise ValueError(_NO_PAIRS)
    roles: tuple[Role, Role] = ("user", "assistant")
    spoken = ((role, text) for pair in pairs for role, text in zip(roles, pair, strict=True))
    return tuple(read for role, text in spoken if text is not None for read in _spoken(text, role, named))
