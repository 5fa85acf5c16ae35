"""A rule's condition: one boolean SQL expression over known columns, and nothing else.

The text is untrusted. DuckDB parses it to a tree, every node must be of an allowed kind, and what
runs is the text that DuckDB writes from that tree, never the user's own. It runs in a connection
without access to files, network or settings (see ``curate.rules.decide``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.rules.written import written_comparisons
from winnow.errors import UserError, did_you_mean

_CLASSES = {
    "COLUMN_REF",
    "CONSTANT",
    "COMPARISON",
    "CONJUNCTION",
    "OPERATOR",
    "BETWEEN",
    "CASE",
    "CAST",
    "TYPE",
    "FUNCTION",
}
_OPERATORS = {
    "OPERATOR_NOT", "OPERATOR_IS_NULL", "OPERATOR_IS_NOT_NULL", "OPERATOR_COALESCE", "COMPARE_IN",
    "COMPARE_NOT_IN",
}  # fmt: skip
_FUNCTIONS = {
    "+", "-", "*", "/", "//", "%", "**", "^", "abs", "round", "floor", "ceil", "sqrt", "ln", "log", "log2", "log10",
    "exp", "least", "greatest", "ifnull", "nullif", "isnan", "~~", "!~~", "~~*", "!~~*", "~~~", "like_escape",
    "not_like_escape", "ilike_escape", "not_ilike_escape", "lower", "upper", "trim", "length", "strlen", "contains",
    "starts_with", "prefix", "suffix", "ends_with", "regexp_matches", "regexp_full_match", "list_contains", "len",
}  # fmt: skip
_LONGEST = 10_000


@dataclass(frozen=True)
class Expression:
    """A checked condition.

    Attributes:
        text: as the recipe has it, blanks collapsed.
        sql: what runs.
        columns: the columns it reads, in order of first mention.
        thresholds: its comparisons as they are written, e.g. ``sharpness < 35``; what a person wants to tune.
        comparisons: the same as SQL that is known to be safe; of ``IN`` and ``BETWEEN`` without a ``NOT`` before them.
        cuts: (column, number) for each column that it compares with a number.
    """

    text: str
    sql: str
    columns: tuple[str, ...]
    thresholds: tuple[str, ...]
    comparisons: tuple[str, ...]
    cuts: tuple[tuple[str, float], ...] = ()


def parse_expression(text: str, columns: Mapping[str, str], where: str) -> Expression:
    """Check one condition.

    Args:
        text: the ``when`` of a rule.
        columns: known column → DuckDB type.
        where: opens the error sentence, e.g. ``rule 'blurry'``.

    Raises:
        UserError: no single expression, an unknown column (near ones are named), a function or
            construct that is not allowed, or a result that is not true or false.
    """
    with duckdb.connect(":memory:", config={"enable_external_access": "false"}) as connection:
        tree = _tree(connection, text, where)
        nodes = list(_nodes(tree))
        for node in nodes:
            _check_node(node, where)
        names = [".".join(node["column_names"]) for node in nodes if node["class"] == "COLUMN_REF"]
        for name in names:
            if name not in columns:
                hint = did_you_mean(name, columns)
                raise UserError(f"{where}: unknown column {name!r}; {hint} (`curate signals` explains them)")
        comparisons = [node for node in nodes if node["class"] in ("COMPARISON", "BETWEEN") or _is_in(node)]
        expression = Expression(
            text=" ".join(text.split()),
            sql=_sql(connection, tree),
            columns=tuple(dict.fromkeys(names)),
            thresholds=written_comparisons(text),
            comparisons=tuple(_sql(connection, node) for node in comparisons),
            cuts=tuple(cut for node in comparisons for cut in _cuts(connection, node)),
        )
        _check_type(connection, expression, columns, where)
    return expression


def _tree(connection: duckdb.DuckDBPyConnection, text: str, where: str) -> dict[str, Any]:
    if not text.strip():
        raise UserError(f"{where}: the condition is empty")
    if len(text) > _LONGEST or "\0" in text:
        raise UserError(f"{where}: the condition is longer than {_LONGEST:,} characters or holds a NUL")
    parsed = _serialized(connection, f"SELECT (\n{text}\n)")
    if parsed.get("error"):
        raise UserError(f"{where}: not an SQL expression: {parsed['error_message']} (got {text!r:.120})")
    select = parsed["statements"][0]["node"] if len(parsed["statements"]) == 1 else {}
    # Everything that a plain `SELECT expression` does not have must be the same as in this one.
    plain = _serialized(connection, "SELECT (\n1\n)")["statements"][0]["node"]
    rest = {key: value for key, value in plain.items() if key not in ("select_list", "from_table")}
    expressions = select.get("select_list", [])
    if (
        len(expressions) != 1
        or any(select.get(key) != value for key, value in rest.items())
        or select["from_table"]["type"] != "EMPTY"
    ):
        raise UserError(f"{where}: must be one condition, not a query (got {text!r:.120})")
    tree: dict[str, Any] = expressions[0]
    return tree


def _serialized(connection: duckdb.DuckDBPyConnection, statement: str) -> dict[str, Any]:
    row = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [statement]).fetchone()
    parsed: dict[str, Any] = json.loads(row[0]) if row else {}
    return parsed


def _sql(connection: duckdb.DuckDBPyConnection, tree: dict[str, Any]) -> str:
    statement = _serialized(connection, "SELECT 1")
    statement["statements"][0]["node"]["select_list"] = [{**tree, "alias": ""}]
    row = connection.execute("SELECT json_deserialize_sql(?::JSON)", [json.dumps(statement)]).fetchone()
    text = str(row[0]).removeprefix("SELECT ") if row else ""
    return text[1:-1] if text.startswith("(") and text.endswith(")") and _closes_last(text) else text


def _closes_last(text: str) -> bool:
    """Whether the first bracket is closed by the last character; quotes are passed over."""
    depth, quoted = 0, ""
    for at, character in enumerate(text):
        if quoted:
            quoted = "" if character == quoted else quoted
        elif character in "'\"":
            quoted = character
        elif character in "()":
            depth += 1 if character == "(" else -1
            if not depth:
                return at == len(text) - 1
    return False


def _nodes(tree: Any) -> Iterator[dict[str, Any]]:
    """Every expression node of the tree, outermost first."""
    if isinstance(tree, dict):
        if "class" in tree:
            yield tree
        for value in tree.values():
            yield from _nodes(value)
    elif isinstance(tree, list):
        for item in tree:
            yield from _nodes(item)


def _check_node(node: Mapping[str, Any], where: str) -> None:
    kind = node["class"]
    if kind not in _CLASSES or (kind == "OPERATOR" and node["type"] not in _OPERATORS):
        raise UserError(f"{where}: {str(node['type']).lower().replace('_', ' ')} is not allowed in a condition")
    if kind == "FUNCTION":
        name = node["function_name"].lower()
        if name not in _FUNCTIONS or node.get("schema") or node.get("catalog"):
            allowed = ", ".join(sorted(name for name in _FUNCTIONS if name.isidentifier()))
            raise UserError(f"{where}: function {name!r} is not allowed in a condition; allowed: {allowed}")


def _cuts(connection: duckdb.DuckDBPyConnection, node: Mapping[str, Any]) -> list[tuple[str, float]]:
    """Columns and numbers of a comparison of the one with the other; [] for any other comparison."""
    if node["class"] == "BETWEEN":
        sides, limits = [node["input"]], [node["lower"], node["upper"]]
    elif node["class"] == "COMPARISON":
        sides, limits = [node["left"]], [node["right"]]
        if not any(part["class"] == "COLUMN_REF" for part in _nodes(node["left"])):
            sides, limits = limits, sides
    else:
        return []
    columns = [name for side in sides for name in _compared(side)]
    numbers = [_number(connection, limit) for limit in limits]
    return [(name, number) for name in columns for number in numbers if number is not None]


def _compared(side: Mapping[str, Any]) -> list[str]:
    """The columns whose values a side passes on unchanged: a column, or the first of some that is not null."""
    if side["class"] == "COLUMN_REF":
        return [".".join(side["column_names"])]
    if side["type"] == "OPERATOR_COALESCE":
        return [name for child in side["children"] for name in _compared(child)]
    return []


def _number(connection: duckdb.DuckDBPyConnection, node: dict[str, Any]) -> float | None:
    """The value of a side without columns, if it is a number."""
    if any(part["class"] == "COLUMN_REF" for part in _nodes(node)):
        return None
    try:
        value = connection.execute(f"SELECT try_cast(({_sql(connection, node)}) AS DOUBLE)").fetchall()[0][0]
    except duckdb.Error:
        return None
    return float(value) if value is not None else None


def _is_in(node: Mapping[str, Any]) -> bool:
    return node["class"] == "OPERATOR" and node["type"] in ("COMPARE_IN", "COMPARE_NOT_IN")


def _check_type(
    connection: duckdb.DuckDBPyConnection, expression: Expression, columns: Mapping[str, str], where: str
) -> None:
    nulls = ", ".join(f'NULL::{columns[name]} AS "{name}"' for name in expression.columns) or "NULL AS nothing"
    try:
        described = connection.execute(f"DESCRIBE SELECT {expression.sql} AS fires FROM (SELECT {nulls})").fetchone()
    except duckdb.Error as error:
        raise UserError(f"{where}: {str(error).splitlines()[0]} (in {expression.text!r:.120})") from error
    if described is None or described[1] != "BOOLEAN":
        kind = described[1] if described else "nothing"
        raise UserError(f"{where}: must be true or false, but {expression.text!r:.120} is of type {kind}")
