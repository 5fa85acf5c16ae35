"""Pictures that resemble a picture or a text, among the rows of a run and among those of a curated set.

A row is found by its first readable picture. What is compared are CLIP embeddings of one model: the one that embedded
the curated set. Hits are pictures, each with its rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from curate.signals.clip import Clip, ClipUnavailable, load_clip
from dashboards.data.answers import matching_rows
from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch, fetch_table
from dashboards.data.filters import View
from dashboards.find.embeddings import Half, Model, Store, adopt, cosines, model_of, open_embeddings, short_keys
from winnow.errors import UserError

Vector = NDArray[np.float32]
_TABLES = {"evals": ("predictions.parquet", "file_row_number"), "curated": ("samples.parquet", "position")}


@dataclass(frozen=True, eq=False)
class Pictured:
    """The rows of a table and the embedded picture of each.

    Attributes:
        row: (rows,) number in ``predictions.parquet``, or position in ``samples.parquet``; ascending.
        key: (rows,) first 64 bits of the first readable image's key; 0 where there is none.
        place: (rows,) row in ``vectors``; -1 where the picture is not embedded.
        vectors: (pictures, width) float16, memory-mapped.
    """

    row: NDArray[np.int32]
    key: NDArray[np.uint64]
    place: NDArray[np.int64]
    vectors: Half

    @cached_property
    def pictures(self) -> int:
        """How many different pictures the rows show."""
        return len(np.unique(self.key[self.key > 0]))

    @cached_property
    def missing(self) -> int:
        """How many of them are not embedded."""
        return len(np.unique(self.key[(self.place < 0) & (self.key > 0)]))


@dataclass(frozen=True)
class Hit:
    """A picture that was found: its cosine with what was sought, and the rows that show it, in table order."""

    cosine: float
    rows: tuple[int, ...]


@cached(4)
def pictured_set(folder: Folder) -> Pictured | None:
    """All rows of a curated set, 20 MB for a million; None if it has no embeddings.

    Raises:
        UserError: a table or the embeddings cannot be read.
    """
    embeddings = open_embeddings(folder)
    if embeddings is None:
        return None
    rows, keys = _keys(folder)
    return Pictured(rows, keys, _places(keys, short_keys(embeddings.keys)), embeddings.vectors)


def pictured_run(run: Folder, folder: Folder) -> Pictured | None:
    """All rows of a run, by the embeddings that the model of a curated set has made of them so far.

    Returns: None if the set has no embeddings.

    Raises:
        UserError: a table or the embeddings cannot be read.
    """
    model, embeddings = model_of(folder), open_embeddings(folder)
    if model is None or embeddings is None:
        return None
    store = Store(folder.root, model)
    _adopt(run, folder)
    return _pictured_run(run, folder, store.size())


@cached(4)
def _pictured_run(run: Folder, folder: Folder, size: int) -> Pictured:
    """``size`` is only part of the cache key: the store grows."""
    model, embeddings = model_of(folder), open_embeddings(folder)
    assert model and embeddings
    rows, keys = _keys(run)
    stored, vectors = Store(folder.root, model).read(embeddings.vectors.shape[1])
    return Pictured(rows, keys, _places(keys, stored), vectors)


@cached(16)
def _adopt(run: Folder, folder: Folder) -> bool:
    """Take over what curation embedded: images that an evaluation shares with the set or that it was compared with."""
    model, embeddings = model_of(folder), open_embeddings(folder)
    assert model and embeddings
    store = Store(folder.root, model)
    stored, _ = store.read(embeddings.vectors.shape[1])
    keys = np.unique(_keys(run)[1])
    adopt(folder, store, np.setdiff1d(keys[keys > 0], stored))
    return True


@cached(8)
def _keys(folder: Folder) -> tuple[NDArray[np.int32], NDArray[np.uint64]]:
    """(rows,) row numbers and short keys of the first readable image."""
    file, number = _TABLES[folder.kind]
    numbered = ", file_row_number = true" if folder.kind == "evals" else ""
    first = "list_filter(image_keys, lambda k: regexp_full_match(k, '[0-9a-f]{64}'))[1]"
    sql = f"""
        SELECT {number} AS row, coalesce(('0x' || substr({first}, 1, 16))::UBIGINT, 0) AS key
        FROM read_parquet(?{numbered}) ORDER BY row"""
    found = fetch_table(folder.connection, sql, [folder.file(file)])
    return found["row"].to_numpy().astype(np.int32), found["key"].to_numpy()


def _places(keys: NDArray[np.uint64], stored: NDArray[np.uint64]) -> NDArray[np.int64]:
    """(rows,) where each key stands in ``stored``; -1 where it does not."""
    if not len(stored):
        return np.full(len(keys), -1)
    order = np.argsort(stored, kind="stable")
    found = order[np.minimum(np.searchsorted(stored, keys, sorter=order), len(order) - 1)]
    return np.where((stored[found] == keys) & (keys > 0), found, -1)


def hits(pictured: Pictured, query: Vector, count: int, rows: NDArray[np.int32] | None = None) -> list[Hit]:
    """The ``count`` pictures nearest to ``query``, nearest first; ties go by the first row.

    Args:
        query: (width,) of unit length.
        rows: (m,) numbers of the rows to search among; None is all.
    """
    at = np.arange(len(pictured.row)) if rows is None else np.searchsorted(pictured.row, np.sort(rows))
    at = at[pictured.place[at] >= 0]
    if not len(at):
        return []
    shown = np.zeros(len(pictured.vectors), dtype=bool)
    shown[pictured.place[at]] = True
    found = cosines(pictured.vectors, query)
    candidates = np.flatnonzero(shown)
    count = min(count, len(candidates))
    best = candidates[np.argpartition(-found[candidates], count - 1)[:count]]
    of_best = at[np.isin(pictured.place[at], best)]
    by_place: dict[int, list[int]] = {}
    for place, row in zip(pictured.place[of_best].tolist(), pictured.row[of_best].tolist(), strict=True):
        by_place.setdefault(place, []).append(row)
    made = [Hit(float(found[place]), tuple(listed)) for place, listed in by_place.items()]
    return sorted(made, key=lambda hit: (-hit.cosine, hit.rows[0]))


@cached(64)
def found_answers(view: View, folder: Folder, stored: int, query: bytes, count: int, own: str) -> Sequence[Hit]:
    """The pictures nearest to ``query`` among the rows of a view; each hit's rows are those of the view.

    Args:
        folder: the curated set whose model embedded the pictures.
        stored: how many pictures of runs are embedded; part of the cache key.
        query: bytes of the float32 vector.
        own: id of a row that is left out, with its picture.

    Raises:
        UserError: a table or the embeddings cannot be read.
    """
    pictured = pictured_run(view.run, folder)
    return _others(view.run, pictured, query, count, own, matching_rows(view)) if pictured else ()


@cached(64)
def found_cases(folder: Folder, query: bytes, count: int, own: str) -> Sequence[Hit]:
    """The same among all rows of a curated set."""
    pictured = pictured_set(folder)
    return _others(folder, pictured, query, count, own, None) if pictured else ()


def _others(
    folder: Folder, pictured: Pictured, query: bytes, count: int, own: str, rows: NDArray[np.int32] | None
) -> Sequence[Hit]:
    found = hits(pictured, np.frombuffer(query, dtype=np.float32), count + bool(own), rows)
    place = _place_of(folder, pictured, own) if own else None
    kept = [hit for hit in found if pictured.place[np.searchsorted(pictured.row, hit.rows[0])] != place]
    return kept[:count]


def query_of(run: Folder, folder: Folder, stored: int, text: str, sample_id: str) -> Vector | None:
    """What is sought: a text, or the picture of a row of the run or of the curated set.

    Args:
        text: '' to seek by the picture.
        stored: as for ``found_answers``.

    Returns: (width,) of unit length; None if no embedded picture belongs to the row.

    Raises:
        UserError: the model cannot be loaded, or a table or the embeddings cannot be read.
    """
    if text:
        model = model_of(folder)
        return text_vector(model, text) if model else None
    return _vector_of(run, folder, stored, sample_id)


@cached(64)
def _vector_of(run: Folder, folder: Folder, stored: int, sample_id: str) -> Vector | None:
    for where, pictured in ((run, pictured_run(run, folder)), (folder, pictured_set(folder))):
        place = _place_of(where, pictured, sample_id) if pictured else None
        if pictured and place is not None:
            return np.asarray(pictured.vectors[place], dtype=np.float32)
    return None


def _place_of(folder: Folder, pictured: Pictured, sample_id: str) -> int | None:
    """Where the picture of a row stands in the vectors; None without one."""
    file, number = _TABLES[folder.kind]
    numbered = ", file_row_number = true" if folder.kind == "evals" else ""
    sql = f"SELECT {number} AS row FROM read_parquet(?{numbered}) WHERE sample_id = ? ORDER BY row LIMIT 1"
    for found in fetch(folder.connection, sql, [folder.file(file), sample_id]):
        at = int(np.searchsorted(pictured.row, found["row"]))
        if at < len(pictured.row) and pictured.row[at] == found["row"] and pictured.place[at] >= 0:
            return int(pictured.place[at])
    return None


@cached(2)
def load_model(model: Model) -> Clip:
    """The model that made a set's embeddings; it stays loaded.

    Raises:
        UserError: it cannot be loaded, or its weights are other ones now.
    """
    try:
        loaded = load_clip(model.model, model.pretrained)
    except ClipUnavailable as error:
        raise UserError(
            f"the CLIP model that embedded this set cannot be loaded ({error}); make it available where the recipe"
            " names it, or curate again with one that is here"
        ) from error
    if loaded.name != model.name:
        raise UserError(
            f"{model.model}: its weights are not those that embedded this set ({loaded.name}, not {model.name});"
            " curate again"
        )
    return loaded


@cached(256)
def text_vector(model: Model, text: str) -> Vector:
    """(width,) embedding of a text; raises like ``load_model``."""
    return np.asarray(load_model(model).embed_texts([text])[0], dtype=np.float32)
