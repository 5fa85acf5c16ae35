"""A rule's condition: one boolean SQL expression over known columns, and nothing else.

The text is untrusted. DuckDB parses it to a tree, every node must be of an allowed kind, and what
runs is the text that DuckDB writes from that tree, never the user's own. It runs in a connection
without access to files, network or settings (see ``curate.rules.decide``).
"""

from __future__ import annotations

import functools
import json
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import duckdb

from curate.rules.meta import column_name, is_meta
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
_MOST_ALTERNATIVES = 256
_NUMBERS = {"DOUBLE", "INTEGER", "BIGINT", "UBIGINT", "BOOLEAN"}


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
        constants: those of the columns that have one value for the whole set, as ``quantile(sharpness, 0.05)`` has.
        as_numbers: keys of ``meta`` that it compares with numbers.
        alternatives: the columns of each set of comparisons that are enough to make it true: of ``a > 1 OR (b > 1 AND
            c > 1)`` {a} and {b, c}. Where these are too many, each column counts as one of its own.
    """

    text: str
    sql: str
    columns: tuple[str, ...]
    thresholds: tuple[str, ...]
    comparisons: tuple[str, ...]
    cuts: tuple[tuple[str, float], ...] = ()
    constants: tuple[str, ...] = ()
    as_numbers: tuple[str, ...] = ()
    alternatives: tuple[frozenset[str], ...] = ()

    def decided_alone_by(self, columns: Collection[str]) -> tuple[str, ...]:
        """Those of the given columns that make it true without another one of them."""
        ways = self.alternatives or (frozenset(self.columns),)
        alone = {name for way in ways if len(found := way & set(columns)) == 1 for name in found}
        return tuple(name for name in self.columns if name in alone)


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
    try:
        with _parser() as connection:
            return _checked(connection, text, columns, where)
    except (RecursionError, duckdb.Error) as error:
        raise UserError(f"{where}: too deeply nested, or no condition (got {text!r:.120})") from error


def parse_column(text: str, columns: Mapping[str, str], where: str) -> str:
    """The name of the one column that ``text`` is.

    Raises:
        UserError: it is something else, or the column is unknown.
    """
    with _parser() as connection:
        tree = _named(_tree(connection, text, where), where)
    if tree["class"] != "COLUMN_REF":
        raise UserError(f"{where}: {text!r:.120} is not the name of a column")
    name: str = tree["column_names"][0]
    _check_known(name, columns, where)
    return name


def check_number(column: str, columns: Mapping[str, str], where: str) -> None:
    """Raise UserError if the values of a column are no numbers."""
    if columns.get(column, "DOUBLE") not in _NUMBERS:
        raise UserError(f"{where}: {column} is {columns[column]}, not a number")


def check_types(expression: Expression, columns: Mapping[str, str], where: str) -> None:
    """Raise UserError if a condition does not fit the types of its columns, or is not true or false.

    A condition on keys of ``meta`` whose types are not in ``columns`` yet passes.
    """
    types = dict.fromkeys(expression.constants, "DOUBLE") | dict(columns)
    if any(name not in types for name in expression.columns):
        return
    nulls = ", ".join(f"NULL::{types[name]} AS {quoted(name)}" for name in expression.columns) or "NULL AS nothing"
    try:
        with _parser() as connection:
            described = connection.execute(
                f"DESCRIBE SELECT {expression.sql} AS fires FROM (SELECT {nulls})"
            ).fetchone()
    except duckdb.Error as error:
        raise UserError(f"{where}: {str(error).splitlines()[0]} (in {expression.text!r:.120})") from error
    if described is None or described[1] != "BOOLEAN":
        kind = described[1] if described else "nothing"
        raise UserError(f"{where}: must be true or false, but {expression.text!r:.120} is of type {kind}")


def quoted(name: str) -> str:
    """A name of a column in SQL."""
    return '"' + name.replace('"', '""') + '"'


def _parser() -> duckdb.DuckDBPyConnection:
    """A connection for the block's own use to an empty database that reaches nothing outside."""
    return _empty_database().cursor()


@functools.cache
def _empty_database() -> duckdb.DuckDBPyConnection:
    # Opening a database takes as long as checking ten conditions.
    return duckdb.connect(":memory:", config={"enable_external_access": "false", "lock_configuration": "true"})


def _checked(connection: duckdb.DuckDBPyConnection, text: str, columns: Mapping[str, str], where: str) -> Expression:
    tree = _named(_tree(connection, text, where), where)
    nodes = list(_nodes(tree))
    for node in nodes:
        _check_node(node, where)
    names = tuple(dict.fromkeys(node["column_names"][0] for node in nodes if node["class"] == "COLUMN_REF"))
    constants = tuple(name for name in names if name.startswith("quantile("))
    for name in names:
        if name in constants:
            column = name.removeprefix("quantile(").rpartition(", ")[0]
            _check_known(column, columns, where)
            check_number(column, columns, where)
        else:
            _check_known(name, columns, where)
    comparisons = [node for node in nodes if node["class"] in ("COMPARISON", "BETWEEN") or _is_in(node)]
    cuts = tuple(cut for node in comparisons for cut in _cuts(connection, node))
    numeric = {name for name in names if name in constants or (columns.get(name, "BOOLEAN") in _NUMBERS - {"BOOLEAN"})}
    as_numbers = [name for node in comparisons for name in _read_as_numbers(connection, node, numeric)]
    expression = Expression(
        text=" ".join(text.split()),
        sql=_sql(connection, tree),
        columns=names,
        thresholds=written_comparisons(text),
        comparisons=tuple(_sql(connection, node) for node in comparisons),
        cuts=cuts,
        constants=constants,
        as_numbers=tuple(dict.fromkeys(as_numbers)),
        alternatives=tuple(sorted(_alternatives(tree, negated=False), key=sorted)),
    )
    check_types(expression, columns, where)
    return expression


