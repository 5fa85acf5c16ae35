"""Which row of a group stays, and which rows contradict each other, once other rules have dropped some.

A row that is dropped for another reason stands for nobody and contradicts nobody: else the best twin could be
dropped as blurred and the rest as its duplicates.

Rows with the same question about the same stars depend on each other alone, so the comparable rows lie in partitions
by a hash of these. What was found in a partition is kept in ``workspace.kept``; only partitions in which a row or what
rules make of it is new are looked at again. With ``scope: image`` rows depend on each other across questions, and there
is one partition. Edited copies lead from one partition to others: their rows are judged after all.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.arrays import read_arrays, write_arrays
from curate.duplicates.comparable import Comparable
from curate.duplicates.edits.links import link_rows
from curate.duplicates.images.fingerprints import compare
from curate.duplicates.images.stored import read_stored
from curate.duplicates.mixing import Indices
from curate.kinds import KINDS
from curate.row_keys import ids_at
from curate.settings.copies import DuplicateSettings
from curate.workspace import Workspace
from winnow.files import sha256_bytes

_VERSION = 1  # raise it when the same rows give others
_PARTITIONS = 1024
_ROWS_AT_ONCE = 1 << 18  # whose ids are in memory
_META = "partitions"
_EXACT, _RE_ENCODED, _RESIZED = (KINDS.index(kind) for kind in ("exact", "re-encoded", "resized"))
ORDER = {"pixels": "pixels DESC", "votes": "votes DESC", "id": "id"}
Flags = NDArray[np.bool_]


def keep_order(settings: DuplicateSettings) -> str:
    """SQL of the order in which rows and images are kept, for ORDER BY."""
    return ", ".join(ORDER[key] for key in settings.keep) or "id"


@dataclass(frozen=True)
class Repeats:
    """What is known of each comparable row, arrays of one length; rows are named by their places, -1 is none.

    Attributes:
        found: whether it repeats or contradicts another one, or its image has copies.
        star: the image that stands for its group.
        duplicate_of, edited_copy_of, conflict_with: other rows.
        kind: of ``KINDS``; strength, distance: NaN without; hamming: -1 without.
    """

    found: Flags
    star: Indices
    duplicate_of: Indices
    edited_copy_of: Indices
    conflict_with: Indices
    kind: Indices
    strength: NDArray[np.float64]
    distance: NDArray[np.float64]
    hamming: Indices

    @classmethod
    def none(cls, count: int) -> Repeats:
        """Nothing is known of so many rows."""

        def nobody() -> Indices:
            return np.full(count, -1)

        unknown = np.full(count, np.nan)
        return cls(
            np.zeros(count, bool), nobody(), nobody(), nobody(), nobody(), nobody(), unknown, unknown.copy(), nobody()
        )

    def at(self, rows: Indices | slice) -> Repeats:
        """Those of some rows."""
        return Repeats(*(getattr(self, field.name)[rows] for field in fields(self)))


_OTHERS = ("duplicate_of", "edited_copy_of", "conflict_with")
_STORED = {
    "found": bool, **dict.fromkeys(_OTHERS, np.int32), "kind": np.int8, "strength": np.float64, "distance": np.float64,
    "hamming": np.int32,
}  # fmt: skip

# The best row of each question, and the best of those that answer it otherwise.
_CONFLICTS = """
    CREATE OR REPLACE TEMP TABLE conflicts AS
    WITH standing AS (SELECT * FROM comparable WHERE NOT dropped_before),
    heads AS (
        SELECT asked, arg_min(answered, place) AS answered, arg_min(row, place) AS row FROM standing GROUP BY asked
    ),
    others AS (
        SELECT s.asked, arg_min(s.row, s.place) AS row
        FROM standing s JOIN heads h ON h.asked = s.asked WHERE s.answered <> h.answered GROUP BY s.asked
    )
    SELECT * FROM (
        SELECT c.row, CASE WHEN c.answered = h.answered THEN o.row ELSE h.row END AS conflict_with
        FROM comparable c JOIN heads h ON h.asked = c.asked LEFT JOIN others o ON o.asked = c.asked
    ) WHERE conflict_with IS NOT NULL
"""
# rank: rows that are not dropped first, best first. shows_kept: in scope image, whether one of the row's images is
# the kept one of its star: its representative, or if no row about that is left the image of the best row.
_PLACED = """
    CREATE OR REPLACE TEMP TABLE placed AS
    SELECT *, place + CASE WHEN dropped THEN 1::BIGINT << 40 ELSE 0 END AS rank, true AS shows_kept, false AS about_kept
    FROM comparable
