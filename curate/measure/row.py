"""The part of measuring that runs in worker processes: a path → its bytes → one decode → one row."""

from __future__ import annotations

import sys
import warnings
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.measure.pool import time_limit
from curate.signals import measure_pixels, prepare
from curate.signals.clip import ClipInput, clip_pixels
from curate.signals.nsfw import nsfw_pixels
from winnow.files import sha256_bytes
from winnow.images import ImageFacts, decode_whole, locate, wrong_extension

_FACTS = tuple(field.name for field in fields(ImageFacts))
CRASH = "the decoder crashed on it, or did not end"
_SECONDS = 120  # for one image; the largest that the caps let in take some seconds


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to do with each file.

    Attributes:
        root: the image root, resolved.
        signals: names of ``PIXEL_SIGNALS`` to compute.
        clip: what CLIP wants prepared, or None.
        nsfw: whether to prepare the NSFW scorer's input.
    """

    root: str
    max_bytes: int
    max_pixels: int
    signals: tuple[str, ...]
    clip: ClipInput | None
    nsfw: bool


@dataclass(frozen=True, slots=True)
class PathRow:
    """A path, located and hashed: one row of ``paths.parquet``, with size and time to detect a changed file."""

    path: str
    image_key: str | None
    error: str | None = None
    error_detail: str | None = None
    size: int = 0
    mtime_ns: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """One image's row and the small images that models want of it."""

    row: dict[str, Any]
    clip: NDArray[np.uint8] | None = None
    nsfw: NDArray[np.uint8] | None = None


def identify(plan: MeasurePlan, paths: list[str]) -> list[PathRow]:
    """Locate each path below the root and hash its bytes."""
    return [_identify(plan, path) for path in paths]


def _identify(plan: MeasurePlan, path: str) -> PathRow:
    found = locate(path, plan.root, max_bytes=plan.max_bytes)
    if found.file is None:
        return PathRow(path, None, found.error, found.detail, found.size, found.mtime_ns)
    try:
        data = Path(found.file).read_bytes()
    except OSError as error:
        return PathRow(path, None, "missing", error.strerror, found.size, found.mtime_ns)
    return PathRow(path, sha256_bytes(data), None, None, found.size, found.mtime_ns)


def measure(plan: MeasurePlan, files: list[PathRow]) -> list[MeasuredImage]:
    """One row for each identified file; decodes each once."""
    prepare(plan.signals)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged metadata; what matters is in the row
        return [_within_time(plan, file) for file in files]


def _within_time(plan: MeasurePlan, file: PathRow) -> MeasuredImage:
    with time_limit(_SECONDS):
        return _measure(plan, file)


def _measure(plan: MeasurePlan, file: PathRow) -> MeasuredImage:
    row: dict[str, Any] = {"image_key": file.image_key, "path": file.path}
    found = locate(file.path, plan.root, max_bytes=sys.maxsize)  # too many bytes are decoding's to refuse
    if found.file is None:
        return MeasuredImage({**row, "bytes": file.size, "error": "missing", "error_detail": found.detail})
    try:
        data = Path(found.file).read_bytes()
    except OSError as error:
        return MeasuredImage({**row, "bytes": file.size, "error": "missing", "error_detail": error.strerror})
    if sha256_bytes(data) != file.image_key:
        changed = "the file changed while it was measured; run again"
        return MeasuredImage({**row, "bytes": file.size, "error": "missing", "error_detail": changed})
    decoded = decode_whole(data, max_bytes=plan.max_bytes, max_pixels=plan.max_pixels)
    image, facts = decoded.image, decoded.facts
    row.update({name: getattr(facts, name) for name in _FACTS})
    if image is None:
        return MeasuredImage(row)
    misnamed = wrong_extension(file.path, facts.format or "")
    if misnamed:
        row.update(error="wrong_extension", error_detail=misnamed)
    row.update(measure_pixels(image, plan.signals, decoded.original))
    return MeasuredImage(
        row,
        clip_pixels(image, plan.clip) if plan.clip else None,
        nsfw_pixels(image) if plan.nsfw else None,
    )


def crashed_path(path: str) -> PathRow:
    """The row of a path whose reading killed the process."""
    return PathRow(path, None, "not_an_image", CRASH)


def crashed_file(file: PathRow) -> MeasuredImage:
    """The row of a file whose decoding killed the process."""
    return MeasuredImage(
        {
            "image_key": file.image_key,
            "path": file.path,
            "bytes": file.size,
            "error": "truncated",
            "error_detail": CRASH,
        }
    )
