"""Rows that repeat another one about an edited copy of its image.

Edited copies join no stars: a mirrored picture and a cropped one may both be copies of a third and nothing of each
other. Rows with equal images, and with ``scope: question`` the same question and answer, form a unit; a link leads
from a unit to one that it copies. All images are in one order, so that links make no circle: what is shown to be the
edit comes last (the framed one, the one without colours), then ``keep:`` of the recipe decides.
"""

from __future__ import annotations

import duckdb
import numpy as np
import pyarrow as pa

from curate.duplicates.edits.stored_edits import chosen
from curate.duplicates.hamming import Indices
from curate.duplicates.images.fingerprints import CELLS, CHANNELS, ImageFingerprints, compare
from curate.kinds import KINDS, KindPairs
from curate.settings.copies import DuplicateSettings, MatchSettings
from curate.workspace import Workspace
from winnow.parquet.tables import parquet, query_batches, write_parquet

LINKS = pa.schema(
    [
        ("unit", pa.int64()),
        ("original", pa.int64()),
        ("kind", pa.uint8()),
        ("strength", pa.float32()),
        ("place", pa.int64()),
        ("original_place", pa.int64()),
    ]
)
_BLOCK = 1 << 14  # thumbnails in memory at once
_FRAMED, _TONED = KINDS.index("framed"), KINDS.index("toned")
# Rows about an image that is an edited copy or has one, and the units that they form. What is asked and answered is one
# number, 0 for all in scope image.
_UNITS = """
    CREATE TABLE touched AS
    SELECT position, numbers, {said} AS said, row_number() OVER (ORDER BY {order}, id) AS place FROM touched_rows;
    CREATE TABLE units AS
    SELECT min(position) AS unit, numbers, said, min(place) AS place FROM touched GROUP BY numbers, said;
    CREATE TABLE unit_images AS
    SELECT u.unit, u.said, len(u.numbers) AS images, u.number, u.image_no, coalesce(m.representative, u.number) AS star
    FROM (SELECT *, unnest(numbers) AS number, generate_subscripts(numbers, 1) AS image_no FROM units) u
    LEFT JOIN members m ON m.member = u.number;
    CREATE TABLE unit_places AS
    SELECT unit, row_number() OVER (ORDER BY edits, place) AS place FROM (
        SELECT i.unit, u.place, bool_or(d.number IS NOT NULL) AS edits
        FROM unit_images i JOIN units u ON u.unit = i.unit LEFT JOIN demoted d ON d.number = i.number GROUP BY ALL
    )
"""
# One edited image makes two units candidates; all others must be edited, near-identical or equal copies too.
_LINKS = """
    WITH proposed AS (
        SELECT DISTINCT a.unit, b.unit AS original, p.place, q.place AS original_place
        FROM unit_images a JOIN edited e ON e.number = a.number
        JOIN unit_images b ON b.number = e.other AND b.image_no = a.image_no AND b.images = a.images AND b.said = a.said
        JOIN unit_places p ON p.unit = a.unit JOIN unit_places q ON q.unit = b.unit
        WHERE q.place < p.place
    )
    SELECT l.unit, l.original, max(e.kind) AS kind, min(e.strength) AS strength, l.place, l.original_place
    FROM proposed l JOIN unit_images a ON a.unit = l.unit
    JOIN unit_images b ON b.unit = l.original AND b.image_no = a.image_no
    LEFT JOIN edited e ON e.number = a.number AND e.other = b.number
    GROUP BY ALL HAVING bool_and(e.kind IS NOT NULL OR a.star = b.star)
    ORDER BY l.place, l.original_place
"""


