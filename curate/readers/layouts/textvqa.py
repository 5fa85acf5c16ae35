"""TextVQA: questions about text in images, ten answers each, and the text that OCR found.

``{"dataset_name": "textvqa", "data": [{"question", "image_id", "question_id", "answers": [ten texts],
"image_classes", "flickr_original_url", "set_name", …}]}``; the test split has no answers. OCR comes in
a second file, ``{"data": [{"image_id", "ocr_tokens", "ocr_info"}]}``: ``ocr:`` of the recipe, or
``TextVQA_Rosetta_OCR_v…_<split>.json`` beside the questions; its fields go to ``meta``.
Source: https://textvqa.org/dataset/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Partner, Placing, Probe, own_id, place, references, sample, samples, split_in, text
from curate.readers.json import Value, iter_document
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.records import BadRow, Sample

EXAMPLE = "{location: textvqa/TextVQA_0.5.1_val.json, ocr: textvqa/TextVQA_Rosetta_OCR_v0.2_val.json}"
_FOLDERS = ("images", "train_val_images")


def looks_like(probe: Probe) -> bool:
    """``data`` of questions with an ``image_id``, and a field that only TextVQA has."""
    row = probe.element("data")
    own = {"set_name", "image_classes", "flickr_original_url", "flickr_300k_url", "ocr_tokens"}
    return {"question", "question_id", "image_id"} <= row.keys() and bool(own & row.keys())


def files(settings: SourceSettings) -> list[Path]:
    """What is read beside the location: the OCR file, if there is one.

    Raises:
        UserError: the recipe names one that is not there.
    """
    if settings.ocr == "none":
        return []
    if settings.ocr is not None:
        if not Path(settings.ocr).is_file():
            raise UserError(f"ocr {settings.ocr}: no such file")
        return [Path(settings.ocr)]
    location = Path(settings.location)
    split = split_in(location.name)
    return sorted(location.parent.glob(f"TextVQA_Rosetta_OCR_*_{split}.json"))[-1:] if split else []


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question.

    Raises:
        UserError: a file is missing or broken.
    """
    path = Path(settings.location)
    name = _placing(settings).name
    ocr = next((Partner(file, "data", "image_id") for file in files(settings)), None)

    def make(row: Mapping[str, Any], where: Value) -> Sample:
        answers = references(row.get("answers"))
        held = {"question", *(["answers"] if row.get("answers") == list(answers) else [])}
        set_name = row.get("set_name")
        return sample(
            row, question=text(row, "question"), answers=answers, own=own_id(row, "question_id"), image=name(row),
            settings=settings, source="textvqa", split=split_in(str(set_name or ""), path.name), held=held,
            extra=(ocr.find(own_id(row, "image_id")) or {}) if ocr else {},
        )  # fmt: skip

    yield from samples(iter_document(path, "data"), make)


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        image_id = own_id(row, "image_id")
        folder = "test_images" if row.get("set_name") == "test" else "train_images"
        return f"{folder}/{image_id}.jpg", f"{image_id}.jpg"

    return place(settings, iter_document(Path(settings.location), "data"), names, _FOLDERS)
