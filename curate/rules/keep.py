"""``keep:`` of a rule: the best share of all rows by a column, or so many rows of each group; the rule takes the rest.

``top 30% BY meta.aesthetic``, ``top 1000 BY sharpness``, ``at most 3 BY image_key``,
``at most 50 BY source, answer ORDER BY clip_alignment DESC``.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from curate.rules.expression import Expression, check_number, parse_column
from winnow.errors import UserError

_TOP = re.compile(r"top\s+(?P<amount>\d+(?:\.\d+)?)\s*(?P<percent>%?)\s+by\s+(?P<column>.+)", re.I | re.S)
_AT_MOST = re.compile(
    r"at\s+most\s+(?P<most>\d+)\s+by\s+(?P<group>.+?)(?:\s+order\s+by\s+(?P<order>.+?)(?:\s+(?P<way>asc|desc))?)?\s*",
    re.I | re.S,
)
_COMMA = re.compile(r',(?=(?:[^"]*"[^"]*")*[^"]*$)')  # outside of quotes


@dataclass(frozen=True)
class Cap:
    """At most so many rows of each group.

    Attributes:
        most: rows of a group that stay.
        group: columns whose values make a group.
        order: column of which the best values stay; None: any rows, by a digest of their id.
        descending: whether large values are the best.
        name: of the column that says whether a row is one too many; ``filled``: of the one with who fills the group.
    """

    most: int
    group: tuple[str, ...]
    order: str | None
    descending: bool
    name: str

    @property
    def filled(self) -> str:
        """Name of the column with the first rows of the group, which stay."""
        return f"{self.name}: filled by"


def parse_keep(text: str, columns: Mapping[str, str], where: str) -> tuple[Expression, Cap | None]:
    """Check a ``keep``; the expression is true for rows that are not kept.

    Args:
        text: the ``keep`` of a rule.
        columns: known column → DuckDB type.
        where: opens the error sentence.

    Raises:
        UserError: neither form, or an unknown column.
    """
    words = " ".join(text.split())
    if found := _TOP.fullmatch(words):
        return _top(found, columns, where), None
    if found := _AT_MOST.fullmatch(words):
        cap = _cap(found, columns, where)
        shown = (*cap.group, *([cap.order] if cap.order else []))
        sql = '"' + cap.name.replace('"', '""') + '"'
        return Expression(f"NOT {cap.name}", sql, tuple(dict.fromkeys(shown)), (cap.name,), ()), cap
    raise UserError(
        f"{where}: keep is `top 30% BY column`, `top 1000 BY column` or `at most 3 BY column` (got {text!r:.120})"
    )


def _top(found: re.Match[str], columns: Mapping[str, str], where: str) -> Expression:
    column = parse_column(found["column"], columns, where)
    check_number(column, columns, where)
    amount = float(found["amount"])
    if amount <= 0 or (found["percent"] and amount > 100) or not (found["percent"] or found["amount"].isdigit()):
        raise UserError(f"{where}: top needs a share above 0% and up to 100%, or a number of rows")
    name = f"top {found['amount']}{found['percent']} BY {column}"
    least, last = name, f"last of {name}"
    value, cut, end = (f'"{one.replace(chr(34), chr(34) * 2)}"' for one in (column, least, last))
    number = f"TRY_CAST({value} AS DOUBLE)"
    sql = f"{number} < {cut} OR ({number} = {cut} AND sample_id > {end})"
    shown = (column, least, "sample_id", last)
    return Expression(f"NOT {name}", sql, tuple(dict.fromkeys(shown)), (name,), (), constants=(least,))


def _cap(found: re.Match[str], columns: Mapping[str, str], where: str) -> Cap:
    group = tuple(parse_column(part, columns, where) for part in _COMMA.split(found["group"]))
    order = parse_column(found["order"], columns, where) if found["order"] else None
    if int(found["most"]) < 1:
        raise UserError(f"{where}: at most 0 keeps nothing; give 1 or more")
    descending = (found["way"] or "").lower() == "desc"
    name = f"at most {int(found['most'])} BY {', '.join(group)}"
    if order:
        name += f" ORDER BY {order}{' DESC' if descending else ''}"
    return Cap(int(found["most"]), group, order, descending, name)
