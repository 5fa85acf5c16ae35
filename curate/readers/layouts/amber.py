"""AMBER: questions about what an image shows, and requests to describe it, as one of ``data/query/query_*.json``.

A list of ``id, image, query``. The answers are in ``annotations.json``, in the folder of the queries or the one above
it, as a list of ``id, type, truth``: ``yes`` or ``no``, or for a description the objects that are there; ``hallu``
lists those that a model is likely to add. ``type`` and, of descriptions, both lists go to ``meta``.
Source: https://github.com/junyangwang0410/AMBER.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import own_id, sample, text
from curate.readers.files.json import RawRow
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote.mirror_files import is_file
from winnow.rows.records import BadRow, Sample

_ANNOTATIONS = "annotations.json"


def looks_like(probe: Probe) -> bool:
    """Queries about images, with annotations near them."""
    return probe.is_file and probe.first.keys() == {"id", "image", "query"} and _annotations(probe.path) is not None


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """The queries, joined to the annotations by id; AMBER has 16,000 of them."""
    path = Path(settings.location)
    found = _annotations(path)
    if found is None:
        raise UserError(f"{path}: needs {_ANNOTATIONS} beside it or in the folder above")
    known = {row.fields.get("id"): row.fields for row in iter_rows(found) if not isinstance(row, BadRow)}
    to_sample = functools.partial(_sample, settings, known)
    yield Reading(iter_rows(path), to_sample, lambda row: (str(row.fields.get("image", "")),), ("image", "images"))


def other_files(settings: SourceSettings) -> list[Path]:
    """The annotations."""
    found = _annotations(Path(settings.location))
    return [found] if found else []


def _annotations(path: Path) -> Path | None:
    return next((folder / _ANNOTATIONS for folder in (path.parent, path.parent.parent)
                 if is_file(folder / _ANNOTATIONS)), None)  # fmt: skip


def _sample(settings: SourceSettings, known: Mapping[Any, Mapping[str, Any]], row: RawRow, name_of: NameOf) -> Sample:
    fields = row.fields
    own, question = own_id(fields, "id"), text(fields, "query")
    annotation = known.get(own)
    if annotation is None:
        raise ValueError(f"id {own} is not in {_ANNOTATIONS}")
    truth = annotation.get("truth")
    objects = [str(name) for name in truth] if isinstance(truth, list) else None
    kept = ("type",) if objects is None else ("type", "truth", "hallu")
    return sample(
        fields,
        settings,
        question=question,
        answers=(str(truth),) if objects is None else (", ".join(objects),),
        image=name_of(row),
        own=own,
        source="amber",
        split="",
        held={"query": question, "image": fields.get("image")},
        extra={key: annotation[key] for key in kept if key in annotation},
    )


LAYOUT = Layout(
    __doc__, "{location: AMBER/data/query/query_discriminative.json, image_root: AMBER/image}", looks_like, readings,
    other_files=other_files,
)  # fmt: skip
