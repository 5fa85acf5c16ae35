"""Pictures of the same thing: pairs of stored embeddings whose cosine reaches a threshold, found exactly.

Every pair is bounded before it is computed. Let V be k orthonormal directions, x₁ = xV and x₂ the rest of x. Then by
Cauchy and Schwarz x·y ≤ x₁·y₁ + |x₂||y₂|, which is the product of two vectors of k + 1 numbers. With V the main
directions of the set, few pairs below the threshold pass. V changes the speed, never the result; what passes is
computed in double precision, so that the cut into blocks changes no bit either.
"""

from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from curate.duplicates.hamming import Indices
from curate.duplicates.images.stored import number_images, starts_of
from curate.kinds import KINDS, KindPairs
from curate.measure.set_embeddings import SetEmbeddings, no_embeddings, read_embeddings
from curate.settings.copies import SemanticSettings
from curate.views import create_views
from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path
from winnow.parquet.tables import database, query_batches, row_count, write_parquet
from winnow.run import file_stats

SEMANTIC = KINDS.index("semantic")
_DIRECTIONS, _SAMPLE = 64, 8192  # k; embeddings that the directions are taken from
_LEFT, _RIGHT, _CONFIRMED = 1024, 8192, 2048  # images of a block of pairs; pairs that are computed at once
_SLACK = 1e-3  # covers rounding in single precision
_DENSE = 32  # of a block where more than one pair in so many passes, all products are computed


def semantic_pairs(a: SetEmbeddings, b: SetEmbeddings | None, cosine: float) -> Iterator[KindPairs]:
    """Pairs of an image of ``a`` and one of ``b`` whose embeddings have at least this cosine; exact.

    ``strength`` is the cosine. Memory: 260 bytes an image and blocks of fixed size, besides the pairs of one block.

    Args:
        a, b: embeddings of two sets, of the same model; ``i`` numbers the images of ``a``, ``j`` those of ``b``. With
            ``b`` None each pair of different images of ``a`` comes once, i < j.
        cosine: -1 to 1.

    Raises:
        ValueError: the two are of different models.
    """
    if b is not None and (a.model != b.model or a.values.shape[1] != b.values.shape[1]):
        raise ValueError(f"embeddings of {a.model} cannot be compared with those of {b.model}")
    numbers = a.numbers
    search = Search(a, cosine)
    if b is None:
        for first in range(0, len(numbers), _LEFT):
            i = numbers[first : first + _LEFT]
            for left, right, found in search.near(a, i, numbers[first:]):
                once = left < right
                yield _pairs(left[once], right[once], found[once])
        return
    others = b.numbers
    for first in range(0, len(others), _LEFT):
        for right, left, found in search.near(b, others[first : first + _LEFT], numbers):
            yield _pairs(left, right, found)


def _pairs(i: Indices, j: Indices, cosines: NDArray[np.float32]) -> KindPairs:
    return KindPairs(i, j, np.full(len(i), SEMANTIC, np.uint8), cosines)


class Search:
    """The images of a set that are near to given ones."""

    def __init__(self, embeddings: SetEmbeddings, cosine: float) -> None:
        """Project all embeddings once; float32 (images, k + 1) stay in memory."""
        self.cosine = cosine
        self.embeddings = embeddings
        self._directions = _main_directions(embeddings)
        numbers = embeddings.numbers
        self._projected = np.zeros((len(embeddings.row), self._directions.shape[1] + 1), np.float32)
        for start in range(0, len(numbers), _RIGHT):
            block = numbers[start : start + _RIGHT]
            self._projected[block] = self._project(embeddings.of(block))

    def near(
        self, of: SetEmbeddings, left: Indices, right: Indices
    ) -> Iterator[tuple[Indices, Indices, NDArray[np.float32]]]:
        """Pairs of an image ``left`` of the set ``of`` and one ``right`` of this set, with their cosine, in blocks.

        A block is ordered by left, then by right, as they were given.
        """
        for top in range(0, len(left), _LEFT):
            rows = left[top : top + _LEFT]
            embedded = of.of(rows)
            projected = self._projected[rows] if of is self.embeddings else self._project(embedded)
            for start in range(0, len(right), _RIGHT):
                columns = right[start : start + _RIGHT]
                bounds = projected @ self._projected[columns].T
                at = np.flatnonzero(bounds >= self.cosine - _SLACK)
                if len(at) > bounds.size // _DENSE:
                    products = embedded @ self.embeddings.of(columns).T
                    at = np.flatnonzero(products >= self.cosine - _SLACK)
                for first in range(0, len(at), _CONFIRMED):
                    i, j = np.divmod(at[first : first + _CONFIRMED], len(columns))
                    found = _products(embedded[i], self.embeddings.of(columns[j]))
                    near = found >= self.cosine
                    if near.any():
                        yield rows[i[near]], columns[j[near]], found[near].astype(np.float32)

    def _project(self, embedded: NDArray[np.float32]) -> NDArray[np.float32]:
        inside = embedded @ self._directions
        rest = np.einsum("ij,ij->i", embedded, embedded) - np.einsum("ij,ij->i", inside, inside)
        return np.concatenate([inside, np.sqrt(np.maximum(rest, 0))[:, None]], axis=1)


