"""VizWiz-VQA: photographs by blind people, their questions, ten answers with the annotator's confidence.

A list of ``{"image", "question", "answers": [{"answer", "answer_confidence"}], "answer_type",
"answerable"}``, one question an image; the test split has image and question only. Images lie in
``train/``, ``val/`` and ``test/``. Source: https://vizwiz.org/tasks-and-datasets/vqa/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import references, sample, split_in, text
from curate.readers.files.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.rows.records import Sample


def looks_like(probe: Probe) -> bool:
    """A list of questions with ``answerable``, or about an image called ``VizWiz_…``."""
    row = probe.first if probe.is_json else {}
    named = str(row.get("image", "")).rpartition("/")[2].startswith("VizWiz_")
    return {"image", "question"} <= row.keys() and (named or {"answerable", "answer_type"} <= row.keys())


def readings(settings: SourceSettings) -> list[Reading]:
    """The file; the id of a question is the image's name."""
    path = Path(settings.location)
    folders = ("images", "Images", *(name for name in ("train", "val", "test") if name == split_in(path.name)))

    def names(row: RawRow) -> Sequence[str]:
        image = text(row.fields, "image")
        split = settings.split or split_in(path.name, image) or "train"
        return image, f"{split}/{image}"

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        fields = row.fields
        answers, own, image = references(fields.get("answers")), text(fields, "image"), name_of(row)
        question = text(fields, "question")
        return sample(
            fields, settings, question=question, answers=answers, image=image, own=own, source="vizwiz",
            split=split_in(path.name, own), held={"question": question, "answers": list(answers), "image": image},
        )  # fmt: skip

    return [Reading(iter_json(path), to_sample, names, folders)]


LAYOUT = Layout(__doc__, "{location: vizwiz/Annotations/val.json, image_root: vizwiz/val}", looks_like, readings)
