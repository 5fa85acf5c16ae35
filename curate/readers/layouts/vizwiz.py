"""VizWiz-VQA: photographs by blind people, their questions, ten answers with the annotator's confidence.

A list of ``{"image", "question", "answers": [{"answer", "answer_confidence"}], "answer_type",
"answerable"}``, one question an image; the test split has image and question only. Images lie in
``train/``, ``val/`` and ``test/``. Source: https://vizwiz.org/tasks-and-datasets/vqa/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, place, references, sample, samples, split_in, text
from curate.readers.json import Value, iter_json
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: vizwiz/Annotations/val.json, image_root: vizwiz/val}"


def looks_like(probe: Probe) -> bool:
    """A list of questions with ``answerable``, or about an image called ``VizWiz_…``."""
    row = probe.first if probe.is_json else {}
    named = str(row.get("image", "")).rpartition("/")[2].startswith("VizWiz_")
    return {"image", "question"} <= row.keys() and (named or {"answerable", "answer_type"} <= row.keys())


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question; its id is the image's name.

    Raises:
        UserError: the file is missing or broken.
    """
    path = Path(settings.location)
    name = _placing(settings).name

    def make(row: Mapping[str, Any], where: Value) -> Sample:
        answers = references(row.get("answers"))
        image = text(row, "image")
        placed = name(row)
        held = {"question", *(["image"] if placed == image else [])}
        held |= {"answers"} if row.get("answers") == list(answers) else set()
        return sample(
            row, question=text(row, "question"), answers=answers, own=image, image=placed, settings=settings,
            source="vizwiz", split=split_in(path.name, image), held=held,
        )  # fmt: skip

    yield from samples(iter_json(path), make)


def _placing(settings: SourceSettings) -> Placing:
    path = Path(settings.location)

    def names(row: Mapping[str, Any]) -> Sequence[str]:
        image = text(row, "image")
        split = settings.split or split_in(path.name, image) or "train"
        return image, f"{split}/{image}"

    folders = ("images", "Images", *(name for name in ("train", "val", "test") if name == split_in(path.name)))
    return place(settings, iter_json(path), names, folders)
