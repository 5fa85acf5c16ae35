"""GQA: questions made from scene graphs, with the programs that they mean.

One object, question id to ``{"question", "imageId", "answer", "fullAnswer", "isBalanced", "types",
"groups", "semantic", "annotations", …}``, in ``<split>_balanced_questions.json`` or
``<split>_all_questions.json``; the training questions of the latter are a folder of ten such files,
and that folder is a location too. The test and challenge splits have no answers. Images are
``<imageId>.jpg``. Source: https://cs.stanford.edu/people/dorarad/gqa/download.html.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import as_object, own_id, references, sample, split_in, text
from curate.readers.files.json import RawRow, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import Sample

_PART = re.compile(r"(\w+)_questions_(\d+)\.json")
_OTHER_SPLITS = ("challenge", "submission")


def looks_like(probe: Probe) -> bool:
    """An object of questions with ``imageId``; or a folder of numbered parts."""
    if probe.is_folder:
        return any(_PART.fullmatch(name) for name in probe.names)
    return {"question", "imageId"} <= probe.member().keys()


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """The file, or the numbered files of a folder."""
    for file in _files(Path(settings.location)):
        split = split_in(file.name) or next((name for name in _OTHER_SPLITS if file.name.startswith(name)), "")
        to_sample = functools.partial(_sample, settings, split)
        yield Reading(iter_document(file), to_sample, _names, ("images", "allImages/images"))


def _names(row: RawRow) -> Sequence[str]:
    return (f"{own_id(row.fields, 'imageId')}.jpg",)


def _sample(settings: SourceSettings, split: str, row: RawRow, name_of: NameOf) -> Sample:
    """``meta.question_type`` is GQA's structural type."""
    answers, question = references(row.fields.get("answer")), text(row.fields, "question")
    kind = as_object(row.fields.get("types")).get("structural")
    return sample(
        row.fields, settings, question=question, answers=answers, image=name_of(row), own=row.key,
        source="gqa", split=split, held={"question": question, **({"answer": answers[0]} if answers else {})},
        extra={"question_type": kind} if isinstance(kind, str) else {},
    )  # fmt: skip


def _files(location: Path) -> list[Path]:
    """The file, or the numbered files of a folder in order.

    Raises:
        UserError: the folder has files of different splits.
    """
    if not location.is_dir():
        return [location]
    found = sorted((part[1], int(part[2]), path) for path in location.iterdir() if (part := _PART.fullmatch(path.name)))
    if not found or found[0][0] != found[-1][0]:
        raise UserError(f"{location}: has files of several sets of questions; give one file")
    return [path for _, _, path in found]


LAYOUT = Layout(__doc__, "{location: gqa/val_balanced_questions.json, image_root: gqa/images}", looks_like, readings)
