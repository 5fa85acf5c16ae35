"""The training images nearest to the image of a failure: exact search over stored CLIP embeddings.

The embeddings of a curated set are one memory-mapped matrix, written below the data folder's cache at first use.
"""

from __future__ import annotations

import contextlib
import glob
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.engine import cached, fetch
from winnow.errors import UserError
from winnow.files import atomic_path, locked, write_json
from winnow.records import normalized

IDENTICAL = 0.995  # cosine from which two images count as the same
_COLUMN = "clip_embedding"
_BLOCK = 32_768  # rows compared at a time
_KEY_BYTES = 64  # of a sha256 in hexadecimal
_SAMPLED = 100  # images from which "how near is usual" is estimated
_USUAL_PERCENTILE = 5
_ROWS_EACH = 6  # listed of a neighbour


@dataclass(frozen=True)
class Embeddings:
    """All embedded images of a curated set.

    Attributes:
        vectors: float16 (images, dimension), unit length, memory-mapped.
        keys: image key of each row, (images,) of 64 ASCII bytes, memory-mapped.
        usual: 5th percentile, over images, of the cosine between each and its nearest other image.
    """

    vectors: NDArray[np.float16]
    keys: NDArray[np.bytes_]
    usual: float


def open_embeddings(folder: Folder) -> Embeddings | None:
    """The matrix of a curated set, written at first use; None if it holds no embedding.

    Raises:
        UserError: the stored signals cannot be read, or the cache cannot be written.
    """
    place = folder.root / "cache" / "embeddings" / f"{folder.name}-{folder.fingerprint}"
    done = _file(place, "index.json")
    with _readable(folder):
        if not done.is_file():
            place.parent.mkdir(parents=True, exist_ok=True)
            with locked(_file(place, "lock")):  # one writer at a time
                if not done.is_file() and not _write(place, folder):
                    return None
        facts = json.loads(done.read_text())
        shape = (int(facts["images"]), int(facts["width"]))
        vectors = np.memmap(_file(place, "vectors"), np.float16, "r", shape=shape)
        keys = np.memmap(_file(place, "keys"), f"S{_KEY_BYTES}", "r", shape=shape[:1])
        return Embeddings(vectors, keys, float(facts["usual"]))


def embedding_of(folder: Folder, image_key: str) -> NDArray[np.float32] | None:
    """The stored embedding of an image of the set or of an evaluation set that it was compared with."""
    parts = [*_parts(folder.path), *folder.path.glob("against/*/signals/part-*.parquet")]
    for part in parts:
        with _readable(folder):
            if _COLUMN not in pq.read_schema(part).names:
                continue
        sql = f"SELECT {_COLUMN}::FLOAT[] AS vector FROM read_parquet(?) WHERE image_key = ? AND {_COLUMN} IS NOT NULL"
        for row in fetch(folder.connection, sql, [glob.escape(str(part)), image_key]):
            return np.asarray(row["vector"], dtype=np.float32)
    return None


def search(embeddings: Embeddings, query: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
    """The ``count`` nearest images as (image key, cosine), nearest first, ties by key."""
    cosines = np.concatenate([block @ query for block in _blocks(embeddings.vectors)])
    count = min(count, len(cosines))
    chosen = np.argpartition(-cosines, count - 1)[:count]
    found = [(embeddings.keys[place].decode(), float(cosines[place])) for place in chosen]
    return sorted(found, key=lambda item: (-item[1], item[0]))


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / "signals").glob("part-*.parquet"))


def _write(place: Path, folder: Folder) -> bool:
    """Stream the embeddings into two files of plain numbers; False if there are none."""
    parts = [part for part in _parts(folder.path) if _COLUMN in pq.read_schema(part).names]
    total, width = 0, 0
    if not parts:
        return False
    with (
        atomic_path(_file(place, "vectors")) as vector_file, vector_file.open("wb") as all_vectors,
        atomic_path(_file(place, "keys")) as key_file, key_file.open("wb") as all_keys,
    ):  # fmt: skip
        for keys, vectors in _embedded(parts):
            total, width = total + len(vectors), vectors.shape[1]
            all_vectors.write(vectors.tobytes())
            all_keys.write(keys)
    if not total:
        return False
    stored = np.memmap(_file(place, "vectors"), np.float16, "r", shape=(total, width))
    write_json(_file(place, "index.json"), {"usual": _usual(stored), "images": total, "width": width})
    return True


def _file(place: Path, kind: str) -> Path:
    return place.with_name(f"{place.name}.{kind}")


def _embedded(parts: list[Path]) -> Iterator[tuple[bytes, NDArray[np.float16]]]:
    """The keys of a batch, 64 bytes each, and its vectors."""
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(columns=["image_key", _COLUMN], batch_size=_BLOCK):
            batch = batch.filter(batch.column(_COLUMN).is_valid())
            if batch.num_rows:
                keys = batch.column("image_key").cast(pa.binary()).cast(pa.binary(_KEY_BYTES))
                lists: pa.FixedSizeListArray = batch.column(_COLUMN)
                vectors = lists.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
                start = keys.offset * _KEY_BYTES
                yield keys.buffers()[1][start : start + len(keys) * _KEY_BYTES].to_pybytes(), vectors


