"""What is stored about the rows of a curated set, as far as one of its rules asks for it.

The conditions come from the set's manifest. They pass ``curate.rules.expression`` and run in
curation's own locked connection.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import duckdb
import numpy as np
from numpy.typing import NDArray

from curate.recipe import CurateRecipe, all_rules
from curate.rules.columns import column_types, create_facts
from curate.rules.decide import CheckedRule, check_rules, lock
from curate.views import create_views
from curate.workspace import Workspace
from dashboards.query.catalog import MAKE, Folder, manifest_of
from winnow.errors import UserError
from winnow.recipe import parse_recipe

Mask = NDArray[np.bool_]


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
    """What one rule asks, in memory.

    Attributes:
        connection: locked, with the table ``facts``: a row per sample and image.
        position: (facts,) place of the sample in the input, ascending.
    """

    connection: duckdb.DuckDBPyConnection
    position: NDArray[np.int64]


def read_rules(folder: Folder) -> Rules:
    """The rules in the set's manifest.

    Raises:
        UserError: there are none, or they are of another version.
    """
    recorded = manifest_of(folder).get("recipe")
    if not isinstance(recorded, Mapping):
        raise UserError(f"{folder.path}: its manifest holds no recipe; remake it with `{MAKE['curated']}`")
    recipe = parse_recipe(dict(recorded), CurateRecipe, where=str(folder.path / "manifest.json"))
    scores = recipe.signals.scores
    return Rules(tuple(check_rules(all_rules(recipe), scores)), column_types(scores), recipe)


def load_facts(folder: Folder, rules: Rules, name: str) -> Facts:
    """Read what a rule asks: its columns only, so that only their tables are joined.

    Raises:
        UserError: the stored signals cannot be read.
    """
    space = Workspace(folder.path)
    connection = duckdb.connect(":memory:", config={"temp_directory": str(space.work / "spilled")})
    try:
        create_views(connection, space, rules.recipe.losses)
        create_facts(connection, rules.of(name).expression.columns)
        lock(connection)
    except duckdb.Error as error:
        raise UserError(f"{folder.path}: its signals cannot be read: {str(error).splitlines()[0]}") from error
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
