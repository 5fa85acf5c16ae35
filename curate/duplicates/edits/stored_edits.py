"""Edited copies that were found, kept between runs: only images that are new are searched for.

``work/fingerprints/edits-<kinds>.npz`` has the pairs among the images of a set, ``leaks-<set and kinds>.npz`` those
with an evaluation set; each names the parts that it was made from. The views that the search reads stay in
``work/looks``, so that a few new images cost no reading of all; they are no part of the result, and are not published.
"""

from __future__ import annotations

import functools
import io
import json
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.duplicates.edits.looks import Looks
from curate.duplicates.edits.search import edited_pairs, edited_pairs_between
from curate.duplicates.images.stored import state_of
from curate.kinds import Kind, KindPairs
from curate.workspace import LOOKS, Workspace
from winnow.errors import UserError, disk_problem
from winnow.files import atomic_path, digest_of

# Raise it when the search finds other pairs.
_VERSION = 3
_KEPT = 16  # evaluation images that are kept of a training image and kind; one of them may carry its question
_HELD = 1 << 20  # pairs in memory above which the weaker ones are thrown away
_DTYPES = {"i": np.int64, "j": np.int64, "kind": np.uint8, "strength": np.float32}


class EditedCopies:
    """The edited copies of a set's images, numbered as ``curate.duplicates.images.stored`` numbers them.

    Attributes:
        limited: images, of the searches asked for, that were not laid over all that seemed like them
            (``curate.duplicates.edits.search``).
    """

    def __init__(self, workspace: Workspace, kinds: Collection[Kind]) -> None:
        """Take the kinds to look for; none finds none, and opens nothing."""
        self._workspace, self._kinds = workspace, sorted(kinds)
        self._state = state_of(workspace)
        self._views = functools.cache(self._read_views)
        self.limited = 0

    def among(self) -> KindPairs:
        """Pairs i < j, in this order.

        Raises:
            UserError: the result cannot be written.
        """
        if not self._kinds:
            return _joined([])
        path = self._file("edits")
        parts, earlier, limited = self._read(path, self._state)
        if parts < len(self._state):
            count, told = sum(rows for _, rows in self._state[:parts]), [limited]
            earlier = _joined([earlier, *edited_pairs(self._views(""), self._kinds, count, told.append)])
            limited = sum(told)
            self._write(path, self._state, earlier, limited)
        self.limited += limited
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
        parts, found, limited = self._read(path, self._state, beside)
        if parts < len(self._state):
            first, told = sum(rows for _, rows in self._state[:parts]), [limited]
            blocks, waiting = [found], 0
            new, theirs = self._views("").since(first), self._views(name, other)
            for block in edited_pairs_between(new, theirs, self._kinds, told.append):
                blocks.append(KindPairs(block.i + first, block.j, block.kind, block.strength))
                waiting += len(block)
                if waiting > _HELD:
                    blocks, waiting = [_thinned(_joined(blocks))], 0
            found, limited = _thinned(_joined(blocks)), sum(told)
            self._write(path, self._state, found, limited, beside)
        self.limited += limited
        return found

    def _read_views(self, name: str, of: Workspace | None = None) -> Looks:
        folder = self._workspace.work / LOOKS / (f"against-{digest_of(name)[:16]}" if name else "set")
        return Looks.of_parts((of or self._workspace).image_parts(), folder)

    def _file(self, what: str, *of: str) -> Path:
        return self._workspace.work / "fingerprints" / f"{what}-{digest_of([_VERSION, self._kinds, *of])[:16]}.npz"

    def _read(self, path: Path, state: list[Any], beside: list[Any] | None = None) -> tuple[int, KindPairs, int]:
        """How many of the first parts were searched already, what was found in them, and how many were limited."""
        if path.is_file():
            with np.load(path) as kept:
                made_from, of = json.loads(kept["state"].tobytes())
                if made_from == state[: len(made_from)] and of == beside:
                    pairs = KindPairs(**{name: kept[name] for name in _DTYPES})
                    return len(made_from), pairs, int(kept["limited"])
        return 0, _joined([]), 0

    def _write(
        self, path: Path, state: list[Any], pairs: KindPairs, limited: int, beside: list[Any] | None = None
    ) -> None:
        written = io.BytesIO()
        made_from = np.frombuffer(json.dumps([state, beside]).encode(), np.uint8)
        np.savez(written, state=made_from, limited=limited, **{name: getattr(pairs, name) for name in _DTYPES})
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