"""
_PLACED_BY_IMAGE = """
    CREATE OR REPLACE TEMP TABLE placed AS
    WITH shown AS (
        SELECT row, rank, unnest(stars) AS star, unnest(numbers) AS number,
               generate_subscripts(numbers, 1) AS image_no FROM placed
    ), kept_images AS (
        SELECT star, arg_min(number, rank + CASE WHEN number = star THEN 0 ELSE 1::BIGINT << 39 END) AS kept
        FROM shown GROUP BY star
    )
    SELECT p.* REPLACE (k.shows_kept AS shows_kept, p.numbers = k.kept AS about_kept)
    FROM placed p JOIN (
        SELECT s.row, list(i.kept ORDER BY s.image_no) AS kept, bool_or(s.number = i.kept) AS shows_kept
        FROM shown s JOIN kept_images i ON i.star = s.star GROUP BY s.row
    ) k ON k.row = p.row
"""
# first: the row to keep of those with the same question and answer, or about the same images; twin: of those with the
# same question and answer about equal images.
_FIRSTS = """
    WITH same AS (
        SELECT answered, arg_min(row, rank + CASE WHEN shows_kept THEN 0 ELSE 1::BIGINT << 41 END) AS first
        FROM placed GROUP BY answered
    ), about AS (SELECT stars, arg_min(row, rank) AS first FROM placed WHERE about_kept GROUP BY stars)
    SELECT p.row, CASE WHEN p.shows_kept THEN s.first ELSE coalesce(a.first, s.first) END AS first,
           arg_min(p.row, p.rank) OVER (PARTITION BY p.alike) AS twin, coalesce(c.conflict_with, -1) AS conflict_with
    FROM placed p JOIN same s ON s.answered = p.answered LEFT JOIN about a ON a.stars = p.stars
    LEFT JOIN conflicts c ON c.row = p.row
    ORDER BY p.row
