"""CLIP embeddings on disk, and exact search in them.

The images of a curated set are one memory-mapped matrix, written from the stored signals at first use. The images of
evaluations are in one store a model, which grows: an image that two runs show is embedded once. Both lie below the
data folder's cache. Images are told apart by the first 64 bits of their sha256: two of a million agree by chance
once in 37 million data sets.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from curate.signals.clip import model_name
from dashboards.data.catalog import Folder, manifest_of
from dashboards.data.engine import cached, fetch
from winnow.errors import UserError
from winnow.files import atomic_path, locked, parse_json, read_json, write_json

Half = NDArray[np.float16]
_COLUMN = "clip_embedding"
_BLOCK = 4_096  # rows compared at a time
_NUMBERS = 30_000  # widened at a time by ``cosines``: below 32,768 torch takes no second thread
_BATCH = 32_768  # rows read at a time
_KEY_BYTES = 64  # of a sha256 in hexadecimal
_SAMPLED = 100  # images from which "how near is usual" is estimated
_USUAL_PERCENTILE = 5
HOW_TO_GET = "No CLIP embeddings are stored: add `clip` under `signals:` of the curation's recipe and curate again."


@dataclass(frozen=True, eq=False)
class Embeddings:
    """All embedded images of a curated set.

    Attributes:
        vectors: float16 (images, dimension), unit length, memory-mapped.
        keys: image key of each row, (images,) of 64 ASCII bytes, memory-mapped.
        usual: 5th percentile, over images, of the cosine between each and its nearest other image.
    """

    vectors: Half
    keys: NDArray[np.bytes_]
    usual: float


@dataclass(frozen=True)
class Model:
    """The model that made the embeddings of a curated set.

    Attributes:
        name: changes when the weights do; see ``curate.signals.clip.model_name``.
        model, pretrained: what loads it, from the recipe in the set's manifest.
    """

    name: str
    model: str
    pretrained: str | None


@cached(8)
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
        facts = read_json(done)
        shape = (int(facts["images"]), int(facts["width"]))
        vectors = np.memmap(_file(place, "vectors"), np.float16, "r", shape=shape)
        keys = np.memmap(_file(place, "keys"), f"S{_KEY_BYTES}", "r", shape=shape[:1])
        return Embeddings(vectors, keys, float(facts["usual"]))


@cached(32)
def model_of(folder: Folder) -> Model | None:
    """The CLIP model of a curated set; None if it has no embeddings."""
    recipe = manifest_of(folder).get("recipe")
    signals = recipe.get("signals") if isinstance(recipe, dict) else None
    clip = signals.get("clip") if isinstance(signals, dict) else None
    parts = _parts(folder.path)
    if not isinstance(clip, dict) or not parts:
        return None
    model, pretrained = str(clip.get("model")), clip.get("pretrained")
    with _readable(folder):
        metadata = pq.read_schema(parts[0]).metadata or {}
        recorded = parse_json(metadata.get(b"winnow", b"{}")).get("clip")
        name = recorded[0] if recorded else model_name(model, pretrained)
    return Model(str(name), model, pretrained)


def embedding_of(folder: Folder, image_key: str) -> NDArray[np.float32] | None:
    """The stored embedding of an image of the set or of an evaluation set that it was compared with."""
    for part in [*_parts(folder.path), *_parts_against(folder.path)]:
        with _readable(folder):
            if _COLUMN not in pq.read_schema(part).names:
                continue
        sql = f"SELECT {_COLUMN}::FLOAT[] AS vector FROM read_parquet(?) WHERE image_key = ? AND {_COLUMN} IS NOT NULL"
        for row in fetch(folder.connection, sql, [glob.escape(str(part)), image_key]):
            return np.asarray(row["vector"], dtype=np.float32)
    return None


@cached(32)
def has_embeddings(folder: Folder) -> bool:
    """Whether a curated set has embedded any image; raises UserError for broken signals."""
    sql = f"SELECT 1 FROM read_parquet(?) WHERE {_COLUMN} IS NOT NULL LIMIT 1"
    with _readable(folder):
        parts = [part for part in _parts(folder.path) if _COLUMN in pq.read_schema(part).names]
    return any(fetch(folder.connection, sql, [glob.escape(str(part))]) for part in parts)


def cosines(vectors: Half, query: NDArray[np.float32]) -> NDArray[np.float32]:
    """(n,) cosines of (n, width) unit vectors with (width,) one; holds one block in float32 at a time.

    Torch widens float16 ten times as fast as numpy. Its threads wait for each other after each block, though, which
    on a busy machine takes ten times as long as the work: blocks are so small that one thread does them.
    """
    import torch

    found = np.empty(len(vectors), dtype=np.float32)
    wanted = torch.from_numpy(np.array(query, dtype=np.float32))
    rows = max(1, _NUMBERS // max(vectors.shape[1], 1))
    for start in range(0, len(vectors), rows):
        block = np.array(vectors[start : start + rows])  # a copy: torch warns of read-only memory
        found[start : start + rows] = (torch.from_numpy(block).float() @ wanted).numpy()
    return found


def search(embeddings: Embeddings, query: NDArray[np.float32], count: int) -> list[tuple[str, float]]:
    """The ``count`` nearest images as (image key, cosine), nearest first, ties by key."""
    found = cosines(embeddings.vectors, query)
    count = min(count, len(found))
    chosen = np.argpartition(-found, count - 1)[:count]
    named = [(embeddings.keys[place].decode(), float(found[place])) for place in chosen]
    return sorted(named, key=lambda item: (-item[1], item[0]))


def short_keys(keys: NDArray[np.bytes_]) -> NDArray[np.uint64]:
    """(n,) first 64 bits of (n,) sha256 in hexadecimal, 64 ASCII bytes each."""
    found = np.empty(len(keys), dtype=np.uint64)
    for start in range(0, len(keys), _BATCH):
        digits = np.array(keys[start : start + _BATCH]).view(np.uint8).reshape(-1, _KEY_BYTES)[:, :16]
        nibbles = np.where(digits >= ord("a"), digits - ord("a") + 10, digits - ord("0"))
        octets = (nibbles[:, ::2] << 4) | nibbles[:, 1::2]
        found[start : start + _BATCH] = np.ascontiguousarray(octets).view(">u8")[:, 0]
    return found


class Store:
    """The embedded images of evaluations by one model: two files that are only ever appended to.

    A kill between two batches loses the batch that was being written and nothing else.
    """

    def __init__(self, root: Path, model: Model) -> None:
        """
        Args:
            root: the data folder.
        """
        digest = hashlib.sha256(model.name.encode()).hexdigest()[:16]
        self._place = root / "cache" / "embeddings" / f"pictures-{digest}"

    def read(self, width: int) -> tuple[NDArray[np.uint64], Half]:
        """(n,) keys and (n, width) vectors, memory-mapped; the same image may be there twice."""
        keys, vectors = _file(self._place, "keys"), _file(self._place, "vectors")
        try:
            count = min(keys.stat().st_size // 8, vectors.stat().st_size // (2 * width))
        except OSError:
            count = 0
        if not count:
            return np.empty(0, dtype=np.uint64), np.empty((0, width), dtype=np.float16)
        return (
            np.fromfile(keys, dtype="<u8", count=count),
            np.memmap(vectors, dtype="<f2", mode="r", shape=(count, width)),
        )

    def size(self) -> int:
        """How many images are stored; part of the cache keys of what is read from them."""
        try:
            return _file(self._place, "keys").stat().st_size // 8
        except OSError:
            return 0

    def append(self, keys: NDArray[np.uint64], vectors: Half) -> None:
        """Store (n,) images and their (n, width) unit vectors.

        Raises:
            UserError: the cache cannot be written.
        """
        try:
            self._place.parent.mkdir(parents=True, exist_ok=True)
            with locked(_file(self._place, "lock")):
                self._append(keys, np.ascontiguousarray(vectors, dtype="<f2"))
        except OSError as error:
            raise UserError(f"{self._place.parent}: cannot be written ({error}); embeddings are kept there") from error

    def _append(self, keys: NDArray[np.uint64], vectors: Half) -> None:
        # Vectors come first: a key without its vector cannot be. What has no key is cut off.
        before = self.size()
        with _file(self._place, "vectors").open("ab") as file:
            os.truncate(file.fileno(), before * 2 * vectors.shape[1])
            file.write(vectors.tobytes())
            file.flush()
            os.fsync(file.fileno())
        with _file(self._place, "keys").open("ab") as file:
            os.truncate(file.fileno(), before * 8)
            file.write(keys.astype("<u8").tobytes())


def adopt(folder: Folder, store: Store, wanted: NDArray[np.uint64]) -> None:
    """Copy into ``store`` those ``wanted`` images that a curated set has embedded: its own, and evaluations' images.

    Args:
        wanted: (n,) keys, each once, none of them stored.

    Raises:
        UserError: the stored signals cannot be read, or the cache cannot be written.
    """
    left = np.sort(wanted)
    with _readable(folder):
        against = [part for part in _parts_against(folder.path) if _COLUMN in pq.read_schema(part).names]
        for keys, vectors in _embedded(against):
            left = _take(left, short_keys(np.frombuffer(keys, dtype=f"S{_KEY_BYTES}")), vectors, store)
    own = open_embeddings(folder) if len(left) else None
    if own is not None:
        shorts = short_keys(own.keys)
        for start in range(0, len(shorts), _BATCH):
            block = slice(start, start + _BATCH)
            left = _take(left, shorts[block], own.vectors[block], store)


def _take(left: NDArray[np.uint64], keys: NDArray[np.uint64], vectors: Half, store: Store) -> NDArray[np.uint64]:
    """Store the images that are in ``left``, (n,) sorted; returns what is left then."""
    found, first = np.unique(keys, return_index=True)
    here = np.isin(found, left, assume_unique=True)
    if here.any():
        store.append(found[here], np.array(vectors[first[here]]))
        left = np.setdiff1d(left, found[here], assume_unique=True)
    return left


def _parts(folder: Path) -> list[Path]:
    return sorted((folder / "signals").glob("part-*.parquet"))


def _parts_against(folder: Path) -> list[Path]:
    return sorted(folder.glob("against/*/signals/part-*.parquet"))


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


def _embedded(parts: Sequence[Path]) -> Iterator[tuple[bytes, Half]]:
    """The keys of a batch, 64 bytes each, and its vectors."""
    for part in parts:
        for batch in pq.ParquetFile(part).iter_batches(columns=["image_key", _COLUMN], batch_size=_BATCH):
            batch = batch.filter(batch.column(_COLUMN).is_valid())
            if batch.num_rows:
                keys = batch.column("image_key").cast(pa.binary()).cast(pa.binary(_KEY_BYTES))
                lists: pa.FixedSizeListArray = batch.column(_COLUMN)
                vectors = lists.flatten().to_numpy(zero_copy_only=False).reshape(batch.num_rows, -1)
                start = keys.offset * _KEY_BYTES
                yield keys.buffers()[1][start : start + len(keys) * _KEY_BYTES].to_pybytes(), vectors


def _usual(vectors: Half) -> float:
    """See ``Embeddings.usual``; measured on evenly spread images against all."""
    chosen = np.unique(np.linspace(0, len(vectors) - 1, min(_SAMPLED, len(vectors))).astype(int))
    queries = vectors[chosen].astype(np.float32)
    best = np.full(len(chosen), -1.0, dtype=np.float32)
    for start in range(0, len(vectors), _BLOCK):
        block = vectors[start : start + _BLOCK].astype(np.float32)
        found = queries @ block.T
        own = chosen - start
        here = (own >= 0) & (own < len(block))
        found[np.flatnonzero(here), own[here]] = -1.0
        best = np.maximum(best, found.max(axis=1))
    return float(np.percentile(best, _USUAL_PERCENTILE))


@contextlib.contextmanager
def _readable(folder: Folder) -> Iterator[None]:
    try:
        yield
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        reason = str(error).splitlines()[0]
        raise UserError(f"{folder.path}: its embeddings cannot be read ({reason}); curate again") from error
