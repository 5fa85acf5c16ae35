"""GQA: questions made from scene graphs, with the programs that they mean.

One object, question id to ``{"question", "imageId", "answer", "fullAnswer", "isBalanced", "types",
"groups", "semantic", "annotations", …}``, in ``<split>_balanced_questions.json`` or
``<split>_all_questions.json``; the training questions of the latter are a folder of ten such files,
and that folder is a location too. The test and challenge splits have no answers. Images are
``<imageId>.jpg``. Source: https://cs.stanford.edu/people/dorarad/gqa/download.html.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, as_object, own_id, place, references, sample, samples, split_in, text
from curate.readers.json import Value, iter_document
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.records import BadRow, Sample

EXAMPLE = "{location: gqa/val_balanced_questions.json, image_root: gqa/images}"
_PART = re.compile(r"(\w+)_questions_(\d+)\.json")
_OTHER_SPLITS = ("challenge", "submission")


def looks_like(probe: Probe) -> bool:
    """An object of questions with ``imageId``; or a folder of numbered parts."""
    if probe.is_folder:
        return any(_PART.fullmatch(name) for name in probe.names)
    return {"question", "imageId"} <= probe.member().keys()


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the questions where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question; ``meta.question_type`` is GQA's structural type.

    Raises:
        UserError: a file is missing or broken.
    """
    name = _placing(settings).name
    position = 0
    for part in _parts(Path(settings.location)):
        split = split_in(part.name) or next((one for one in _OTHER_SPLITS if part.name.startswith(one)), "")

        def make(row: Mapping[str, Any], where: Value, split: str = split) -> Sample:
            answers = references(row.get("answer"))
            kind = as_object(row.get("types")).get("structural")
            held = {"question", *(["answer"] if [row.get("answer")] == list(answers) else [])}
            return sample(
                row, question=text(row, "question"), answers=answers, own=where.key, image=name(row),
                settings=settings, source="gqa", split=split, held=held,
                extra={"question_type": kind} if isinstance(kind, str) else {},
            )  # fmt: skip

        for made in samples(iter_document(part), make, position):
            yield made
            position += 1


def _parts(location: Path) -> list[Path]:
    """The file, or the numbered files of a folder in order.

    Raises:
        UserError: parts of different splits in one folder.
    """
    if not location.is_dir():
        return [location]
    found = sorted((part[1], int(part[2]), path) for path in location.iterdir() if (part := _PART.fullmatch(path.name)))
    if not found or found[0][0] != found[-1][0]:
        raise UserError(f"{location}: holds the parts of several sets of questions; give one file")
    return [path for _, _, path in found]


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        return (f"{own_id(row, 'imageId')}.jpg",)

    folders = ("images", "allImages/images")
    return place(settings, iter_document(_parts(Path(settings.location))[0]), names, folders)
