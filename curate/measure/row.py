"""The part of measuring that runs in worker processes: a path → its bytes, read once → a key, one decode, one row."""

from __future__ import annotations

import sys
import warnings
from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.engines.worker import Unreachable, time_limit
from curate.measure.claims import Claims
from curate.measure.mirrored import Mirrored
from curate.signals import measure_pixels, prepare
from curate.signals.clip import ClipInput, clip_pixels
from curate.signals.nsfw import nsfw_pixels
from winnow.errors import is_unreachable
from winnow.files import sha256_bytes
from winnow.media.images import NOT_MEASURED, ImageFacts, decode_whole
from winnow.media.locate import Located, locate, wrong_extension

_FACTS = tuple(field.name for field in fields(ImageFacts))
CRASH = "the decoder crashed on it, or did not end"
_HELD_BYTES = 16 << 20  # of files, before they are decoded
_SECONDS = 120  # for one image; the largest that the caps let in take some seconds


@dataclass(frozen=True, slots=True)
class MeasurePlan:
    """What to do with each file.

    Attributes:
        root: the image root, resolved.
        signals: names of ``PIXEL_SIGNALS`` to compute.
        clip: what CLIP wants prepared, or None.
        nsfw: whether to prepare the NSFW scorer's input.
        claims: says which images another path has to decode; None decodes all.
        mirrored: brings images from object storage where workers are on other machines.
    """

    root: str
    max_bytes: int
    max_pixels: int
    signals: tuple[str, ...]
    clip: ClipInput | None
    nsfw: bool
    claims: Claims | None = None
    mirrored: Mirrored | None = None

    def here(self, paths: Sequence[str]) -> MeasurePlan:
        """The plan with the image root of this machine, where the images of these paths are."""
        return self if self.mirrored is None else replace(self, root=self.mirrored.root(self.root, paths))


@dataclass(frozen=True, slots=True)
class PathRow:
    """A path, located and hashed: one row of ``paths.parquet``, with size and times to detect a changed file."""

    path: str
    image_key: str | None
    error: str | None = None
    error_detail: str | None = None
    size: int = 0
    mtime_ns: int = 0
    ctime_ns: int = 0


@dataclass(frozen=True, slots=True)
class MeasuredImage:
    """One image's row and the small images that models want of it."""

    row: dict[str, Any]
    clip: NDArray[np.uint8] | None = None
    nsfw: NDArray[np.uint8] | None = None

    @property
    def is_prepared(self) -> bool:
        """Whether a model wants it."""
        return self.clip is not None or self.nsfw is not None


@dataclass(frozen=True, slots=True)
class Seen:
    """What one read of a file gives.

    Attributes:
        image: None if there is nothing to decode, or another path has to.
    """

    path: PathRow
    image: MeasuredImage | None = None

    @property
    def decodes(self) -> int:
        """Images that were decoded for it."""
        return int(self.image is not None and self.image.row["bytes"] > 0)


def read_images(plan: MeasurePlan, paths: list[tuple[int, str]]) -> list[Seen]:
    """Read the file of each numbered path once: its key, and where that is new, its row.

    Raises:
        Unreachable: the storage or this machine failed.
    """
    prepare(plan.signals)
    plan = plan.here([path for _, path in paths])
    seen: list[Seen] = []
    held: list[tuple[PathRow, bytes | None]] = []
    size = 0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # Pillow warns about damaged metadata; what matters is in the row
        for number, path in paths:
            with time_limit(_SECONDS):
                row, data = _identify(plan, path)
            if row.image_key is None or (plan.claims and not plan.claims.take(row.image_key, number)):
                data = None
            held.append((row, data))
            size += len(data or b"")
            # Some are claimed before the first is decoded, so that another worker comes too late for the same bytes.
            if size > _HELD_BYTES or number == paths[-1][0]:
                seen += [Seen(row, None if data is None else _within_time(plan, row, data)) for row, data in held]
                held, size = [], 0
    return seen


def _within_time(plan: MeasurePlan, file: PathRow, data: bytes) -> MeasuredImage:
    with time_limit(_SECONDS):
        return _measure(plan, file, data)


def identify(plan: MeasurePlan, path: str) -> PathRow:
    """Locate a path below the root and hash its bytes; decodes nothing.

    Raises:
        Unreachable: the storage or this machine failed.
    """
    return _identify(plan, path)[0]


def _identify(plan: MeasurePlan, path: str) -> tuple[PathRow, bytes | None]:
    found = locate(path, plan.root, max_bytes=plan.max_bytes)
    data, missing = _bytes_of(found, path)
    if data is None:
        error, detail = ("missing", missing) if missing else (found.error, found.detail)
        return PathRow(path, None, error, detail, found.size, found.mtime_ns), None
    return PathRow(path, sha256_bytes(data), None, None, found.size, found.mtime_ns, found.ctime_ns), data


def _bytes_of(found: Located, path: str) -> tuple[bytes | None, str | None]:
    """The bytes of a located file, or None and, where reading failed, why."""
    if found.error == NOT_MEASURED:
        raise Unreachable(f"{path}: {found.detail}")
    if found.file is None:
        return None, None
    try:
        return Path(found.file).read_bytes(), None
    except OSError as error:
        if is_unreachable(error):
            raise Unreachable(f"{path}: {error.strerror or error}") from error
        return None, error.strerror


def measure(plan: MeasurePlan, files: list[PathRow]) -> list[MeasuredImage]:
    """One row for each file that was identified before; decodes each once.

    Raises:
        Unreachable: the storage or this machine failed.
    """
    prepare(plan.signals)
    plan = plan.here([file.path for file in files])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [_measure_again(plan, file) for file in files]


def _measure_again(plan: MeasurePlan, file: PathRow) -> MeasuredImage:
    with time_limit(_SECONDS):
        found = locate(file.path, plan.root, max_bytes=sys.maxsize)  # too many bytes are decoding's to refuse
        data, missing = _bytes_of(found, file.path)
        if data is None:
            return _without_file(file, missing or found.detail)
        if sha256_bytes(data) != file.image_key:
            return _without_file(file, "the file has changed")
        return _measure(plan, file, data)


def _without_file(file: PathRow, why: str | None) -> MeasuredImage:
    row = {"image_key": file.image_key, "path": file.path, "bytes": file.size}
    return MeasuredImage({**row, "error": "missing", "error_detail": why})


def _measure(plan: MeasurePlan, file: PathRow, data: bytes) -> MeasuredImage:
    row: dict[str, Any] = {"image_key": file.image_key, "path": file.path}
    decoded = decode_whole(data, max_bytes=plan.max_bytes, max_pixels=plan.max_pixels)
    image, facts = decoded.image, decoded.facts
    if facts.error == NOT_MEASURED:
        raise Unreachable(f"{file.path}: not enough memory to decode it")
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


def lost_file(file: PathRow, why: str) -> MeasuredImage:
    """In place of the row of a file that could not be measured, which says nothing about it."""
    return MeasuredImage(
        {"image_key": file.image_key, "path": file.path, "bytes": file.size, "error": NOT_MEASURED, "error_detail": why}
    )
