"""LLaVA, ShareGPT, ms-swift and Winnow's own records, as JSON arrays or JSONL.

Each object has ``conversations`` (``from``/``value``), ``messages`` (``role``/``content``, a text or a
list of parts) or ``query``, ``response`` and ``history``; and ``image`` or ``images``. A text ``system``
beside them is the first turn. ``videos``, ``tools``, ``objects`` and whatever else a row has stay under
``meta``. ``winnow.records.to_original`` gives every object back as it was.
"""

from __future__ import annotations

from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import conversation
from curate.readers.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.recipe import SourceSettings
from winnow.records import Sample


def looks_like(probe: Probe) -> bool:
    """JSON rows with ``conversations`` or ``messages``, or with ``query`` and ``response``; ``table`` reads Parquet."""
    keys = probe.first.keys() if probe.is_json else set()
    return bool({"conversations", "messages"} & keys) or {"query", "response"} <= keys


def readings(settings: SourceSettings) -> list[Reading]:
    """The file."""
    path = Path(settings.location)
    source = path.stem if settings.source is None else settings.source

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        return conversation(row.fields, row.where, source=source, split=settings.split)

    return [Reading(iter_json(path), to_sample)]


LAYOUT = Layout(__doc__, "{location: llava_v1_5_mix665k.json, image_root: llava/images}", looks_like, readings)
