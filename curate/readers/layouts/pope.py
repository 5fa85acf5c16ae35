"""POPE: is there such an object in the image? Yes or no.

JSON lines ``{"question_id", "image", "image_id", "text", "label"}`` (``image_id`` may be absent), one file for
each way of choosing the object: ``coco_pope_random.json``, ``…_popular.json``, ``…_adversarial.json``. Ids start over
in each file, so the way becomes part of the id and ``meta.category``. The location is a file, or the folder of all
three. LLaVA's ``llava_pope_test.jsonl`` (``category`` in each row, no label) is read too.
Source: https://github.com/RUCAIBox/POPE.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import own_id, references, sample, text
from curate.readers.files.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.rows.records import Sample

_CATEGORIES = ("random", "popular", "adversarial")
_FILE = re.compile(rf"\w+_pope_(?:\w+_)?({'|'.join(_CATEGORIES)})\.jsonl?")


def looks_like(probe: Probe) -> bool:
    """Rows of ``question_id``, ``image`` and ``text`` with a label yes or no, or one of POPE's categories."""
    if probe.is_folder:
        return any(_FILE.fullmatch(name) for name in probe.names)
    row = probe.first if probe.is_json else {}
    asked = {"question_id", "image", "text"} <= row.keys()
    return asked and (row.get("label") in ("yes", "no") or row.get("category") in _CATEGORIES)


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """The file, or the three files of a folder."""
    for file in _files(Path(settings.location)):
        category = next((name for name in _CATEGORIES if name in file.stem), "")
        yield Reading(iter_json(file), functools.partial(_sample, settings, category), _names)


def _names(row: RawRow) -> Sequence[str]:
    image = text(row.fields, "image")
    return image, f"val2014/{image}"


def _sample(settings: SourceSettings, category_of_file: str, row: RawRow, name_of: NameOf) -> Sample:
    fields = row.fields
    category = str(fields.get("category") or category_of_file)
    answers, image = references(fields.get("label")), name_of(row)
    number, question = own_id(fields, "question_id"), text(fields, "text")
    return sample(
        fields, settings, question=question, answers=answers, image=image,
        own=f"{category}/{number}" if category else number, source="pope", split="",
        held={"text": question, "image": image, **({"label": answers[0]} if answers else {})},
        extra={"category": category, "question_type": category} if category else {},
    )  # fmt: skip


def _files(location: Path) -> list[Path]:
    if not location.is_dir():
        return [location]
    named = {found[1]: path for path in sorted(location.iterdir()) if (found := _FILE.fullmatch(path.name))}
    return [named[category] for category in _CATEGORIES if category in named]


LAYOUT = Layout(
    __doc__, "{location: pope/output/coco/coco_pope_adversarial.json, image_root: coco/val2014}", looks_like, readings
)
