"""TextVQA: questions about text in images, ten answers each, and the text that OCR found.

``{"dataset_name": "textvqa", "data": [{"question", "image_id", "question_id", "answers": [ten texts],
"image_classes", "flickr_original_url", "set_name", …}]}``; the test split has no answers. OCR comes in
a second file, ``{"data": [{"image_id", "ocr_tokens", "ocr_info"}]}``: ``ocr:`` of the recipe, or
``TextVQA_Rosetta_OCR_v…_<split>.json`` beside the questions; its fields go to ``meta``.
Source: https://textvqa.org/dataset/.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import own_id, references, sample, split_in, text
from curate.readers.files.joined import JoinedAnnotations
from curate.readers.files.json import RawRow, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote.mirror_files import files_beside
from winnow.rows.records import Sample

_FOLDERS = ("images", "train_val_images")


def looks_like(probe: Probe) -> bool:
    """``data`` of questions with an ``image_id``, and a field that only TextVQA has."""
    row = probe.element("data")
    own = {"set_name", "image_classes", "flickr_original_url", "flickr_300k_url", "ocr_tokens"}
    return {"question", "question_id", "image_id"} <= row.keys() and bool(own & row.keys())


def other_files(settings: SourceSettings) -> list[Path]:
    """The OCR file, if there is one.

    Raises:
        UserError: the recipe names one that does not exist.
    """
    if settings.ocr == "none":
        return []
    if settings.ocr is not None:
        if not Path(settings.ocr).is_file():
            raise UserError(f"ocr {settings.ocr}: no such file")
        return [Path(settings.ocr)]
    location = Path(settings.location)
    split = split_in(location.name)
    return files_beside(location, f"TextVQA_Rosetta_OCR_*_{split}.json")[-1:] if split else []


def readings(settings: SourceSettings) -> list[Reading]:
    """The file."""
    path = Path(settings.location)
    ocr = next((JoinedAnnotations(file, "data", "image_id") for file in other_files(settings)), None)

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        fields = row.fields
        answers, question = references(fields.get("answers")), text(fields, "question")
        return sample(
            fields, settings, question=question, answers=answers, image=name_of(row), own=own_id(fields, "question_id"),
            source="textvqa", split=split_in(str(fields.get("set_name") or ""), path.name),
            held={"question": question, "answers": list(answers)},
            extra=(ocr.find(own_id(fields, "image_id")) or {}) if ocr else {},
        )  # fmt: skip

    return [Reading(iter_document(path, "data"), to_sample, _names, _FOLDERS)]


def _names(row: RawRow) -> Sequence[str]:
    image_id = own_id(row.fields, "image_id")
    folder = "test_images" if row.fields.get("set_name") == "test" else "train_images"
    return f"{folder}/{image_id}.jpg", f"{image_id}.jpg"


LAYOUT = Layout(
    __doc__,
    "{location: textvqa/TextVQA_0.5.1_val.json, ocr: textvqa/TextVQA_Rosetta_OCR_v0.2_val.json}",
    looks_like,
    readings,
    other_files=other_files,
)