def find_links(
    connection: duckdb.DuckDBPyConnection,
    workspace: Workspace,
    fingerprints: ImageFingerprints,
    edits: KindPairs,
    touched: pa.Table,
    settings: DuplicateSettings,
    order: str,
) -> None:
    """Write ``workspace.edited_links`` (schema ``LINKS``); creates ``unit_rows``: position and unit of its rows.

    The connection has the tables ``numbered`` and ``members`` of ``curate.duplicates.rows``.

    Args:
        edits: pairs of images, none of which is near-identical.
        touched: the rows about these: position, numbers (of their images), said (64 bits of question and answer), and
            what ``order`` asks for: pixels, votes, id.
        order: of rows, the one to keep first.

    Raises:
        UserError: the file cannot be written.
    """
    connection.register("touched_rows", touched)
    columns = {"kind": np.tile(edits.kind, 2), "strength": np.tile(edits.strength, 2)}
    ends = {"number": np.concatenate([edits.i, edits.j]), "other": np.concatenate([edits.j, edits.i])}
    connection.register("edited", pa.table({**ends, **columns}))
    pixels = np.zeros(len(fingerprints), np.int64)
    sizes = connection.sql("SELECT number, pixels FROM numbered").to_arrow_table()
    pixels[sizes.column("number").to_numpy()] = sizes.column("pixels").to_numpy()
    connection.register("demoted", pa.table({"number": _surely_edits(edits, fingerprints, pixels)}))
    said = "said" if settings.scope == "question" else "0::UBIGINT"
    connection.execute(_UNITS.format(said=said, order=order))
    connection.execute("CREATE TABLE unit_rows AS SELECT position, unit FROM touched JOIN units USING (numbers, said)")
    write_parquet(workspace.edited_links, query_batches(connection, _LINKS), LINKS)


def without_strict(edits: KindPairs, fingerprints: ImageFingerprints, settings: MatchSettings) -> KindPairs:
    """The pairs that are not near-identical too: of a pair that is, that is its kind."""
    difference = compare(fingerprints, edits.i, fingerprints, edits.j, settings)
    return chosen(edits, ~difference.confirmed(settings))


def _surely_edits(edits: KindPairs, fingerprints: ImageFingerprints, pixels: Indices) -> Indices:
    """The images that are the edit of a pair: the framed one is larger, the grey one has less colour."""
    framed, toned = (chosen(edits, edits.kind == kind) for kind in (_FRAMED, _TONED))
    larger = np.where(pixels[framed.i] > pixels[framed.j], framed.i, framed.j)
    larger = larger[pixels[framed.i] != pixels[framed.j]]
    chroma = [_chroma(fingerprints, side) for side in (toned.i, toned.j)]
    paler = np.where(chroma[0] < chroma[1], toned.i, toned.j)[chroma[0] != chroma[1]]
    return np.unique(np.concatenate([larger, paler]))


def _chroma(fingerprints: ImageFingerprints, images: Indices) -> np.ndarray:
    """Mean over the cells of a thumbnail of the standard deviation of its channels' differences: 0 of a tinted one."""
    found = np.empty(len(images))
    for start in range(0, len(images), _BLOCK):
        cells = fingerprints.thumbnails[images[start : start + _BLOCK]].reshape(-1, CELLS, CHANNELS).astype(np.float32)
        found[start : start + _BLOCK] = (cells - cells.mean(axis=2, keepdims=True)).std(axis=1).mean(axis=1)
    return found


