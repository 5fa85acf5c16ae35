"""The parts that units have left → the table of rows: in order, each in its place, with unique ids."""

from __future__ import annotations

import itertools
import os
import shutil
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.readers import OpenedSource
from curate.readers.facts import Counting, SourceFacts
from curate.readers.placing import Place, place_rows
from curate.readers.units import Unit
from curate.settings.sources import SourceSettings
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path
from winnow.parquet.table_parts import Item, Parts, Runner, part_name
from winnow.parquet.tables import database, literal, sql_files, write_numbers

_REPEATS = """
    WITH ids AS (
        SELECT sample_id, file_index::BIGINT AS part, file_row_number AS row
        FROM read_parquet({files}, file_row_number = true) WHERE derived_id
    )
    SELECT part, row, row_number() OVER (PARTITION BY sample_id ORDER BY part, row) - 1 AS before
    FROM ids SEMI JOIN (SELECT sample_id FROM ids GROUP BY sample_id HAVING count(*) > 1) USING (sample_id)
    QUALIFY before > 0
"""
# The first row, in order, whose id was there before, among those with an id of these digests.
_TWICE = """
    SELECT sample_id, first, position FROM (
        SELECT sample_id, position, min(position) OVER (PARTITION BY sample_id) AS first
        FROM {rows} SEMI JOIN suspected ON hash(sample_id) = digest
    ) WHERE position > first ORDER BY position LIMIT 1
"""


@dataclass(frozen=True)
class ReadSource:
    """A source that was read.

    Attributes:
        places: for each unit, what the place of a bad row begins with; '' where bad rows have their place.
        units: in order.
        notes: the file of each unit.
    """

    settings: SourceSettings
    source: OpenedSource
    places: Sequence[str]
    units: Sequence[Unit]
    notes: Sequence[Path]

    def row_count(self) -> int:
        """Rows of all units."""
        return sum(rows for unit in self.units for rows in unit.rows)


def assemble(read: Sequence[ReadSource], rows: Parts, folder: Path, runner: Runner) -> tuple[SourceFacts, ...]:
    """Bring ``rows`` up to date with the parts of all units, which lie in ``folder``.

    Returns:
        What was found in each source.
    """
    names: list[str] = []
    items: dict[str, Item] = {}
    linked: dict[str, Path] = {}
    facts = []
    for each in read:
        counting = Counting(each.settings.location, each.source.layout, each.source.notes)
        for unit, place in zip(each.units, _places(each, folder, rows.folder), strict=True):
            if place is not None:
                counting.join(unit.counted, _first_bad(unit, place), _other_ids(unit, place))
            else:
                counting.join(unit.counted, ": ".join(map(str, filter(None, unit.first_bad))))
            before = place.of_parts(unit.rows) if place is not None else [None] * len(unit.parts)
            for part, digest, own in zip(unit.parts, unit.digests, before, strict=True):
                key = own.key(has_bad_rows=unit.counted.bad_rows > 0) if own is not None else None
                if own is not None and key is not None:
                    name = part_name(["placed", digest, key])
                    items[name] = (rows.folder / name, (folder / part, own))
                else:
                    name = part_name(digest)
                    linked[name] = folder / part
                names.append(name)
        facts.append(counting.facts())
    missing = rows.missing(names)
    for name in missing:
        if name in linked:
            _link(linked[name], rows.folder / name)
    for _ in runner(place_rows)([items[name] for name in missing if name in items]):
        pass
    rows.finish(names)
    return tuple(facts)


def _places(read: ReadSource, folder: Path, work: Path) -> Iterator[Place | None]:
    """What is before each unit; None for one that knows."""
    repeats = _repeats(read, folder, work)
    lines = positions = rows = 0
    last: tuple[str, ...] = ()
    for number, (unit, file, before) in enumerate(zip(read.units, read.places, ["", *read.places], strict=False)):
        lines = lines if file == before else 0
        place = Place(read.settings, file, lines, positions, rows, last, repeats.get(number, {}))
        yield place if file else None
        lines, positions, rows = lines + unit.lines, positions + unit.positions, rows + sum(unit.rows)
        last = tuple(unit.last) or last


def _repeats(read: ReadSource, folder: Path, work: Path) -> dict[int, dict[int, int]]:
    """How often an id made from content was there before, by unit and row, where it was."""
    parts = [
        (number, start, folder / name)
        for number, unit in enumerate(read.units)
        if unit.derived
        for name, start in zip(unit.parts, itertools.accumulate(unit.rows, initial=0), strict=False)
    ]
    if not parts or read.settings.ids == "position":
        return {}
    found: dict[int, dict[int, int]] = {}
    with database(work) as connection:
        files = sql_files(path for _, _, path in parts)
        for part, row, before in connection.execute(_REPEATS.format(files=files)).fetchall():
            number, start, _ = parts[part]
            found.setdefault(number, {})[start + row] = before
    return found


def _first_bad(unit: Unit, place: Place) -> str:
    where, reason = unit.first_bad
    return f"{place.where(where)}: {reason}" if where else ""


def _other_ids(unit: Unit, place: Place) -> dict[int, str]:
    """The ids that the first rows with a note have got."""
    added = place.ids(sum(unit.rows))
    noted = {number: own for _, number, own in unit.counted.notes.values()}
    return {number: f"{own}{added[number]}" for number, own in noted.items() if number in added}


def check_ids(read: Sequence[ReadSource], rows: Parts, digests: Parts) -> None:
    """Raise UserError if two rows have the same id; both are named by position.

    Args:
        digests: of the ids of each part of the rows; brought up to date.
    """
    with database(rows.folder) as connection:
        ordered = np.sort(_id_digests(connection, rows, digests))
        twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
        connection.register("suspected", pa.table({"digest": twice}))
        found = connection.execute(_TWICE.format(rows=rows.sql())).fetchone() if len(twice) else None
    if found is None:
        return
    sample_id, first, position = found
    ends = itertools.accumulate(each.row_count() for each in read)
    location = next(each.settings.location for each, end in zip(read, ends, strict=True) if position < end)
    rows.state.unlink()
    raise UserError(
        f"{location}: id {sample_id!r} occurs twice: rows {first} and {position} (from 0, over all sources); give the"
        " source another `source` or `split`, or set `ids: position` (--ids)"
    )


def _id_digests(connection: duckdb.DuckDBPyConnection, rows: Parts, digests: Parts) -> NDArray[np.uint64]:
    """64 bits of the id of each row."""
    files = {part_name(["id digests", duckdb.__version__, name]): rows.folder / name for name in rows.names()}
    for name in digests.missing(files):
        query = f"SELECT hash(sample_id) AS digest FROM read_parquet({literal(str(files[name]))})"
        write_numbers(digests.folder / name, connection.sql(query).to_arrow_table())
    digests.finish([*files])
    found = [pq.ParquetFile(path).read()["digest"].to_numpy() for path in digests.files()]
    return np.concatenate([np.empty(0, np.uint64), *found])


def _link(source: Path, target: Path) -> None:
    try:
        os.link(source, target)
    except OSError:  # another disk, or one without links
        try:
            with atomic_path(target) as temporary:
                shutil.copyfile(source, temporary)
        except OSError as error:
            raise UserError(disk_problem(error, target) or f"{target}: cannot be written ({error})") from error
