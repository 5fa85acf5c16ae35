"""DocVQA and InfographicVQA: questions about pages, with every accepted answer.

``{"dataset_name", "dataset_version", "dataset_split", "data": [{"questionId", "question", "answers",
"data_split", …}]}``. DocVQA names its page in ``image`` (``documents/xnbl0037_1.png``; downloads
unpack it to ``spdocvqa_images/``), with ``docId``, ``ucsf_document_id``, ``question_types``;
InfographicVQA in ``image_local_name``, with ``image_url`` and ``ocr_output_file``. Test splits have no
answers. Source: https://rrc.cvc.uab.es/?ch=17&com=downloads.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, own_id, place, references, sample, samples, split_in, text
from curate.readers.json import Value, document_head, iter_document
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: docvqa/val_v1.0_withQT.json, image_root: docvqa/spdocvqa_images}"


def looks_like(probe: Probe) -> bool:
    """``data`` of rows with a ``questionId`` and a page's name."""
    row = probe.element("data")
    return {"questionId", "question"} <= row.keys() and bool({"image", "image_local_name"} & row.keys())


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first pages are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question; ``meta.question_type`` joins DocVQA's question types.

    Raises:
        UserError: the file is missing or broken.
    """
    path = Path(settings.location)
    name = _placing(settings).name
    document_split = str(document_head(path).get("dataset_split") or "")

    def make(row: Mapping[str, Any], where: Value) -> Sample:
        answers = references(row.get("answers"))
        placed, kinds = name(row), row.get("question_types")
        key = "image_local_name" if "image_local_name" in row else "image"
        held = {"question", *([key] if placed == row.get(key) else [])}
        held |= {"answers"} if row.get("answers") == list(answers) else set()
        named = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
        return sample(
            row, question=text(row, "question"), answers=answers, own=own_id(row, "questionId"), image=placed,
            settings=settings, source="infographicvqa" if key == "image_local_name" else "docvqa",
            split=split_in(str(row.get("data_split") or ""), document_split, path.name), held=held,
            extra={"question_type": ", ".join(named)} if named else {},
        )  # fmt: skip

    yield from samples(iter_document(path, "data"), make)


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        if "image_local_name" in row:
            local = text(row, "image_local_name")
            return local, f"infographicsvqa_images/{local}"
        image = text(row, "image")
        page = image.rpartition("/")[2]
        return image, f"spdocvqa_images/{page}", page

    return place(settings, iter_document(Path(settings.location), "data"), names)