def _main_directions(embeddings: SetEmbeddings) -> NDArray[np.float32]:
    """Orthonormal columns (width, k) that hold most of the embeddings, by a sample of them."""
    numbers = embeddings.numbers
    sample = embeddings.of(numbers[:: max(1, len(numbers) // _SAMPLE)]).astype(np.float64)
    _, vectors = np.linalg.eigh(sample.T @ sample)  # ascending
    return np.ascontiguousarray(vectors[:, ::-1][:, :_DIRECTIONS], np.float32)


@dataclass(frozen=True)
class SemanticClusters:
    """Stars of images, arrays over image numbers.

    Attributes:
        representative: int64, image that the image belongs to, itself if it leads; -1 for one that takes no part.
        cosine: float64, to the representative; 1 for the image itself.
    """

    representative: Indices
    cosine: NDArray[np.float64]


def cluster(
    embeddings: SetEmbeddings, best_first: Indices, cosine: float, earlier: Indices | None = None
) -> SemanticClusters:
    """Give each image the first representative, in keep-best order, whose cosine reaches the threshold.

    Stars do not chain: every member is that near to its representative. Pairs are held for one block of images only.

    Args:
        best_first: the images that take part, best first; each has an embedding.
        earlier: representatives of the first images by an earlier call with the same threshold, in which these images
            had the same order. Only what the others change is compared again; the result is the same.
    """
    search = Search(embeddings, cosine)
    count, known = len(embeddings.row), 0 if earlier is None else len(earlier)
    old = np.full(count, -1) if earlier is None else np.concatenate([earlier, np.full(count - known, -1)])
    place = np.full(count, count)
    place[best_first] = np.arange(len(best_first))
    representative = np.full(count, -1)
    leads = np.zeros(count, bool)
    leading: list[Indices] = []  # in keep-best order
    added: list[Indices] = []  # those of them that did not lead earlier
    for first in range(0, len(best_first), _LEFT):
        block = best_first[first : first + _LEFT]
        led, joined = old[block] == block, (old[block] >= 0) & (old[block] != block)
        joined[joined] = leads[old[block[joined]]]  # else its representative is gone, or in this block
        best = np.where(joined, place[old[block]], count)
        for rows, others in ((led | joined, added), (~led & ~joined, leading)):
            if rows.any() and others:
                _take_first(search, block, rows, np.concatenate(others), place, best)
        near = _near_in_block(search, block, best == count)
        new: list[int] = []
        for k in range(len(block)):
            inside = [other for other in new if near[k, other]] if best[k] == count else []
            if best[k] < count:
                representative[block[k]] = best_first[best[k]]
            elif inside:
                representative[block[k]] = block[inside[0]]
            else:
                new.append(k)
        made = block[new]
        representative[made] = made
        leads[made] = True
        leading.append(made)
        added.append(made[old[made] != made])
    return SemanticClusters(representative, _cosines(embeddings, representative))


def _take_first(
    search: Search, block: Indices, rows: NDArray[np.bool_], others: Indices, place: Indices, best: Indices
) -> None:
    """Lower ``best`` of these rows of a block to the place of the first of ``others`` that is near."""
    at = np.flatnonzero(rows)
    row_of = dict(zip(block[at].tolist(), at.tolist(), strict=True))
    for left, right, _ in search.near(search.embeddings, block[at], others):
        np.minimum.at(best, [row_of[number] for number in left.tolist()], place[right])


def _near_in_block(search: Search, block: Indices, rows: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """(block, block), whether two images of these rows are near."""
    near = np.zeros((len(block), len(block)), bool)
    at = np.flatnonzero(rows)
    row_of = dict(zip(block[at].tolist(), at.tolist(), strict=True))
    for left, right, _ in search.near(search.embeddings, block[at], block[at]):
        near[[row_of[number] for number in left.tolist()], [row_of[number] for number in right.tolist()]] = True
    return near


def _cosines(embeddings: SetEmbeddings, representative: Indices) -> NDArray[np.float64]:
    found = np.ones(len(representative))
    members = np.flatnonzero((representative >= 0) & (representative != np.arange(len(representative))))
    for start in range(0, len(members), _CONFIRMED):
        block = members[start : start + _CONFIRMED]
        found[block] = _products(embeddings.of(block), embeddings.of(representative[block]))
    return found


def _products(a: NDArray[np.float32], b: NDArray[np.float32]) -> NDArray[np.float64]:
    """Cosines row by row, rounded so that they are the same on every machine."""
    cosines: NDArray[np.float64] = np.clip(np.round((a.astype(np.float64) * b).sum(axis=1), 6), -1, 1)
    return cosines


SEMANTIC_IMAGES = pa.schema(
    [
        ("image_key", pa.string()),
        ("semantic_cluster", pa.string()),
        ("semantic_cluster_size", pa.int64()),
        ("semantic_place", pa.int64()),
        ("semantic_similarity", pa.float64()),
    ]
)
_BEST_FIRST = "SELECT number FROM numbered SEMI JOIN embedded USING (number) ORDER BY pixels DESC, image_key"
_IMAGES = """
    SELECT m.image_key, k.image_key AS semantic_cluster,
           count(*) OVER (PARTITION BY c.representative) AS semantic_cluster_size,
           row_number() OVER (PARTITION BY c.representative ORDER BY c.place) AS semantic_place,
           c.cosine AS semantic_similarity
    FROM clustered c JOIN numbered m ON m.number = c.number JOIN numbered k ON k.number = c.representative
    ORDER BY c.number
"""


def find_semantic(workspace: Workspace, settings: SemanticSettings) -> None:
    """Write ``workspace.semantic_images``: the cluster of every image that has an embedding, and its place there.

    What an earlier search has found is kept below ``work/embeddings``; only new images are compared with all.

    Raises:
        UserError: the set has no embeddings, or a file cannot be written.
    """
    embeddings = read_embeddings(workspace)
    if embeddings is None:
        raise no_embeddings(workspace.folder)
    kept = workspace.work / "embeddings" / f"clusters-{embeddings.model}-{settings.cosine!r}.npz"
    parts = [[file_stats(part, below=workspace.folder), row_count(part)] for part in workspace.image_parts()]
    models = file_stats(*sorted(workspace.model_folder("embedding").glob("part-*.parquet")), below=workspace.folder)
    with database(workspace.work) as connection:
        create_views(connection, workspace)
        number_images(connection, starts_of(workspace.image_parts()))
        connection.register("embedded", pa.table({"number": embeddings.numbers}))
        best_first = connection.sql(_BEST_FIRST).to_arrow_table()["number"].to_numpy()
        found = cluster(embeddings, best_first, settings.cosine, _earlier(kept, parts, models))
        _keep(kept, found.representative, parts, models)
        place = np.arange(len(best_first))
        columns = {"representative": found.representative[best_first], "cosine": found.cosine[best_first]}
        connection.register("clustered", pa.table({"number": best_first, "place": place, **columns}))
        write_parquet(workspace.semantic_images, query_batches(connection, _IMAGES), SEMANTIC_IMAGES)


def _earlier(path: Path, parts: list[Any], models: list[Any]) -> Indices | None:
    """Representatives by an earlier search among the first of these images; None if anything of it has changed."""
    if not path.is_file():
        return None
    with np.load(path) as stored:
        made_from = json.loads(stored["state"].tobytes())
        if (
            made_from["parts"] != parts[: len(made_from["parts"])]
            or made_from["models"] != models[: len(made_from["models"])]
        ):
            return None
        representative: Indices = stored["representative"]
        return representative


def _keep(path: Path, representative: Indices, parts: list[Any], models: list[Any]) -> None:
    written = io.BytesIO()
    state = np.frombuffer(json.dumps({"parts": parts, "models": models}).encode(), np.uint8)
    np.savez(written, representative=representative, state=state)
    try:
        with atomic_path(path) as temporary:
            temporary.write_bytes(written.getbuffer())
    except OSError as error:
        raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error
