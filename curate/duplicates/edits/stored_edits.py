"""Edited copies that were found, kept between runs: only images that are new are searched for.

``work/fingerprints/edits-<kinds>.npz`` has the pairs among the images of a set, ``leaks-<set and kinds>.npz`` those
with an evaluation set; each names the parts that it was made from. The views that the search reads lie in
``work/looks`` while it lasts.
"""

from __future__ import annotations

import io
import json
import shutil
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.looks import Looks
from curate.duplicates.edits.search import edited_pairs, edited_pairs_between
from curate.duplicates.images.stored import state_of
from curate.kinds import Kind, KindPairs
from curate.workspace import Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of

# Raise it when the search finds other pairs.
_VERSION = 2
_KEPT = 16  # evaluation images that are kept of a training image and kind; one of them may carry its question
_HELD = 1 << 20  # pairs in memory above which the weaker ones are thrown away
_DTYPES = {"i": np.int64, "j": np.int64, "kind": np.uint8, "strength": np.float32}


class EditedCopies:
    """The edited copies of a set's images, numbered as ``curate.duplicates.images.stored`` numbers them.

    A context manager, which removes what only the searches need.
    """

    def __init__(self, workspace: Workspace, kinds: Collection[Kind]) -> None:
        """Take the kinds to look for; none finds none, and opens nothing."""
        self._workspace, self._kinds = workspace, sorted(kinds)
        self._state = state_of(workspace)
        self._scratch = workspace.work / "looks"
        self._looks: dict[int, Looks] = {}  # first part → views of it and those after it

    def __enter__(self) -> EditedCopies:
        return self

    def __exit__(self, *_: object) -> None:
        self._looks.clear()
        shutil.rmtree(self._scratch, ignore_errors=True)

    def among(self) -> KindPairs:
        """Pairs i < j, in this order.

        Raises:
            UserError: the result cannot be written.
        """
        if not self._kinds:
            return _joined([])
        path = self._file("edits")
        parts, earlier = self._read(path, self._state)
        if parts < len(self._state):
            count = sum(rows for _, rows in self._state[:parts])
            earlier = _joined([earlier, *edited_pairs(self._views(0), self._kinds, count)])
            self._write(path, self._state, earlier)
        return earlier

    def between(self, other: Workspace, name: str) -> KindPairs:
        """Pairs of an image ``i`` of the set and an image ``j`` of an evaluation set, in this order.

        Of each image of the set the 16 most alike of each kind, and of each evaluation image at least the most alike.

        Args:
            name: of the evaluation set.

        Raises:
            UserError: the result cannot be written.
        """
        if not self._kinds:
            return _joined([])
        path, beside = self._file("leaks", name), state_of(other)
        parts, found = self._read(path, self._state, beside)
        if parts < len(self._state):
            first = sum(rows for _, rows in self._state[:parts])
            views = Looks.of_parts(other.image_parts(), self._scratch / "evaluation")
            blocks, waiting = [found], 0
            for block in edited_pairs_between(self._views(parts), views, self._kinds):
                blocks.append(KindPairs(block.i + first, block.j, block.kind, block.strength))
                waiting += len(block)
                if waiting > _HELD:
                    blocks, waiting = [_thinned(_joined(blocks))], 0
            found = _thinned(_joined(blocks))
            self._write(path, self._state, found, beside)
        return found

    def _views(self, first: int) -> Looks:
        if first not in self._looks:
            parts = self._workspace.image_parts()[first:]
            self._looks[first] = Looks.of_parts(parts, self._scratch / str(first))
        return self._looks[first]

    def _file(self, what: str, *of: str) -> Path:
        return self._workspace.work / "fingerprints" / f"{what}-{digest_of([_VERSION, self._kinds, *of])[:16]}.npz"

    def _read(self, path: Path, state: list[Any], beside: list[Any] | None = None) -> tuple[int, KindPairs]:
        """How many of the first parts were searched already, and what was found in them."""
        if path.is_file():
            with np.load(path) as kept:
                made_from, of = json.loads(kept["state"].tobytes())
                if made_from == state[: len(made_from)] and of == beside:
                    return len(made_from), KindPairs(**{name: kept[name] for name in _DTYPES})
        return 0, _joined([])

    def _write(self, path: Path, state: list[Any], pairs: KindPairs, beside: list[Any] | None = None) -> None:
        written = io.BytesIO()
        made_from = np.frombuffer(json.dumps([state, beside]).encode(), np.uint8)
        np.savez(written, state=made_from, **{name: getattr(pairs, name) for name in _DTYPES})
        try:
            with atomic_path(path) as temporary:
                temporary.write_bytes(written.getbuffer())
        except OSError as error:
            raise UserError(disk_problem(error, path) or f"{path}: cannot be written ({error})") from error


def chosen(pairs: KindPairs, which: NDArray[Any]) -> KindPairs:
    """Some of the pairs, by a mask or by their places."""
    return KindPairs(**{name: getattr(pairs, name)[which] for name in _DTYPES})


def _joined(blocks: Iterable[KindPairs]) -> KindPairs:
    """All pairs, by i and j."""
    blocks = list(blocks)
    columns: dict[str, Any] = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(block, name) for block in blocks)])
        for name, dtype in _DTYPES.items()
    }
    pairs = KindPairs(**columns)
    return chosen(pairs, np.lexsort((pairs.j, pairs.i)))


def _thinned(pairs: KindPairs) -> KindPairs:
    nearest = np.lexsort((pairs.j, -pairs.strength, pairs.kind, pairs.i))
    of_image = pairs.i[nearest] * 256 + pairs.kind[nearest]
    closest = np.lexsort((pairs.i, -pairs.strength, pairs.j))
    kept = np.zeros(len(pairs), bool)
    kept[nearest] = np.arange(len(pairs)) - np.searchsorted(of_image, of_image) < _KEPT
    kept[closest] |= np.arange(len(pairs)) == np.searchsorted(pairs.j[closest], pairs.j[closest])
    return chosen(pairs, kept)
