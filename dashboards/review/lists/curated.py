"""Lists of rows of a curated set: of a rule, around a threshold, duplicates, leaks, and the least trusted answers."""

from __future__ import annotations

import numpy as np

from dashboards.data.catalog import Catalog, Folder
from dashboards.data.curated import fired_rules
from dashboards.data.duplicates import ORDERS, duplicate_rows, leaked_rows
from dashboards.data.engine import cached
from dashboards.data.suspects import has_suspects, least_aligned, most_suspect
from dashboards.data.thresholds import changed_rows, thresholds
from dashboards.review.entries import Entries, Parameters, entries_in, last, nothing
from dashboards.review.lists.folders import named


def rule(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows on which ``rule`` fired, those that it dropped first, then by position."""
    folder = named(catalog, "curated", parameters, "set")
    return _rule(folder, last(parameters, "rule")) if isinstance(folder, Folder) else folder


@cached(16)
def _rule(folder: Folder, name: str) -> Entries:
    title = f"Rows of rule “{name}” in {folder.name}"
    fired = fired_rules(folder)
    if name not in fired.rule.values:
        return nothing(title, f"No row of {folder.name} has a rule named “{name}”.")
    mask, reason = fired.mask(name), fired.is_reason(name)
    rows = np.concatenate([np.flatnonzero(mask & reason), np.flatnonzero(mask & ~reason)])
    return entries_in(title, folder, fired.position[rows])


def threshold(catalog: Catalog, parameters: Parameters) -> Entries:
    """The rows that ``value`` in place of a rule's number would decide otherwise, nearest to it first.

    ``threshold`` is the label of the number, as the page shows it: ``blurry: sharpness < 40``.
    """
    folder = named(catalog, "curated", parameters, "set")
    if not isinstance(folder, Folder):
        return folder
    try:
        value = float(last(parameters, "value"))
    except ValueError:
        value = float("nan")
    return _threshold(folder, last(parameters, "threshold"), value)


@cached(16)
def _threshold(folder: Folder, label: str, value: float) -> Entries:
    found = next((known for known in thresholds(folder) if known.label == label), None)
    if found is None:
        return nothing("Another threshold", f"{folder.name} has no number “{label}” that can be moved.")
    title = f"Decided otherwise with {found.rule}: {found.left} {found.sign} {value:g}"
    if not np.isfinite(value):
        return nothing(title, "The new number is missing in the address: move the slider, then start the review there.")
    rows = changed_rows(folder, found, value)
    return entries_in(title, folder, rows, "" if len(rows) else "This number decides every row as the recipe does.")


def duplicates(catalog: Catalog, parameters: Parameters) -> Entries:
    """Group by group: each row that was kept, then those that it stands for, the nearest first.

    ``order`` is one of ``ORDERS`` of the groups, ``group`` the name of one of them, ``kind`` a kind of pair where
    the set records kinds.
    """
    folder = named(catalog, "curated", parameters, "set")
    if not isinstance(folder, Folder):
        return folder
    order = last(parameters, "order")
    return _duplicates(
        folder, order if order in ORDERS else ORDERS[0], last(parameters, "group"), last(parameters, "kind")
    )


@cached(16)
def _duplicates(folder: Folder, order: str, group: str, kind: str) -> Entries:
    rows = duplicate_rows(folder, order, group, kind)
    which = f" of kind “{kind}”" if kind else ""
    return entries_in(
        f"Duplicates{which} in {folder.name}", folder, rows, "" if len(rows) else "No row was replaced by another."
    )


def leaks(catalog: Catalog, parameters: Parameters) -> Entries:
    """Training rows that show an image of an evaluation: those that ask the same first, then the nearest.

    ``kind`` is how the images match.
    """
    folder = named(catalog, "curated", parameters, "set")
    return _leaks(folder, last(parameters, "kind")) if isinstance(folder, Folder) else folder


@cached(16)
def _leaks(folder: Folder, kind: str) -> Entries:
    title = f"Leaks{f' of kind “{kind}”' if kind else ''} in {folder.name}"
    rows = leaked_rows(folder, kind)
    if rows is None:
        return nothing(title, f"{folder.name} was not compared with evaluation data.")
    return entries_in(title, folder, rows, "" if len(rows) else "No row shows an image of an evaluation.")


def suspect(catalog: Catalog, parameters: Parameters) -> Entries:
    """Kept and flagged rows, the most suspect first; without ``answers:``, the one whose text fits its image least."""
    folder = named(catalog, "curated", parameters, "set")
    return _suspect(folder) if isinstance(folder, Folder) else folder


@cached(8)
def _suspect(folder: Folder) -> Entries:
    if has_suspects(folder):
        rows = most_suspect(folder)
        title = f"Most suspect answers of {folder.name}"
        return entries_in(title, folder, rows, "" if len(rows) else "No kept row has a signal of wrong answers.")
    title = f"Least fitting answers of {folder.name}"
    aligned = least_aligned(folder)
    if aligned is None:
        return nothing(title, f"{folder.name} was not searched for wrong answers: add `answers: {{}}` to its recipe.")
    rows = aligned
    return entries_in(title, folder, rows, "" if len(rows) else "No kept row has an alignment.")
