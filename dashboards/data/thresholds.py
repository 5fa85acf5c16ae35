"""Other thresholds over stored signals: what a rule would drop with another number, alone or with the other rules.

No image is decoded. The conditions come from the set's manifest; they pass ``curate.rules.expression`` and run
in curation's own locked connection. What the other rules did is taken from the set's decisions: duplicates and
contamination are not searched again.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.recipe import CurateRecipe, all_rules
from curate.rules.checked import CheckedRule
from curate.rules.columns import column_types, create_facts
from curate.rules.connection import lock
from curate.rules.decide import check_rules
from curate.rules.expression import parse_expression
from curate.views import create_views
from curate.workspace import Workspace
from dashboards.data.catalog import MAKE, Folder, manifest_of
from dashboards.data.curated import Case, cases_at, fired_rules
from dashboards.data.engine import cached, coded
from evalsuite.statistics import Property
from winnow.errors import UserError
from winnow.recipe import parse_recipe

Mask = NDArray[np.bool_]
_BINS = 60


@dataclass(frozen=True)
class Rules:
    """The rules of a set, checked, and the columns that a condition may use → DuckDB type."""

    checked: tuple[CheckedRule, ...]
    types: Mapping[str, str]
    recipe: CurateRecipe

    def of(self, name: str) -> CheckedRule:
        """The rule of that name."""
        return next(rule for rule in self.checked if rule.name == name)


@dataclass(frozen=True)
class Facts:
    """What one rule asks for, in memory.

    Attributes:
        connection: locked, with the table ``facts``: a row per sample and image.
        position: (facts,) place of the sample in the input, ascending.
    """

    connection: duckdb.DuckDBPyConnection
    position: NDArray[np.int64]


@cached(8)
def read_rules(folder: Folder) -> Rules:
    """The rules in the set's manifest.

    Raises:
        UserError: it holds none, or those of another version.
    """
    recorded = manifest_of(folder).get("recipe")
    if not isinstance(recorded, Mapping):
        raise UserError(f"{folder.path}: its manifest holds no recipe; remake it with `{MAKE['curated']}`")
    recipe = parse_recipe(dict(recorded), CurateRecipe, where=str(folder.path / "manifest.json"))
    scores = recipe.signals.scores
    return Rules(tuple(check_rules(all_rules(recipe), scores)), column_types(scores), recipe)


@cached(4)
def load_facts(folder: Folder, rule: str) -> Facts:
    """Read the columns that a rule asks for, so that only their tables are joined.

    Raises:
        UserError: the stored signals cannot be read.
    """
    rules, workspace = read_rules(folder), Workspace(folder.path)
    connection = duckdb.connect(":memory:", config={"temp_directory": str(workspace.work / "spilled")})
    try:
        create_views(connection, workspace, rules.recipe.losses)
        create_facts(connection, rules.of(rule).expression.columns)
        lock(connection)
    except duckdb.Error as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder.path}: its signals cannot be read ({reason}); run `{MAKE['curated']}`") from error
    position = column_of(connection, "SELECT position FROM facts ORDER BY position, image_no")
    return Facts(connection, np.asarray(position, dtype=np.int64))


def fires(facts: Facts, sql: str, position: NDArray[np.int64]) -> Mask:
    """(rows,) whether a checked condition is true for any image of the row.

    Args:
        position: (rows,) of the set, ascending.
    """
    column = column_of(facts.connection, f"SELECT coalesce({sql}, false) FROM facts ORDER BY position, image_no")
    fired = np.zeros(len(position), dtype=bool)
    fired[np.searchsorted(position, facts.position[np.asarray(column, dtype=bool)])] = True
    return fired


def column_of(connection: duckdb.DuckDBPyConnection, sql: str) -> np.ma.MaskedArray:
    """The only column of a query; raises UserError when the tables behind it are gone."""
    try:
        (column,) = connection.cursor().execute(sql).fetchnumpy().values()
    except duckdb.Error as error:
        raise UserError(f"stored signals cannot be read: {str(error).splitlines()[0]}; curate again") from error
    return np.ma.asarray(column)


_COMPARISON = re.compile(r"\(?(?P<left>.+?) (?P<sign><=|>=|<|>) (?P<number>-?\d+(?:\.\d+)?)\)?")
_NUMBER = re.compile(r"(?:<=|>=|<|>)\s*(-?\d+(?:\.\d+)?)(?![\w.])")


@dataclass(frozen=True)
class Threshold:
    """A number that a rule compares with.

    Attributes:
        rule, action, when: the rule, and its condition as the recipe has it.
        place: which of the numbers in ``when``, from 0.
        left, sign, number: what is compared (checked SQL), the comparison, and the number.
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