def _blocks(vectors: NDArray[np.float16]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(vectors), _BLOCK):
        yield vectors[start : start + _BLOCK].astype(np.float32)


def _usual(vectors: NDArray[np.float16]) -> float:
    """See ``Embeddings.usual``; measured on evenly spread images against all."""
    chosen = np.unique(np.linspace(0, len(vectors) - 1, min(_SAMPLED, len(vectors))).astype(int))
    queries = vectors[chosen].astype(np.float32)
    best = np.full(len(chosen), -1.0, dtype=np.float32)
    for number, block in enumerate(_blocks(vectors)):
        cosines = queries @ block.T
        own = chosen - number * _BLOCK
        here = (own >= 0) & (own < len(block))
        cosines[np.flatnonzero(here), own[here]] = -1.0
        best = np.maximum(best, cosines.max(axis=1))
    return float(np.percentile(best, _USUAL_PERCENTILE))


@contextlib.contextmanager
def _readable(folder: Folder) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder.path}: its embeddings cannot be read ({reason}); curate again") from error


@dataclass(frozen=True)
class TrainingRow:
    """A training row and what curation did with it."""

    sample_id: str
    question: str
    answer: str
    decision: str
    reason: str
    same_question: bool


@dataclass(frozen=True)
class Neighbor:
    """A training image: its cosine, how many rows are about it, and some of them, same question first."""

    image_key: str
    cosine: float
    row_count: int
    rows: tuple[TrainingRow, ...]


@dataclass(frozen=True)
class Nearest:
    """The nearest images of one curated set, and what they say about a failure.

    Attributes:
        usual: cosine that 95% of the training images exceed with their nearest other image.
        contradicting: kept rows that ask the same about the same image and give another answer.
        problem: why there are no neighbours, '' otherwise.
    """

    folder: Folder
    neighbors: tuple[Neighbor, ...] = ()
    usual: float = 0.0
    contradicting: tuple[TrainingRow, ...] = ()
    problem: str = ""

    @property
    def is_far(self) -> bool:
        """A coverage gap: no training image is as near as training images are to each other."""
        return bool(self.neighbors) and self.neighbors[0].cosine < self.usual

    @property
    def is_identical(self) -> bool:
        """A leak: a kept row shows the image itself, or one that CLIP cannot tell from it."""
        kept = (n for n in self.neighbors if any(row.decision != "drop" for row in n.rows))
        return any(neighbor.cosine >= IDENTICAL for neighbor in kept)


@cached(64)
def nearest(
    folder: Folder, image_key: str, question: str, references: tuple[str, ...], *, of_training: bool, count: int = 8
) -> Nearest:
    """The ``count`` training images nearest to ``image_key``.

    Args:
        of_training: the image belongs to the set itself, so it is left out of its own neighbours.

    Raises:
        UserError: a table of the folder is broken.
    """
    embeddings = open_embeddings(folder)
    if embeddings is None:
        return Nearest(folder, problem="No CLIP embeddings are stored: add `clip` under `signals:` and curate again.")
    query = embedding_of(folder, image_key)
    if query is None:
        return Nearest(folder, problem="This image was not measured: list its set under `contamination:`, `against:`.")
    found = search(embeddings, query, count + 1)
    found = [item for item in found if not (of_training and item[0] == image_key)][:count]
    rows = _rows_about(folder, [key for key, _ in found], question)
    neighbors = tuple(
        Neighbor(key, cosine, len(rows.get(key, ())), tuple(rows.get(key, ())[:_ROWS_EACH])) for key, cosine in found
    )
    return Nearest(folder, neighbors, embeddings.usual, _contradicting(found, rows, references))


def _rows_about(folder: Folder, keys: Sequence[str], question: str) -> dict[str, list[TrainingRow]]:
    sql = """
        SELECT sample_id, question, answer, decision, reason, image_keys FROM read_parquet(?)
        WHERE image_keys[1] IN (SELECT unnest(?)) OR (len(image_keys) > 1 AND list_has_any(image_keys, ?))
        ORDER BY position"""
    rows: dict[str, list[TrainingRow]] = {}
    asked, wanted = normalized(question), set(keys)
    for row in fetch(folder.connection, sql, [folder.file("samples.parquet"), list(keys), list(keys)]):
        same = normalized(row["question"] or "") == asked
        about = TrainingRow(
            row["sample_id"],
            row["question"] or "",
            row["answer"] or "",
            row["decision"] or "",
            row["reason"] or "",
            same,
        )
        for key in wanted.intersection(row["image_keys"]):
            rows.setdefault(key, []).append(about)
    for listed in rows.values():
        listed.sort(key=lambda row: (not row.same_question, row.decision == "drop", row.sample_id))
    return rows


def _contradicting(
    found: Sequence[tuple[str, float]], rows: dict[str, list[TrainingRow]], references: Sequence[str]
) -> tuple[TrainingRow, ...]:
    right = {normalized(reference) for reference in references}
    same = [row for key, cosine in found if cosine >= IDENTICAL for row in rows.get(key, ())]
    return tuple(
        row for row in same if row.same_question and row.decision != "drop" and normalized(row.answer) not in right
    )
