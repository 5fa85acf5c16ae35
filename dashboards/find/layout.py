"""A map: pictures of a run and of a curated set as points of a plane, near ones near each other.

UMAP (McInnes, Healy, Melville 2018, arXiv:1802.03426) where the extra ``map`` is installed, else the first two
principal components. Made once, and kept in the data folder's cache.
"""

from __future__ import annotations

import hashlib
import importlib.util
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from dashboards.data.catalog import Folder
from dashboards.data.predictions import WRONG, row_index
from dashboards.find.background import Report
from dashboards.find.embeddings import Half, Store, model_of
from dashboards.find.search import Pictured
from winnow.errors import UserError
from winnow.files import atomic_path

Method = Literal["UMAP", "PCA"]
MOST = 50_000  # points
_FEWEST_FOR_UMAP = 50  # below, neighbourhoods of 15 are most of the points
_WIDTH = 50  # components that UMAP sees
_SEED = 0
_EDITION = 1  # of how a map is made: maps of another edition are not used

Floats = NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Layout:
    """The points of a map.

    Attributes:
        digest: of what the map was made of.
        method: how.
        of_run: (points,) a picture of the run, otherwise of the curated set.
        place: (points,) row in the vectors of the run or of the set.
        xy: (points, 2) between -1 and 1.
        pictures: how many embedded pictures the points were drawn from.
    """

    digest: str
    method: Method
    of_run: NDArray[np.bool_]
    place: NDArray[np.int64]
    xy: Floats
    pictures: int


def best_method() -> Method:
    """UMAP where it is installed."""
    return "UMAP" if importlib.util.find_spec("umap") else "PCA"


def layout_digest(run: Folder, folder: Folder, method: Method) -> str:
    """What names a map: it changes with the run, the set, the pictures embedded so far, and how maps are made."""
    model = model_of(folder)
    size = Store(folder.root, model).size() if model else 0
    made_of = (run.fingerprint, folder.fingerprint, model, size, method, _SEED, MOST, _EDITION)
    return hashlib.sha256(repr(made_of).encode()).hexdigest()[:16]


def open_layout(root: Path, digest: str) -> Layout | None:
    """The map of that name; None if it has not been made, or its file is broken."""
    try:
        with np.load(_file(root, digest)) as stored:
            return Layout(
                digest, "UMAP" if stored["umap"] else "PCA", stored["of_run"], stored["place"], stored["xy"],
                int(stored["pictures"]),
            )  # fmt: skip
    except (OSError, ValueError, KeyError, EOFError):
        return None


def make_layout(
    run: Folder, folder: Folder, of_run: Pictured, of_set: Pictured, method: Method, report: Report
) -> None:
    """Draw the points, place them, and store the map.

    Raises:
        UserError: UMAP failed, or the cache cannot be written.
    """
    digest = layout_digest(run, folder, method)
    wrong = of_run.place[(row_index(run).correct == WRONG) & (of_run.place >= 0)]
    runs, sets, pictures = drawn_pictures(of_run, of_set, wrong, MOST)
    report(0, len(runs) + len(sets))
    vectors = np.concatenate([gathered(of_run.vectors, runs), gathered(of_set.vectors, sets)])
    used: Method = method if len(vectors) >= _FEWEST_FOR_UMAP else "PCA"
    xy = scaled(_umap(principal(vectors, _WIDTH)) if used == "UMAP" else principal(vectors, 2))
    path = _file(folder.root, digest)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic_path(path) as temporary, temporary.open("wb") as file:
            np.savez(
                file, umap=np.array(used == "UMAP"), of_run=np.arange(len(vectors)) < len(runs),
                place=np.concatenate([runs, sets]), xy=xy, pictures=np.array(pictures),
            )  # fmt: skip
    except OSError as error:
        raise UserError(f"{path.parent}: cannot be written ({error}); maps are kept there") from error


def _file(root: Path, digest: str) -> Path:
    return root / "cache" / "maps" / f"{digest}.npz"


def drawn_pictures(
    of_run: Pictured, of_set: Pictured, first: NDArray[np.int64], most: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], int]:
    """A seeded sample of places: half of the run (those in ``first`` before all others), half of the set.

    Where one has fewer than its half, the other gets the rest.

    Returns: places in the run's vectors, in the set's vectors, and how many there were.
    """
    chance = np.random.default_rng(_SEED)
    every_run = np.unique(of_run.place[of_run.place >= 0])
    every_set = np.unique(of_set.place[of_set.place >= 0])
    wanted = min(len(every_run), max(most // 2, most - len(every_set)))
    urgent = np.isin(every_run, first)
    order = np.concatenate([chance.permutation(every_run[urgent]), chance.permutation(every_run[~urgent])])
    sets = chance.permutation(every_set)[: most - wanted]
    return np.sort(order[:wanted]), np.sort(sets), len(every_run) + len(every_set)


def gathered(vectors: Half, places: NDArray[np.int64]) -> Floats:
    """(n, width) float32 of the vectors at (n,) places."""
    return np.asarray(vectors[places], dtype=np.float32)


def principal(vectors: Floats, width: int) -> Floats:
    """(n, at most ``width``) first principal components; each axis points to where its largest weight is positive."""
    centred = vectors - vectors.mean(axis=0)
    values, axes = np.linalg.eigh(centred.T.astype(np.float64) @ centred.astype(np.float64))
    axes = axes[:, np.argsort(-values, kind="stable")[: min(width, axes.shape[1])]]
    axes *= np.sign(axes[np.abs(axes).argmax(axis=0), np.arange(axes.shape[1])])
    found: Floats = (centred @ axes).astype(np.float32)
    return found


def scaled(xy: Floats) -> Floats:
    """(n, 2) moved and scaled by one factor, so that all points lie between -1 and 1 and touch two sides."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    found: Floats = ((xy - (low + high) / 2) / max(float((high - low).max()) / 2, 1e-9)).astype(np.float32)
    return found


def _umap(vectors: Floats) -> Floats:
    """In a process of its own: for minutes it would hold the lock that all sessions of the server need."""
    with tempfile.TemporaryDirectory() as place:
        given, found = Path(place) / "vectors.npy", Path(place) / "xy.npy"
        np.save(given, vectors)
        command = [sys.executable, "-m", "dashboards.find.umap_process", str(given), str(found), str(_SEED)]
        done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode:
            reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
            raise UserError(f"UMAP ended with an error ({reason}); choose PCA, or mend the extra `map`")
        return np.asarray(np.load(found), dtype=np.float32)


def inside(xy: Floats, polygon: Floats) -> NDArray[np.bool_]:
    """(points,) which of (points, 2) lie in a closed polygon (corners, 2), by the even-odd rule."""
    x, y = xy[:, 0], xy[:, 1]
    found = np.zeros(len(xy), dtype=bool)
    for (x0, y0), (x1, y1) in zip(polygon, np.roll(polygon, -1, axis=0), strict=True):
        if y0 != y1:
            crossed = (y0 > y) != (y1 > y)
            found ^= crossed & (x < (x1 - x0) * (y - y0) / (y1 - y0) + x0)
    return found
