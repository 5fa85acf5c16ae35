"""The comparisons of a condition in the words of its author: ``error NOT IN ('a', 'b')``, ``question LIKE '%!'``."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

import duckdb

_CONSTANTS = {duckdb.token_type.numeric_const, duckdb.token_type.string_const}


@dataclass(frozen=True)
class _Token:
    text: str  # with the blanks after it
    kind: object

    @property
    def word(self) -> str:
        """In capitals; empty for a name or a constant, which may look like a word of the language."""
        known = (duckdb.token_type.keyword, duckdb.token_type.operator)
        return self.text.strip().upper() if self.kind in known else ""


def written_comparisons(condition: str) -> tuple[str, ...]:
    """The parts between AND, OR and brackets that compare something, blanks collapsed; a NOT before one belongs to it.

    Args:
        condition: an expression that DuckDB can parse.
    """
    return tuple(_text(part) for part in _parts(_tokens(condition)) if _compares(part))


def _tokens(condition: str) -> list[_Token]:
    data = condition.encode()  # DuckDB counts in bytes
    found = duckdb.tokenize(condition)
    spans = pairwise([*found, (len(data), None)])
    tokens = [_Token(data[start:end].decode(), kind) for (start, kind), (end, _) in spans]
    return [token for token in tokens if token.kind != duckdb.token_type.comment]


def _parts(tokens: Sequence[_Token]) -> Iterator[Sequence[_Token]]:
    cuts, depth, between = [-1], 0, 0
    closed = False  # whether the first bracket closes before the end
    for at, token in enumerate(tokens):
        depth += (token.word in ("(", "[", "CASE")) - (token.word in (")", "]", "END"))
        closed = closed or (depth == 0 and at < len(tokens) - 1)
        if depth == 0 and token.word == "BETWEEN":
            between += 1
        elif depth == 0 and token.word == "AND" and between:
            between -= 1
        elif depth == 0 and token.word in ("AND", "OR"):
            cuts.append(at)
    if len(cuts) > 1:
        for start, end in pairwise([*cuts, len(tokens)]):
            yield from _parts(tokens[start + 1 : end])
    elif tokens and tokens[0].word == "(" and not closed:
        yield from _parts(tokens[1:-1])
    elif tokens and tokens[0].word == "NOT":
        inner = list(_parts(tokens[1:]))
        yield from inner if len(inner) > 1 else [tokens]
    else:
        yield tokens


def _compares(part: Sequence[_Token]) -> bool:
    return any(token.kind in _CONSTANTS or any(sign in token.word for sign in "<>=") for token in part)


def _text(part: Sequence[_Token]) -> str:
    """Blanks between tokens are collapsed, those inside of a constant are kept."""
    return "".join(f"{(core := token.text.rstrip())}{' ' if core != token.text else ''}" for token in part).strip()