def thresholds(folder: Folder) -> list[Threshold]:
    """Every number of a set's rules that can be moved, in recipe order.

    Conditions whose numbers cannot be matched to the recipe's text for certain are left out.
    """
    found = []
    for rule in read_rules(folder).checked:
        compared = [match for text in rule.expression.comparisons if (match := _COMPARISON.fullmatch(text))]
        written = [float(match.group(1)) for match in _NUMBER.finditer(rule.expression.text)]
        if [float(match["number"]) for match in compared] != written:
            continue
        found += [
            Threshold(rule.name, rule.action, rule.expression.text, place, match["left"], match["sign"], number)
            for place, (match, number) in enumerate(zip(compared, written, strict=True))
        ]
    return found


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
class OtherDecisions:
    """What stays as it is when one rule moves.

    Attributes:
        must_keep, must_drop: (rows,) where a reviewer decided.
        others: (rows,) where another dropping rule fires.
        flagged: (rows,) where another flagging rule fires, or a reviewer called the row ambiguous.
        source: (rows,) name of the source.
    """

    must_keep: Mask
    must_drop: Mask
    others: Mask
    flagged: Mask
    source: Property

    def kept(self, dropped: Mask) -> int:
        """Rows left when the moved rule drops ``dropped``."""
        return int((~(dropped | self.others | self.must_drop) | self.must_keep).sum())


@cached(4)
def other_decisions(folder: Folder, moved: str) -> OtherDecisions:
    """What the rules other than ``moved`` and the reviewers decided; raises UserError for a broken table."""
    rules, fired = read_rules(folder), fired_rules(folder)
    rows = pa.Table.from_batches(Workspace(folder.path).corrected.batches(["source", "forced"]))
    fires_too = {action: np.zeros(len(fired.position), dtype=bool) for action in ("drop", "flag")}
    for rule in rules.checked:
        if rule.name != moved:
            fires_too[rule.action] |= fired.mask(rule.name)
    decided = coded(rows["forced"])
    keep, drop, flag = (decided.codes == _place(decided, word) for word in ("keep", "drop", "flag"))
    return OtherDecisions(keep, drop, fires_too["drop"], fires_too["flag"] | flag, coded(rows["source"]))


def _place(known: Property, value: str) -> int:
    return known.values.index(value) if value in known.values else -1


@cached(256)
def preview(folder: Folder, threshold: Threshold, number: float) -> Preview:
    """Counts with ``number`` in place of the recipe's; raises UserError if that is not a condition."""
    facts, fired, others = (
        load_facts(folder, threshold.rule),
        fired_rules(folder),
        other_decisions(folder, threshold.rule),
    )
    moved = parse_expression(threshold.moved(number), read_rules(folder).types, f"rule {threshold.rule!r}")
    before, now = fired.mask(threshold.rule), fires(facts, moved.sql, fired.position)
    drops = threshold.action == "drop"
    names = np.argsort(np.array(others.source.values))
    counts = [
        np.bincount(others.source.codes, weights, minlength=len(names)).astype(int) for weights in (None, before, now)
    ]
    return Preview(
        rows=len(now),
        fires=(int(before.sum()), int(now.sum())),
        alone=int((now & ~others.others).sum()),
        kept=(others.kept(before & drops), others.kept(now & drops)),
        by_source=tuple((others.source.values[at], *(int(count[at]) for count in counts)) for at in names),
    )


