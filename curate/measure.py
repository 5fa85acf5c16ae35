"""Decode once, measure everything: one row per unique image, one row per sample.

``measure_images`` writes ``part-*.parquet`` and ``paths.parquet``; ``measure_text`` writes
``text.parquet``. Both resume, and both end with the same bytes whatever the number of workers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.sample import Sample
from curate.settings import MeasureSettings


@dataclass(frozen=True)
class MeasureReport:
    """What one call of ``measure_images`` did.

    Attributes:
        paths: distinct paths asked for.
        images: unique images measured in this call.
        known: distinct paths that were measured before.
        decodes: images decoded in this call.
        errors: preflight class → number of paths, over all paths asked for.
    """

    paths: int
    images: int
    known: int
    decodes: int
    errors: Mapping[str, int]


def measure_images(paths: Iterable[str], image_root: Path, out: Path, settings: MeasureSettings) -> MeasureReport:
    """Measure every image that is not yet in ``out`` (the ``signals`` folder)."""
    raise NotImplementedError


def measure_text(samples: Iterable[Sample], out: Path, settings: MeasureSettings) -> Path:
    """Write ``out/text.parquet``, one row per sample; call it after ``measure_images``."""
    raise NotImplementedError
