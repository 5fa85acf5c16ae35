"""Moving a rule's threshold over stored signals: what it would drop, alone or with others. Decodes nothing.

The conditions come from the set's manifest. They pass ``curate.rules.expression`` before and after a
number is changed, and run in curation's own locked connection. Duplicates and contamination are
taken as they were found: they are not sought again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.config import parse_recipe
from curate.errors import UserError
from curate.recipe import CurateRecipe, all_rules
from curate.rules.expression import parse_expression
from curate.rules.facts import column_types
from curate.rules.policy import CheckedRule, check_rules, open_facts
from curate.workspace import Workspace
from dashboards.query.catalog import MAKE, Folder, manifest_of
from dashboards.query.engine import Connection, fetch_columns

_COMPARISON = re.compile(r"\(?(?P<left>.+?) (?P<sign><=|>=|<|>) (?P<number>-?\d+(?:\.\d+)?)\)?")
_NUMBER = re.compile(r"(?:<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)(?![\w.])")
_BINS = 60
Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class Threshold:
    """A number that a rule compares with.

    Attributes:
        rule, action, when: the rule, and its condition as the recipe has it.
        place: which of the numbers in ``when``, from 0.
        left, sign, number: what is compared (checked SQL), how, and with what.
    """

    rule: str
    action: str
    when: str
    place: int
    left: str
    sign: str
    number: float

    @property
    def label(self) -> str:
        """``blurry: sharpness < 40``."""
        return f"{self.rule}: {self.left} {self.sign} {self.number:g}"

    def moved(self, number: float) -> str:
        """The condition with another number in this place."""
        found = list(_NUMBER.finditer(self.when))[self.place]
        return f"{self.when[: found.start(1)]}{number:.6g}{self.when[found.end(1) :]}"


@dataclass(frozen=True)
class Preview:
    """What a rule does with another number, in rows.

    Attributes:
        fires: rows on which it fires, before and with the new number.
        alone: of the new ones, those that no other dropping rule takes.
        kept: rows left in the set, all rules together, before and after.
        by_source: source, its rows, rows on which the rule fired before and fires now.
    """

    rows: int
    fires: tuple[int, int]
    alone: int
    kept: tuple[int, int]
    by_source: tuple[tuple[str, int, int, int], ...]


@dataclass(frozen=True)
class Histogram:
    """Edges (bins + 1,) and counts (bins,) of what a threshold compares, and how many images lack it."""

    edges: NDArray[np.float64]
    counts: NDArray[np.int64]
    missing: int


@dataclass(frozen=True)
class Signals:
    """The stored signals of one curated set, in memory.

    Attributes:
        facts: locked connection with the table ``facts``: a row per sample and image, what the rules ask.
        types: the columns that a condition may use → DuckDB type.
        owner: (facts,) number of the sample of each row of ``facts``, ascending.
        fired: rule → (samples,) whether it fires on any image of the sample.
        must_keep, must_drop: (samples,) where a reviewer decided.
        source: (samples,) name of the source.
    """

    facts: duckdb.DuckDBPyConnection
    rules: tuple[CheckedRule, ...]
    types: Mapping[str, str]
    owner: NDArray[np.int64]
    fired: dict[str, Mask]
    must_keep: Mask
    must_drop: Mask
    source: NDArray[np.str_]

    def kept(self, fired: Mapping[str, Mask]) -> int:
        """Samples left when these rules fire on these samples."""
        dropped = np.zeros(len(self.must_keep), dtype=bool)
        for rule in self.rules:
            if rule.action == "drop":
                dropped |= fired[rule.name]
        return int((~(dropped | self.must_drop) | self.must_keep).sum())


def load_signals(connection: Connection, folder: Folder) -> Signals:
    """Read what the rules of a curated set ask, and evaluate each once.

    Raises:
        UserError: the set's tables or its recipe cannot be read.
    """
    recorded = manifest_of(folder).get("recipe")
    if not isinstance(recorded, Mapping):
        raise UserError(f"{folder.path}: its manifest holds no recipe; remake it with `{MAKE['curated']}`")
    recipe = parse_recipe(dict(recorded), CurateRecipe, where=str(folder.path / "manifest.json"))
    rules = check_rules(all_rules(recipe), recipe.signals.scores)
    sql = "SELECT source FROM read_parquet(?) ORDER BY position"
    source = fetch_columns(connection, sql, [folder.file("samples.parquet")])["source"].astype(str)
    try:
        facts = open_facts(Workspace(folder.path), rules, recipe.losses)
        position = facts.execute("SELECT position FROM facts ORDER BY position, image_no").fetchnumpy()["position"]
        forced = facts.execute("SELECT coalesce(forced, '') AS forced FROM base ORDER BY position").fetchnumpy()
        owner = np.unique(position, return_inverse=True)[1]
        fired = {rule.name: _fires(facts, owner, rule.expression.sql) for rule in rules}
    except duckdb.Error as error:
        raise UserError(f"{folder.path}: its signals cannot be read: {str(error).splitlines()[0]}") from error
    decided = np.asarray(forced["forced"], dtype=str)
    return Signals(
        facts, tuple(rules), column_types(recipe.signals.scores), owner, fired, decided == "keep", decided == "drop",
        source,
    )  # fmt: skip


def thresholds(rules: Sequence[CheckedRule]) -> list[Threshold]:
    """Every number that can be moved, in recipe order. Conditions that need the written SQL to guess are left out."""
    found = []
    for rule in rules:
        compared = [match for text in rule.expression.thresholds if (match := _COMPARISON.fullmatch(text))]
        written = [float(match.group(1)) for match in _NUMBER.finditer(rule.expression.text)]
        if [float(match["number"]) for match in compared] != written:
            continue
        found += [
            Threshold(rule.name, rule.action, rule.expression.text, place, match["left"], match["sign"], number)
            for place, (match, number) in enumerate(zip(compared, written, strict=True))
        ]
    return found


def preview(signals: Signals, threshold: Threshold, number: float) -> Preview:
    """Counts with ``number`` in place of the recipe's; raises UserError if that is no condition."""
    moved = parse_expression(threshold.moved(number), signals.types, f"rule {threshold.rule!r}")
    before, now = signals.fired[threshold.rule], _fires(signals.facts, signals.owner, moved.sql)
    others = np.zeros(len(now), dtype=bool)
    for rule in signals.rules:
        if rule.action == "drop" and rule.name != threshold.rule:
            others |= signals.fired[rule.name]
    by_source = tuple(
        (str(name), int(rows.sum()), int((before & rows).sum()), int((now & rows).sum()))
        for name in np.unique(signals.source)
        for rows in (signals.source == name,)
    )
    return Preview(
        rows=len(now),
        fires=(int(before.sum()), int(now.sum())),
        alone=int((now & ~others).sum()),
        kept=(signals.kept(signals.fired), signals.kept({**signals.fired, threshold.rule: now})),
        by_source=by_source,
    )