@cached(4)
def threshold_values(folder: Folder, threshold: Threshold) -> NDArray[np.float64]:
    """(facts,) what the threshold compares, one value per row and image; NaN where it is unknown."""
    facts = load_facts(folder, threshold.rule)
    sql = f"SELECT ({threshold.left})::DOUBLE AS value FROM facts ORDER BY position, image_no"
    return np.ma.filled(np.ma.asarray(column_of(facts.connection, sql), dtype=np.float64), np.nan)


@cached(32)
def histogram(folder: Folder, threshold: Threshold) -> Histogram:
    """Distribution of what a threshold compares: sixty bins over the known values."""
    found = threshold_values(folder, threshold)
    known = found[np.isfinite(found)]
    counts, edges = np.histogram(known, bins=_BINS) if len(known) else (np.zeros(1, int), np.array([0.0, 1.0]))
    return Histogram(edges, counts, len(found) - len(known))


@cached(4)
def _distinct_values(folder: Folder, threshold: Threshold) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """The different known values, ascending, and where each occurs first.

    An image may have many questions: different values show more than the same image several times.
    """
    found = threshold_values(folder, threshold)
    known = np.flatnonzero(~np.isnan(found))
    different, first = np.unique(found[known], return_index=True)
    return different, known[first]


def positions_near(
    folder: Folder, threshold: Threshold, number: float, count: int
) -> tuple[list[tuple[int, float]], list[tuple[int, float]]]:
    """(position, value) of the samples nearest below, and nearest at or above, ``number``; nearest first."""
    position = load_facts(folder, threshold.rule).position
    different, first = _distinct_values(folder, threshold)
    line = int(np.searchsorted(different, number))
    sides = range(line - 1, max(line - count, 0) - 1, -1), range(line, min(line + count, len(different)))
    below, above = ([(int(position[first[at]]), float(different[at])) for at in side] for side in sides)
    return below, above


Valued = Sequence[tuple[Case, float]]  # rows with what a threshold compares


@cached(256)
def rows_near(folder: Folder, threshold: Threshold, number: float, count: int) -> tuple[Valued, Valued]:
    """Rows just below, and at or just above, a number; raises UserError for a broken table."""
    below, above = (
        list(zip(cases_at(folder, [place for place, _ in side]), [value for _, value in side], strict=True))
        for side in positions_near(folder, threshold, number, count)
    )
    return below, above


def changed_rows(folder: Folder, threshold: Threshold, number: float) -> NDArray[np.int32]:
    """Positions of the rows that ``number`` in place of the recipe's would decide otherwise, nearest to it first.

    Of a row with several images the nearest value counts; equal ones are in order of position, rows without a
    value last.

    Raises:
        UserError: the number makes no condition, or a table is broken.
    """
    facts, fired, others = (
        load_facts(folder, threshold.rule),
        fired_rules(folder),
        other_decisions(folder, threshold.rule),
    )
    moved = parse_expression(threshold.moved(number), read_rules(folder).types, f"rule {threshold.rule!r}")
    before, now = fired.mask(threshold.rule), fires(facts, moved.sql, fired.position)
    open_to_it = ~(others.others | others.must_keep | others.must_drop)
    if threshold.action == "flag":
        open_to_it &= ~others.flagged
    rows = np.flatnonzero((before != now) & open_to_it)
    distance = np.full(len(now), np.inf)
    values = np.abs(threshold_values(folder, threshold) - number)
    known = ~np.isnan(values)
    np.minimum.at(distance, np.searchsorted(fired.position, facts.position[known]), values[known])
    return fired.position[rows[np.argsort(distance[rows], kind="stable")]].astype(np.int32)
