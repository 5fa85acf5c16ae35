"""From a sample's id to the pixels of its image, as curation and evaluation saw it."""

from __future__ import annotations

import contextlib
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from PIL import Image

from curate.settings.signals import MeasureSettings
from dashboards.data.catalog import Folder, image_root
from dashboards.data.engine import fetch
from winnow.errors import UserError
from winnow.files import sha256_bytes
from winnow.media.images import decode
from winnow.media.locate import locate

REASONS = {
    "missing": "image missing",
    "outside": "outside the image root",
    "changed": "changed since the run",
    "too_large": "too large to show",
    "unreadable": "not readable",
    "none": "no image",
}
LIMITS = MeasureSettings()  # the same caps as curation
_TABLES = {"curated": "samples.parquet", "evals": "predictions.parquet"}
_DECODING = threading.BoundedSemaphore(2)  # bounds memory: a page requests dozens at once


class NoImageError(Exception):
    """Why an image cannot be shown: a key of ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def image_bytes(folder: Folder, sample_id: str, image_key: str) -> bytes:
    """The bytes of the image ``image_key`` of a sample, exactly those that the run read.

    The path comes from the folder's own table and must lie below the image root of its
    manifest, symbolic links followed.

    Raises:
        NoImageError: the sample or image is not there, is too large, or its bytes changed.
    """
    try:
        data = _path_of(folder, sample_id, image_key).read_bytes()
    except (UserError, OSError) as error:
        raise NoImageError("missing") from error
    if sha256_bytes(data) != image_key:
        raise NoImageError("changed")
    return data


_REASON_OF = {"outside_root": "outside", "too_large_bytes": "too_large"}


def contained(root: Path, relative: str) -> Path:
    """The regular file ``relative`` below ``root``, symbolic links followed.

    Raises:
        NoImageError: it lies outside the root, is too large, or does not exist.
    """
    found = locate(relative, str(root.resolve()), max_bytes=LIMITS.max_bytes)
    if found.file is None:
        raise NoImageError(_REASON_OF.get(found.error or "", "missing"))
    return Path(found.file)


def _path_of(folder: Folder, sample_id: str, image_key: str) -> Path:
    task = "task" if folder.kind == "evals" else "'' AS task"
    rows = fetch(
        folder.connection,
        f"SELECT {task}, images, image_keys FROM read_parquet(?) WHERE sample_id = ?",
        [folder.file(_TABLES[folder.kind]), sample_id],
    )
    for row in rows:
        for relative, key in zip(row["images"] or (), row["image_keys"] or (), strict=False):
            root = image_root(folder, row["task"])
            if key == image_key and root is not None:
                return contained(root, relative)
    raise NoImageError("missing")


@contextlib.contextmanager
def pixels(data: bytes) -> Iterator[Image.Image]:
    """The image that curation and evaluation see: 8-bit RGB, turned as its EXIF block says, on white.

    Only two are held at a time; others wait.

    Raises:
        NoImageError: ``too_large`` above the caps of curation, ``unreadable`` for anything else.
    """
    with _DECODING:
        image, facts = decode(data, max_bytes=LIMITS.max_bytes, max_pixels=LIMITS.max_pixels)
        if image is None:
            raise NoImageError("too_large" if (facts.error or "").startswith("too_large") else "unreadable")
        yield image


def keep(path: Path, data: bytes) -> None:
    """Write a file of the cache as a whole; one that cannot be written (disk full, read-only folder) is left out."""
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two requests may make the same file at once.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as handle:
            handle.write(data)
        Path(handle.name).replace(path)