# The best row of each unit that no other rule drops, and if that is itself a duplicate the row kept in its place.
_HEADS = """
    CREATE TEMP TABLE heads AS
    SELECT unit, unnest(arg_min({'row': row, 'star': star, 'instead': duplicate_of}, place)) AS head
    FROM members_of_units WHERE NOT dropped GROUP BY unit
"""
_DROPPING = """
    SELECT l.unit, l.original, l.kind, l.strength FROM links l
    JOIN heads u ON u.unit = l.unit JOIN heads o ON o.unit = l.original
    WHERE list_contains($dropping, l.kind) AND u.instead IS NULL AND o.instead IS NULL
    ORDER BY l.place, l.kind, l.strength DESC, l.original_place
"""
# duplicate_of and edited_copy_of of rows by their units; the row that is kept is in the group too.
_LINKED = """
    SELECT p.row, o.row AS duplicate_of, NULL::BIGINT AS edited_copy_of, r.kind, r.strength, o.star
    FROM members_of_units p JOIN repeats r ON r.unit = p.unit JOIN heads o ON o.unit = r.original
    UNION ALL
    SELECT DISTINCT o.row, NULL, NULL, NULL, NULL, o.star FROM repeats r JOIN heads o ON o.unit = r.original
    UNION ALL
    SELECT row, NULL, best.row, best.kind, best.strength, NULL FROM (
        SELECT p.row, arg_min({'row': coalesce(o.instead, o.row), 'kind': l.kind, 'strength': l.strength},
                              (l.kind, -l.strength, l.original_place)) AS best
        FROM members_of_units p JOIN links l ON l.unit = p.unit JOIN heads o ON o.unit = l.original
        WHERE list_contains($flagging, l.kind) AND coalesce(o.instead, o.row) <> p.row
              AND l.unit NOT IN (SELECT unit FROM repeats) AND l.original NOT IN (SELECT unit FROM repeats)
        GROUP BY p.row
    )
"""
_OF_ROWS = """
    SELECT row, max(duplicate_of) AS duplicate_of, max(edited_copy_of) AS edited_copy_of, max(kind)::BIGINT AS kind,
           max(strength)::DOUBLE AS strength, max(star) AS star
    FROM ({linked}) GROUP BY row ORDER BY row
"""


def link_rows(
    connection: duckdb.DuckDBPyConnection, workspace: Workspace, touched: pa.Table, settings: DuplicateSettings,
    order: str,
) -> pa.Table:  # fmt: skip
    """What the rows about edited copies are: row, duplicate_of, edited_copy_of, kind (of ``KINDS``), strength, star.

    Rows of a unit that copies one of the units left, by a kind that drops, repeat its best row; else, by a kind that
    flags, they are edited copies of it.

    Args:
        connection: for temporary tables.
        touched: the rows of units: row (its number, by which others are named), unit, star, dropped, duplicate_of (the
            row kept in its place among near-identical ones, or null), and what ``order`` asks for.
        order: of rows, the one to keep first.
    """
    connection.execute(f"CREATE TEMP VIEW links AS SELECT * FROM {parquet([workspace.edited_links])}")
    connection.register("given", touched)
    place = f"row_number() OVER (ORDER BY {order}, id)"
    connection.execute(
        f"CREATE TEMP TABLE members_of_units AS SELECT * EXCLUDE (id, votes, pixels), {place} AS place FROM given"
    )
    connection.execute(_HEADS)
    numbers = {
        action: [number for number, kind in enumerate(KINDS) if settings.kinds.get(kind) == action]
        for action in ("drop", "flag")
    }
    repeats: dict[int, tuple[int, int, float]] = {}
    # By the place of the copy: whether what it copies stays has been decided before.
    found = connection.sql(_DROPPING, params={"dropping": numbers["drop"]}).to_arrow_reader(_BLOCK)
    for batch in found:
        for unit, original, kind, strength in zip(*(column.to_pylist() for column in batch.columns), strict=True):
            if original not in repeats:
                repeats.setdefault(unit, (original, kind, strength))
    columns = [list(column) for column in zip(*repeats.values(), strict=True)] or [[], [], []]
    names = {"unit": pa.int64(), "original": pa.int64(), "kind": pa.uint8(), "strength": pa.float32()}
    arrays = [pa.array(values, kind) for values, kind in zip([list(repeats), *columns], names.values(), strict=True)]
    connection.register("repeats", pa.table(arrays, names=list(names)))
    query = _OF_ROWS.format(linked=_LINKED)
    return connection.sql(query, params={"flagging": numbers["flag"]}).to_arrow_table()
