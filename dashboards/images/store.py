"""From a sample's id to the bytes of its image, or to the reason why there are none."""

from __future__ import annotations

from pathlib import Path

from curate.recipe import MeasureSettings
from dashboards.query.catalog import Folder, image_root
from dashboards.query.engine import Connection, fetch
from winnow.errors import UserError
from winnow.files import sha256_bytes

_TABLES = {"curated": "samples.parquet", "evals": "predictions.parquet"}
_LIMITS = MeasureSettings()  # the same caps as curation


class NoImageError(Exception):
    """Why an image cannot be shown: a key of ``thumbnails.REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def image_bytes(connection: Connection, folder: Folder, sample_id: str, image_key: str) -> bytes:
    """The bytes of the image ``image_key`` of a sample, exactly those that the run saw.

    The path comes from the folder's own table and must lie below the image root of its
    manifest, symbolic links followed.

    Raises:
        NoImageError: the sample or image is not there, is too large, or its bytes changed.
    """
    try:
        path = _path_of(connection, folder, sample_id, image_key)
        if path.stat().st_size > _LIMITS.max_bytes:
            raise NoImageError("too_large")
        data = path.read_bytes()
    except (UserError, OSError) as error:
        raise NoImageError("missing") from error
    if sha256_bytes(data) != image_key:
        raise NoImageError("changed")
    return data


def contained(root: Path, relative: str) -> Path:
    """The regular file ``relative`` below ``root``, symbolic links followed.

    Raises:
        NoImageError: it lies outside the root.
        OSError: it does not exist.
    """
    real_root = root.resolve(strict=True)
    path = (real_root / relative).resolve(strict=True)
    if not path.is_relative_to(real_root):
        raise NoImageError("outside")
    if not path.is_file():
        raise NoImageError("missing")
    return path


def _path_of(connection: Connection, folder: Folder, sample_id: str, image_key: str) -> Path:
    task = "task" if folder.kind == "evals" else "'' AS task"
    rows = fetch(
        connection,
        f"SELECT {task}, images, image_keys FROM read_parquet(?) WHERE sample_id = ?",
        [folder.file(_TABLES[folder.kind]), sample_id],
    )
    for row in rows:
        for relative, key in zip(row["images"] or (), row["image_keys"] or (), strict=False):
            root = image_root(folder, row["task"])
            if key == image_key and root is not None:
                return contained(root, relative)
    raise NoImageError("missing")
