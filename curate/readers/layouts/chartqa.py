"""ChartQA: questions about charts, written by people (``_human``) or by a model (``_augmented``).

Lists of ``{"imgname", "query", "label"}``. The location is one such file, the folder of a split
(``train/`` with ``train_human.json``, ``train_augmented.json`` and ``png/``), or the folder of all
splits. Source: https://github.com/vis-nlp/ChartQA.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import references, sample, split_in, text
from curate.readers.files.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.rows.records import Sample

_SPLITS = ("train", "val", "test")
_KINDS = ("human", "augmented")


def looks_like(probe: Probe) -> bool:
    """A list of charts with query and label; or a folder with such files."""
    if probe.is_folder:
        return bool(_files(probe.path))
    return probe.is_json and {"imgname", "query"} <= probe.first.keys()


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Human questions first. Of a folder of all splits, ``settings.split`` selects one."""
    location = Path(settings.location)
    for file in _files(location):
        split = split_in(file.name)
        if location.is_dir() and settings.split not in ("", split):
            continue
        kind = next((kind for kind in _KINDS if kind in file.stem), "")
        names = functools.partial(_names, split or "train")
        to_sample = functools.partial(_sample, settings, split, kind)
        yield Reading(iter_json(file), to_sample, names)


def _names(split: str, row: RawRow) -> Sequence[str]:
    chart = text(row.fields, "imgname")
    return f"png/{chart}", chart, f"{split}/png/{chart}"


def _sample(settings: SourceSettings, split: str, kind: str, row: RawRow, name_of: NameOf) -> Sample:
    """``meta.question_type`` says whether people or a model wrote the question."""
    answers, image, query = references(row.fields.get("label")), name_of(row), text(row.fields, "query")
    return sample(
        row.fields, settings, question=query, answers=answers, image=image, own=None, source="chartqa", split=split,
        held={"query": query, "imgname": image, **({"label": answers[0]} if answers else {})},
        extra={"question_type": kind} if kind else {},
    )  # fmt: skip


def _files(location: Path) -> list[Path]:
    """The files of a location in order: split by split, human before augmented."""
    if not location.is_dir():
        return [location]
    folders = (location, *(location / split for split in _SPLITS))
    named = (folder / f"{split}_{kind}.json" for folder in folders for split in _SPLITS for kind in _KINDS)
    return [path for path in named if path.is_file()]


LAYOUT = Layout(__doc__, "{location: ChartQA Dataset/val}", looks_like, readings)
