"""Where the images of a file of samples lie."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from pathlib import Path

from curate.reading.embedded import is_encoded
from curate.reading.unavailable import is_url
from curate.sample import BadRow, Sample
from curate.settings import SourceSettings
from winnow.errors import UserError

_ROWS_TRIED = 50


def deduced_root(settings: SourceSettings, rows: Iterable[Sample | BadRow]) -> Path:
    """``settings.image_root``, or the folder near the file below which most of the first images exist.

    Tried in this order, the earlier one wins a tie: the file's folder, ``images/`` in it, ``images/``
    beside it. The folder above is not tried: what a data set names must not widen what it may read.

    Raises:
        UserError: the given folder does not exist.
    """
    given = given_root(settings)
    if given is not None:
        return given
    folder = Path(settings.location).parent
    candidates = [folder, folder / "images", folder.parent / "images"]
    first = [row for row in itertools.islice(rows, _ROWS_TRIED) if isinstance(row, Sample)]
    images = [
        path
        for row in first
        for path in row.image
        if path not in row.embedded and not is_encoded(path) and not is_url(path)
    ]
    return max(candidates, key=lambda root: sum(is_file(root, path) for path in images))


def is_file(root: Path, path: str) -> bool:
    """Whether a data set's relative path is a file below ``root``; never raises, whatever it holds."""
    return not path.startswith("/") and os.path.isfile(f"{root}/{path}")  # noqa: PTH113 (pathlib raises for long names)


def given_root(settings: SourceSettings) -> Path | None:
    """The folder that the recipe names, if it names one.

    Raises:
        UserError: it is not there.
    """
    if settings.image_root is None:
        return None
    given = Path(settings.image_root)
    if not given.is_dir():
        raise UserError(f"image_root {given}: no such folder")
    return given
