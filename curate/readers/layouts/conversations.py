"""LLaVA, ShareGPT, ms-swift and Winnow's own records, as JSON arrays or JSONL.

Each object has ``conversations`` (``from``/``value``), ``messages`` (``role``/``content``, a text or a
list of parts) or ``query``, ``response`` and ``history``; and ``image`` or ``images``. A text ``system``
beside them is the first turn. ``videos``, ``tools``, ``objects`` and whatever else a row has stay under
``meta``. ``winnow.records.to_original`` gives every object back as it was.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Probe, deduced_root
from curate.readers.json import iter_json
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample, record_or_bad

EXAMPLE = "{location: llava_v1_5_mix665k.json, image_root: llava/images}"


def looks_like(probe: Probe) -> bool:
    """JSON rows with ``conversations`` or ``messages``, or with ``query`` and ``response``; ``table`` reads Parquet."""
    keys = probe.first.keys() if probe.is_json else set()
    return bool({"conversations", "messages"} & keys) or {"query", "response"} <= keys


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Stream the file's rows; a row that is no conversation becomes a ``BadRow``."""
    path = Path(settings.location)
    source = path.stem if settings.source is None else settings.source
    for row in iter_json(path):
        if isinstance(row, BadRow):
            yield row
        else:
            yield record_or_bad(row.value, row.position, source=source, split=settings.split, where=row.where)


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one beside the file where the first images are found."""
    return deduced_root(settings, iter_samples(settings))