"""


def choose_kept(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: Comparable, settings: DuplicateSettings,
    dropped_before: Flags, dropped: Flags,
) -> Repeats:  # fmt: skip
    """Find the row that is kept in place of each, and those that contradict it.

    Args:
        connection: for temporary tables.
        dropped_before: by place, the rows that are dropped before contradictions are sought; ``dropped``: before the
            rows to keep are chosen.

    Raises:
        UserError: what was found cannot be written.
    """
    state = np.stack([dropped_before, dropped], axis=1)
    parts = _partitions(rows, state, settings)
    earlier, stored = _read(workspace.kept)
    found = Repeats.none(len(rows))
    known = {digest: members for digest, members in parts if digest in earlier}
    _put(found, list(known.values()), stored.at(_joined([np.arange(*earlier[digest]) for digest in known])))
    new = [members for digest, members in parts if digest not in earlier]
    for some in _together(new):
        _put(found, [some], _chosen(connection, workspace, rows, some, state[some], settings))
    if new or len(earlier) != len(parts):
        _write(workspace.kept, found, parts, {digest: stored.at(slice(*at)) for digest, at in earlier.items()})
    if len(rows):
        found.star[:] = np.where(found.found, rows.stars[rows.offsets[:-1]], -1)
    return _with_links(connection, workspace, rows, found, dropped, settings)


def _together(parts: Sequence[Indices]) -> Iterator[Indices]:
    """The rows of some partitions, so many at once as memory has room for, or of one partition."""
    some: list[Indices] = []
    for part in parts:
        if some and sum(map(len, some)) + len(part) > _ROWS_AT_ONCE:
            yield np.sort(_joined(some))
            some = []
        some.append(part)
    if some:
        yield np.sort(_joined(some))


def _joined(arrays: Sequence[Indices]) -> Indices:
    return np.concatenate([np.empty(0, np.int64), *arrays])


def _put(found: Repeats, groups: Sequence[Indices], known: Repeats) -> None:
    """Enter what is known of groups of rows, one after the other; rows are named by their places in their group."""
    members = _joined(groups)
    sizes = np.array([len(group) for group in groups], np.int64)
    base = np.repeat(np.cumsum(sizes) - sizes, sizes)
    for name in _STORED:
        values = getattr(known, name)
        if name in _OTHERS:
            values = np.append(members, -1)[np.where(values < 0, -1, base + values)]
        getattr(found, name)[members] = values


def _read(path: Path) -> tuple[dict[str, tuple[int, int]], Repeats]:
    """The partitions of an earlier run, as digest → first row and the one after the last, and their rows."""
    try:
        columns, noted = read_arrays(path)
        sizes = json.loads(noted[_META])
    except (OSError, ValueError, KeyError, pa.ArrowException):
        return {}, Repeats.none(0)
    ends = np.cumsum([size for _, size in sizes]).tolist()
    count = ends[-1] if ends else 0
    if any(len(column) != count for column in columns.values()):
        return {}, Repeats.none(0)
    places = {digest: (end - size, end) for (digest, size), end in zip(sizes, ends, strict=True)}
    return places, replace(Repeats.none(count), **columns)


def _write(path: Path, found: Repeats, parts: Sequence[tuple[str, Indices]], earlier: Mapping[str, Repeats]) -> None:
    """Keep what was found in each partition; rows are named by their places there, as in ``earlier`` ones."""
    place = np.full(len(found.found) + 1, -1)
    pieces = []
    for digest, group in parts:
        if digest in earlier:
            pieces.append(earlier[digest])
            continue
        place[group] = np.arange(len(group))
        of_group = found.at(group)
        pieces.append(replace(of_group, **{name: place[getattr(of_group, name)] for name in _OTHERS}))
    columns = {
        name: np.concatenate([np.empty(0, kind), *(getattr(piece, name).astype(kind, copy=False) for piece in pieces)])
        for name, kind in _STORED.items()
    }
    write_arrays(path, columns, {_META: json.dumps([[digest, len(group)] for digest, group in parts])})


def _partitions(rows: Comparable, state: Flags, settings: DuplicateSettings) -> list[tuple[str, Indices]]:
    """The rows of each partition, ascending, with a digest of all that is found there depends on."""
    partition = (rows.key >> np.uint64(54)).astype(np.int16)
    if settings.scope == "image":
        partition = np.zeros(len(rows), np.int16)
    order = np.argsort(partition, kind="stable")
    cuts = np.searchsorted(partition[order], np.arange(_PARTITIONS + 1))
    made_by = json.dumps([_VERSION, duckdb.__version__, settings.model_dump(mode="json")], sort_keys=True).encode()
    digests, flags = rows.digests[order], state[order]
    return [
        (sha256_bytes(b"".join([made_by, digests[start:end].tobytes(), flags[start:end].tobytes()])), order[start:end])
        for start, end in zip(cuts[:-1].tolist(), cuts[1:].tolist(), strict=True)
        if end > start
    ]


def _chosen(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: Comparable, some: Indices, state: Flags,
    settings: DuplicateSettings,
) -> Repeats:  # fmt: skip
    """What is found about the rows of whole partitions, which name each other by their places in ``some``."""
    slots, starts = rows.slots(some)
    offsets = pa.array(np.append(starts, len(slots)))
    table = {
        "row": np.arange(len(some)), "id": ids_at(workspace, rows.position[some]), "votes": rows.votes[some],
        "pixels": rows.pixels_of_rows()[some], "asked": rows.asked[some], "answered": rows.answered[some],
        "alike": rows.alike[some], "dropped_before": state[:, 0], "dropped": state[:, 1],
        "numbers": pa.LargeListArray.from_arrays(offsets, rows.numbers[slots]),
        "stars": pa.LargeListArray.from_arrays(offsets, rows.stars[slots]),
    }  # fmt: skip
    connection.register("given", pa.table(table))
    place = f"row_number() OVER (ORDER BY {keep_order(settings)}, id)"
    connection.execute(
        f"CREATE OR REPLACE TEMP TABLE comparable AS SELECT * EXCLUDE (id, votes, pixels), {place} AS place FROM given"
    )
    connection.execute(_CONFLICTS)
    connection.execute(_PLACED)
    if settings.scope == "image":
        connection.execute(_PLACED_BY_IMAGE)
    table = connection.sql(_FIRSTS).to_arrow_table()
    first, twin, conflict = (table[name].to_numpy() for name in ("first", "twin", "conflict_with"))
    own = np.arange(len(some))
    first = np.where(first == own, -1, first)
    found = replace(Repeats.none(len(some)), conflict_with=conflict)
    found.found[:] = (first >= 0) | (conflict >= 0) | rows.grouped[some]
    repeats = np.flatnonzero(first >= 0)
    _confirm(workspace, found, rows, some, repeats, first[repeats], twin[repeats], settings)
    return found


def _confirm(
    workspace: Workspace, found: Repeats, rows: Comparable, some: Indices, repeats: Indices, first: Indices,
    twin: Indices, settings: DuplicateSettings,
) -> None:  # fmt: skip
    """Compare each row that repeats another one with the row kept in its place, image by image.

    Both were confirmed against the representative, which may be a third image: a row whose images differ too
    much from the kept row's is not a duplicate.
    """
    if not len(repeats):
        return
    (left, starts), (right, _) = rows.slots(some[repeats]), rows.slots(some[first])
    i, j = rows.numbers[left], rows.numbers[right]
    pairs, pair = np.unique(np.stack([i, j], axis=1), axis=0, return_inverse=True)
    fingerprints = read_stored(workspace).fingerprints
    difference = compare(fingerprints, pairs[:, 0], fingerprints, pairs[:, 1], settings)
    pair = pair.reshape(-1)
    mean = np.maximum.reduceat(difference.mean[pair], starts)
    hamming = np.maximum.reduceat(difference.bits[pair], starts)
    same = np.minimum.reduceat(difference.similar[pair], starts)
    exact = np.minimum.reduceat(i == j, starts)
    re_encoded = np.minimum.reduceat(rows.pixels[left] == rows.pixels[right], starts)
    kind = np.select([exact, re_encoded], [_EXACT, _RE_ENCODED], _RESIZED)
    drops, flags = (np.isin(kind, _with_action(settings, action)) for action in ("drop", "flag"))
    of_twin = same & ~drops & (twin != repeats) & (settings.kinds["exact"] == "drop")
    of_first = same & ~of_twin & (drops | flags)
    found.duplicate_of[repeats] = np.select([of_twin, of_first & drops], [twin, first], -1)
    found.edited_copy_of[repeats] = np.where(of_first & flags, first, -1)
    found.kind[repeats] = np.select([of_twin, of_first], [_EXACT, kind], -1)
    found.strength[repeats] = np.select([of_twin, of_first], [1.0, 1 - mean / 255], np.nan)
    found.distance[repeats] = np.select([of_twin, of_first], [0.0, mean], np.nan)
    found.hamming[repeats] = np.select([of_twin, of_first], [0, hamming], -1)


def _with_action(settings: DuplicateSettings, action: str) -> list[int]:
    return [number for number, kind in enumerate(KINDS) if settings.kinds.get(kind) == action]


def _with_links(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, rows: Comparable, found: Repeats, dropped: Flags,
    settings: DuplicateSettings,
) -> Repeats:  # fmt: skip
    """Add what edited copies say: of several copies the strict one that drops counts, then the edited one that drops,
    then the strict one that flags.
    """
    some = np.flatnonzero(rows.unit >= 0)
    if not len(some):
        return found
    repeated = found.duplicate_of[some]
    touched = {
        "row": some, "unit": rows.unit[some], "star": rows.stars[rows.offsets[some]], "dropped": dropped[some],
        "duplicate_of": pa.array(repeated, mask=repeated < 0), "id": ids_at(workspace, rows.position[some]),
        "votes": rows.votes[some], "pixels": rows.pixels_of_rows()[some],
    }  # fmt: skip
    linked = link_rows(connection, workspace, pa.table(touched), settings, keep_order(settings))
    row = linked["row"].to_numpy()
    names = ("duplicate_of", "edited_copy_of", "kind", "star")
    duplicate_of, edited_copy_of, kind, star = (linked[name].fill_null(-1).to_numpy() for name in names)
    strength = linked["strength"].fill_null(np.nan).to_numpy()
    strict = found.at(row)
    edited = (strict.duplicate_of < 0) & (duplicate_of >= 0)
    found.found[row] = True
    found.star[row] = np.where(edited | (strict.star < 0), star, strict.star)
    found.duplicate_of[row] = np.where(strict.duplicate_of >= 0, strict.duplicate_of, duplicate_of)
    copies = np.where(strict.edited_copy_of >= 0, strict.edited_copy_of, edited_copy_of)
    found.edited_copy_of[row] = np.where(found.duplicate_of[row] < 0, copies, -1)
    by_link = edited | (strict.kind < 0)
    found.kind[row] = np.where(by_link, kind, strict.kind)
    found.strength[row] = np.where(by_link, strength, strict.strength)
    return found
