"""LLaVA, ShareGPT, ms-swift, LLaMA-Factory, Qwen-VL, MiniCPM-V, Cauldron and Winnow's own records, as JSON or JSONL.

Each object has a whole conversation: ``conversations`` or ``messages``, whose turns are texts or lists of parts;
``texts`` of the_cauldron; ``query``, ``response`` and ``history``; ``chosen`` and ``rejected`` after a ``prompt`` or
``question``. Images are under ``image`` or ``images``, else under a key whose values name some; in the parts; or in
``<img>path</img>``. Videos, sounds, boxes, tools, rejected answers and labels are carried in ``meta``
(``winnow.rows.carried``); what else a row has stays there too. ``winnow.rows.records.to_original`` gives every object
back as it was. A row among them that is a question and answer in columns is read as in ``table``.
"""

from __future__ import annotations

import contextlib
import functools
from pathlib import Path

from curate.readers.base import Layout, NameOf, Plain, Reading, possible_roots
from curate.readers.fields import conversation, is_conversation
from curate.readers.files.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.readers.tables.columns import Columns
from curate.readers.tables.image_column import ImageColumns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import Sample


def looks_like(probe: Probe) -> bool:
    """JSON rows that hold a conversation, or ``query`` and ``response``; ``table`` reads options, Parquet and CSV."""
    return probe.is_json and is_conversation(probe.first)


def readings(settings: SourceSettings) -> list[Reading]:
    """The file."""
    path = Path(settings.location)
    source = path.stem if settings.source is None else settings.source

    images = ImageColumns(functools.partial(iter_json, path), possible_roots(settings))
    columns = Columns(settings, functools.partial(iter_json, path))

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        if not is_conversation(row.fields):
            with contextlib.suppress(UserError):  # no such columns either: said below
                flat = columns.sample(row)
                if flat.answers or "query" not in row.fields:
                    return flat
        made = conversation(row.fields, row.where, source=source, split=settings.split)
        return made if made.image else images.added(made, row.where)

    plain = Plain(source, settings.split, lambda keys: True, may_lack_image=True)
    return [Reading(iter_json(path), to_sample, file=path, plain=plain, decided=images.decided)]


LAYOUT = Layout(__doc__, "{location: llava_v1_5_mix665k.json, image_root: llava/images}", looks_like, readings)
