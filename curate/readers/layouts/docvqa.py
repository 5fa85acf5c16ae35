"""DocVQA and InfographicVQA: questions about pages, with every accepted answer.

``{"dataset_name", "dataset_version", "dataset_split", "data": [{"questionId", "question", "answers",
"data_split", …}]}``. DocVQA names its page in ``image`` (``documents/xnbl0037_1.png``; downloads
unpack it to ``spdocvqa_images/``), with ``docId``, ``ucsf_document_id``, ``question_types``;
InfographicVQA in ``image_local_name``, with ``image_url`` and ``ocr_output_file``. Test splits have no
answers. Source: https://rrc.cvc.uab.es/?ch=17&com=downloads.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import own_id, references, sample, split_in, text
from curate.readers.files.json import RawRow, document_head, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.rows.records import Sample


def looks_like(probe: Probe) -> bool:
    """``data`` of rows with a ``questionId`` and a page's name."""
    row = probe.element("data")
    return {"questionId", "question"} <= row.keys() and bool({"image", "image_local_name"} & row.keys())


def readings(settings: SourceSettings) -> list[Reading]:
    """The file; ``meta.question_type`` joins DocVQA's question types."""
    path = Path(settings.location)
    document_split = str(document_head(path).get("dataset_split") or "")

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        fields = row.fields
        answers, image, question = references(fields.get("answers")), name_of(row), text(fields, "question")
        kinds = fields.get("question_types")
        key = "image_local_name" if "image_local_name" in fields else "image"
        named = [kind for kind in kinds if isinstance(kind, str)] if isinstance(kinds, list) else []
        return sample(
            fields, settings, question=question, answers=answers, image=image, own=own_id(fields, "questionId"),
            source="infographicvqa" if key == "image_local_name" else "docvqa",
            split=split_in(str(fields.get("data_split") or ""), document_split, path.name),
            held={"question": question, "answers": list(answers), key: image},
            extra={"question_type": ", ".join(named)} if named else {},
        )  # fmt: skip

    return [Reading(iter_document(path, "data"), to_sample, _names)]


def _names(row: RawRow) -> Sequence[str]:
    if "image_local_name" in row.fields:
        local = text(row.fields, "image_local_name")
        return local, f"infographicsvqa_images/{local}"
    image = text(row.fields, "image")
    page = image.rpartition("/")[2]
    return image, f"spdocvqa_images/{page}", page


LAYOUT = Layout(
    __doc__, "{location: docvqa/val_v1.0_withQT.json, image_root: docvqa/spdocvqa_images}", looks_like, readings
)