def _alternatives(tree: Any, *, negated: bool) -> set[frozenset[str]]:
    """The disjunctive normal form of a condition, of which only the columns are kept."""
    children = tree.get("children", [])
    if tree["type"] == "OPERATOR_NOT":
        return _alternatives(children[0], negated=not negated)
    if tree["class"] != "CONJUNCTION":
        return {frozenset(_columns_of(tree))}
    parts = [_alternatives(child, negated=negated) for child in children]
    if (tree["type"] == "CONJUNCTION_OR") != negated:
        return set().union(*parts)
    found: set[frozenset[str]] = {frozenset()}
    for part in parts:
        found = {one | other for one in found for other in part}
        if len(found) > _MOST_ALTERNATIVES:
            return {frozenset({name}) for name in _columns_of(tree)}
    return found


def _columns_of(tree: Any) -> Iterator[str]:
    return (node["column_names"][0] for node in _nodes(tree) if node["class"] == "COLUMN_REF")


def _check_known(name: str, columns: Mapping[str, str], where: str) -> None:
    if name not in columns and not is_meta(name):
        hint = did_you_mean(name, columns)
        raise UserError(
            f"{where}: unknown column {name!r}; {hint} (`curate signals` explains them;"
            f" a field of your rows is meta.{name if name != 'meta' else '<key>'})"
        )


def _named(tree: Any, where: str) -> Any:
    """The tree with one name for each column: also for a key of ``meta``, and for the quantile of a column."""
    if isinstance(tree, list):
        return [_named(item, where) for item in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "FUNCTION" and tree["function_name"].lower() == "quantile":
        return {**_COLUMN, "column_names": [_quantile(tree, where)]}
    if tree.get("class") == "COLUMN_REF":
        parts = tree["column_names"]
        if parts[0].startswith("quantile("):  # in quotes: only the function makes such a name
            raise UserError(f"{where}: unknown column {parts[0]!r:.120}; write quantile(column, share) without quotes")
        return {**tree, "column_names": [column_name(parts) if parts[0] == "meta" else ".".join(parts)]}
    return {key: _named(value, where) for key, value in tree.items()}


_COLUMN = {"class": "COLUMN_REF", "type": "COLUMN_REF", "alias": "", "query_location": 0}


def _quantile(node: Mapping[str, Any], where: str) -> str:
    found = [_named(part, where) for part in _arguments(node)]
    if len(found) == 2 and found[0]["class"] == "COLUMN_REF" and not node.get("distinct") and not node.get("filter"):
        with _parser() as connection:
            share = _number(connection, found[1])
        if share is not None and 0 <= share <= 1:
            return f"quantile({found[0]['column_names'][0]}, {share!r})"
    raise UserError(f"{where}: quantile takes a column and a share from 0 to 1, as in quantile(sharpness, 0.05)")


def _arguments(node: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Of a function; DuckDB 2 wraps each with its name."""
    if "arguments" in node:
        return [argument["expression"] for argument in node["arguments"]]
    return list(node["children"])


def _read_as_numbers(connection: duckdb.DuckDBPyConnection, node: dict[str, Any], numeric: set[str]) -> list[str]:
    """In a comparison with numbers, make keys of ``meta`` numbers, null where they are none; return their names."""
    places: list[tuple[Any, Any]] = [(node, key) for key in ("left", "right", "input", "lower", "upper") if key in node]
    places += [(node["children"], number) for number in range(len(node.get("children", [])))]
    sides = [holder[key] for holder, key in places]
    if not any(_is_number(connection, side, numeric) for side in sides):
        return []
    found = []
    for (holder, key), side in zip(places, sides, strict=True):
        if side["class"] == "COLUMN_REF" and is_meta(side["column_names"][0]):
            cast = _serialized(connection, "SELECT TRY_CAST(x AS DOUBLE)")["statements"][0]["node"]["select_list"][0]
            holder[key] = {**cast, "child": side}
            found.append(side["column_names"][0])
    return found


def _is_number(connection: duckdb.DuckDBPyConnection, side: dict[str, Any], numeric: set[str]) -> bool:
    if side["class"] == "COLUMN_REF":
        return side["column_names"][0] in numeric
    if any(part["class"] == "COLUMN_REF" for part in _nodes(side)):
        return False
    try:
        kind = connection.execute(f"SELECT typeof({_sql(connection, side)})").fetchall()[0][0]
    except duckdb.Error:
        return False
    return str(kind).startswith(("INTEGER", "BIGINT", "HUGEINT", "DECIMAL", "DOUBLE", "FLOAT"))


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
            allowed = ", ".join(sorted({"quantile", *(name for name in _FUNCTIONS if name.isidentifier())}))
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
