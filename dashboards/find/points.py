"""What the points of a map stand for: groups to colour them by, and the rows that show their pictures."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.curated import fired_rules
from dashboards.data.engine import coded, read_columns
from dashboards.data.predictions import WRONG, row_index
from dashboards.find.layout import Layout
from dashboards.find.search import Pictured
from evalsuite.statistics import Property

Colour = Literal["Outcome", "Decision", "Rule", "Source"]
COLOURS: tuple[Colour, ...] = get_args(Colour)
_COMMONEST = 6  # rules or sources that have a colour of their own
_DECISIONS = {"drop": "dropped", "flag": "kept and flagged", "keep": "kept"}


@dataclass(frozen=True, eq=False)
class Groups:
    """One group for each point.

    Attributes:
        names: those that some point has; ``quiet`` ones are only the background of what was asked.
        codes: (points,) index into ``names``.
    """

    names: tuple[str, ...]
    quiet: tuple[bool, ...]
    codes: NDArray[np.int64]


def groups(
    layout: Layout, colour: Colour, run: Folder, folder: Folder, of_run: Pictured, of_set: Pictured,
    rows: NDArray[np.int32],
) -> Groups:  # fmt: skip
    """Group the points of a map. A picture with several rows belongs to the first group that one of them has.

    Args:
        rows: (m,) the rows of the run that the filters keep, for ``Outcome``.
    """
    if colour == "Outcome":
        correct = row_index(run).correct[rows]
        names = ("wrong answer", "right answer", "no verdict")
        codes = np.where(correct == WRONG, 0, np.where(correct > WRONG, 1, 2))
        return _grouped(layout, names, codes, of_run.place[rows], layout.of_run, "not in this view", "training picture")
    if colour == "Source":
        known = _commonest(coded(read_columns(folder.path / "samples.parquet", ["source"])["source"]))
        return _grouped(layout, known.values, known.codes, of_set.place, ~layout.of_run, "", "evaluation picture")
    fired = fired_rules(folder)
    place = of_set.place[np.searchsorted(of_set.row, fired.position)]
    if colour == "Decision":
        order = {decision: at for at, decision in enumerate(_DECISIONS)}
        codes = np.array([order.get(value, 2) for value in fired.decision.values])[fired.decision.codes]
        return _grouped(layout, tuple(_DECISIONS.values()), codes, place, ~layout.of_run, "", "evaluation picture")
    known = _commonest(fired.reason)
    return _grouped(layout, known.values, known.codes, place, ~layout.of_run, "", "evaluation picture")


def _commonest(known: Property) -> Property:
    """The most frequent values first, the rest as one; no value is the last."""
    counts = np.bincount(known.codes, minlength=len(known.values))
    order = [at for at in np.argsort(-counts, kind="stable").tolist() if known.values[at]]
    shown = order[:_COMMONEST]
    names = [known.values[at] for at in shown] + ["other", "none"]
    code = np.full(max(len(known.values), 1), len(shown))
    code[shown] = np.arange(len(shown))
    for at, value in enumerate(known.values):
        if not value:
            code[at] = len(shown) + 1
    return Property(tuple(names), code[known.codes])


def _grouped(
    layout: Layout, names: Sequence[str], codes: NDArray[np.integer], place: NDArray[np.int64],
    mine: NDArray[np.bool_], without: str, others: str,
) -> Groups:  # fmt: skip
    """Points in ``mine`` take the lowest code of their rows, ``without`` if they have none; the rest is ``others``."""
    named = [*names, without or "none", others]
    pictures = max(int(place.max(initial=-1)), int(layout.place.max(initial=-1))) + 1
    best = np.full(pictures, len(names))
    there = place >= 0
    np.minimum.at(best, place[there], codes[there])
    of_point = np.where(mine, best[layout.place], len(names) + 1)
    present = np.unique(of_point)
    quiet = tuple(bool(code >= len(names)) or named[code] == "none" for code in present)
    return Groups(tuple(named[code] for code in present), quiet, np.searchsorted(present, of_point))


def rows_of_points(
    layout: Layout, points: NDArray[np.bool_], of_run: Pictured, of_set: Pictured, rows: NDArray[np.int32]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The rows that show the pictures of these points.

    Args:
        points: (points,) the chosen ones.
        rows: (m,) the rows of the run that the filters keep, in the order of the view.

    Returns: rows of the run in that order, and positions in the curated set.
    """
    chosen_run = np.isin(of_run.place[rows], layout.place[points & layout.of_run])
    chosen_set = np.isin(of_set.place, layout.place[points & ~layout.of_run])
    return rows[chosen_run], of_set.row[chosen_set]