def values(signals: Signals, threshold: Threshold) -> NDArray[np.float64]:
    """(facts,) what the threshold compares, NaN where it is not known."""
    sql = f"SELECT ({threshold.left})::DOUBLE AS value FROM facts ORDER BY position, image_no"
    column = _column(signals.facts, sql)
    return np.ma.filled(np.ma.asarray(column, dtype=np.float64), np.nan)


def histogram(found: NDArray[np.float64]) -> Histogram:
    """Sixty bins over the known values."""
    known = found[np.isfinite(found)]
    counts, edges = np.histogram(known, bins=_BINS) if len(known) else (np.zeros(1, int), np.array([0.0, 1.0]))
    return Histogram(edges, counts, len(found) - len(known))


def nearest_rows(
    signals: Signals, found: NDArray[np.float64], number: float, count: int
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(sample number, value) of the samples nearest below, and nearest at or above, ``number``."""
    sides: list[list[tuple[int, float]]] = []
    for side in (found < number, found >= number):
        places = np.flatnonzero(side)
        # One picture has many questions: different values show more than the same picture again.
        _, first = np.unique(found[places], return_index=True)
        places = places[first]
        near = places[np.argsort(np.abs(found[places] - number), kind="stable")[:count]]
        sides.append([(int(signals.owner[place]), float(found[place])) for place in near])
    return sides[0], sides[1]


def _fires(facts: duckdb.DuckDBPyConnection, owner: NDArray[np.int64], sql: str) -> Mask:
    """(samples,) whether a checked condition is true for any image of the sample."""
    column = _column(facts, f"SELECT coalesce({sql}, false) AS f FROM facts ORDER BY position, image_no")
    fired = np.zeros(int(owner[-1]) + 1 if len(owner) else 0, dtype=bool)
    fired[owner[np.asarray(column, dtype=bool)]] = True
    return fired


def _column(facts: duckdb.DuckDBPyConnection, sql: str) -> np.ma.MaskedArray:
    """The only column of a query over the facts; they are read from disk, where a file may be gone by now."""
    try:
        (column,) = facts.cursor().execute(sql).fetchnumpy().values()
    except duckdb.Error as error:
        raise UserError(f"stored signals cannot be read: {str(error).splitlines()[0]}; curate again") from error
    return np.ma.asarray(column)
