"""VQA v1, v2 and OK-VQA: a file of questions and a file of annotations with ten votes each.

Questions: ``{"data_subtype": "val2014", "questions": [{"image_id", "question", "question_id"}]}``.
Annotations: ``{"annotations": [{"question_id", "answers": [{"answer", "answer_confidence", "answer_id"}],
"question_type", "answer_type", "multiple_choice_answer", "image_id"}]}``. The location is either file;
its partner is ``annotations:`` of the recipe or the file of the published name beside it. Test questions
have no annotations. Images are ``COCO_<subtype>_<image id, 12 digits>.jpg``, also below ``<subtype>/``.
Source: https://visualqa.org/download.html, https://okvqa.allenai.org/download.html.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading, SecondList
from curate.readers.fields import as_object, own_id, references, sample, split_in, text
from curate.readers.files.joined import JoinedAnnotations
from curate.readers.files.json import RawRow, document_head, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote.mirror_files import is_file
from winnow.rows.records import Sample

_FOLDERS = ("images", "Images/mscoco", "Images/abstract_v002", "Images")
_PREFIXES = ("OpenEnded_", "MultipleChoice_", "")
_SCENES = re.compile(r"abstract_v00\d")
_SUBTYPE = re.compile(r"(train|val|test|test-dev)20\d\d")


def looks_like(probe: Probe) -> bool:
    """The questions, or the annotations."""
    question, annotation = probe.element("questions"), probe.element("annotations")
    return {"question", "question_id", "image_id"} <= question.keys() or (
        {"question_id", "answers"} <= annotation.keys()
    )


def other_files(settings: SourceSettings) -> list[Path]:
    """The other one of the two files.

    Raises:
        UserError: it does not exist.
    """
    location = Path(settings.location)
    found = [questions_of(location), _annotations_of(settings)]
    return [path for path in found if path is not None and path != location]


def readings(settings: SourceSettings) -> list[Reading]:
    """Every question with its votes; one without an annotation, or the other way round, is a bad row."""
    questions = questions_of(Path(settings.location))
    head = document_head(questions)
    if head and "questions" not in head:
        raise UserError(f"{questions}: has no 'questions'")
    annotations = _annotations_of(settings)
    votes = JoinedAnnotations(annotations, "annotations", "question_id") if annotations else None
    source, split = _source(questions, annotations), _split(questions)
    subtype, stem, suffix = _image_names(questions)

    def names(row: RawRow) -> Sequence[str]:
        image_id = own_id(row.fields, "image_id")
        if not isinstance(image_id, int) or image_id < 0:
            raise ValueError("'image_id' must be a whole number from 0")
        digits = f"{image_id:012d}"
        return f"{subtype}/{stem}_{digits}.{suffix}", f"{stem}_{digits}.{suffix}", f"{digits}.{suffix}"

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        own = own_id(row.fields, "question_id")
        annotation = votes.find(own) if votes else {}
        if annotation is None:
            raise ValueError(f"question_id {own!r} has no annotation in {annotations}")
        if annotation and annotation.get("image_id", row.fields.get("image_id")) != row.fields.get("image_id"):
            raise ValueError(f"question_id {own!r} is about another image in {annotations}")
        answers, question = references(annotation.get("answers")), text(row.fields, "question")
        return sample(
            {**annotation, **row.fields}, settings, question=question, answers=answers, image=name_of(row), own=own,
            source=source, split=split, held={"question": question, "answers": list(answers)},
        )  # fmt: skip

    return [
        Reading(
            iter_document(questions, "questions"),
            to_sample,
            names,
            _FOLDERS,
            near=questions.parent,
            left_over=votes.left_over() if votes else (),
            second=SecondList(annotations, "annotations", "question_id", "question_id") if annotations else None,
        )
    ]


def questions_of(location: Path) -> Path:
    """The file of questions: the location, or the partner of a location that holds annotations.

    Raises:
        UserError: it does not exist.
    """
    head = document_head(location)
    if "questions" in head or "annotations" not in head:
        return location
    stem = location.name.replace("annotations", "questions")
    version = "v2_" if stem.startswith("v2_") else ""
    names = [f"{version}{prefix}{stem.removeprefix(version)}" for prefix in _PREFIXES]
    found = _beside(location, names, "Questions")
    if found is None:
        raise UserError(
            f"{location}: has annotations, and {names[0]} is not beside it; give the file of questions as"
            " location, and this one as `annotations:`"
        )
    return found


def _annotations_of(settings: SourceSettings) -> Path | None:
    """The file of annotations; None for questions of a test split, which has none."""
    location = Path(settings.location)
    if settings.annotations == "none":
        return None
    if settings.annotations is not None:
        given = Path(settings.annotations)
        if not given.is_file():
            raise UserError(f"annotations {given}: no such file")
        return given
    head = document_head(location)
    if "annotations" in head:
        return location
    stem = location.name.replace("questions", "annotations")
    names = list(dict.fromkeys(stem.replace(prefix, "", 1) for prefix in _PREFIXES))
    found = _beside(location, names, "Annotations")
    if found is None and not _split(location).startswith("test"):
        raise UserError(
            f"{location}: its annotations are not beside it ({names[0]}); name the file with `annotations:`,"
            " or set `annotations: none` for questions without answers (--annotations FILE or none)"
        )
    return found


def _beside(location: Path, names: Sequence[str], folder: str) -> Path | None:
    folders = (location.parent, location.parent.parent / folder)
    tried = (base / name for base in folders for name in names if name != location.name)
    return next((path for path in tried if is_file(path)), None)


def _image_names(questions: Path) -> tuple[str, str, str]:
    """Folder, beginning and suffix of the images' file names."""
    head = document_head(questions)
    kind, subtype = str(head.get("data_type", "mscoco")), str(head.get("data_subtype", ""))
    if not _SUBTYPE.fullmatch(subtype):
        subtype = f"{split_in(questions.name) or 'train'}2014"
    subtype = subtype.replace("test-dev", "test")
    drawn = _SCENES.fullmatch(kind)
    stem, suffix = (f"{kind}_{subtype}", "png") if drawn else (f"COCO_{subtype}", "jpg")
    return subtype, stem, suffix


def _split(questions: Path) -> str:
    subtype = document_head(questions).get("data_subtype")
    return split_in(subtype if isinstance(subtype, str) else "", questions.name)


def _source(questions: Path, annotations: Path | None) -> str:
    """``ok_vqa``, ``vqa_v2`` or ``vqa_v1``, by what the files say."""
    head = document_head(questions)
    first = next(iter(iter_document(annotations, "annotations")), None) if annotations else None
    vote = as_object(as_object(first.value).get("answers")) if isinstance(first, RawRow) else {}
    info = as_object(head.get("info"))
    if "raw_answer" in vote or re.search("ok-?vqa", f"{info.get('description')} {info.get('url')}", re.IGNORECASE):
        return "ok_vqa"
    return "vqa_v2" if str(info.get("version", "")).startswith("2") or questions.name.startswith("v2_") else "vqa_v1"


LAYOUT = Layout(
    __doc__,
    "{location: vqa/v2_OpenEnded_mscoco_val2014_questions.json, annotations: vqa/v2_mscoco_val2014_annotations.json}",
    looks_like,
    readings,
    other_files=other_files,
)
