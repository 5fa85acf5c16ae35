"""POPE: is there such an object in the image? Yes or no.

JSON lines ``{"question_id", "image", "image_id", "text", "label"}`` (``image_id`` may be absent), one file a
way of choosing the object: ``coco_pope_random.json``, ``…_popular.json``, ``…_adversarial.json``. Ids count anew
in each file, so the way becomes part of the id and ``meta.category``. The location is a file, or the folder of all
three. LLaVA's ``llava_pope_test.jsonl`` (``category`` in each row, no label) is read too.
Source: https://github.com/RUCAIBox/POPE.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, own_id, place, references, sample, samples, text
from curate.readers.json import Value, iter_json
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: pope/output/coco/coco_pope_adversarial.json, image_root: coco/val2014}"
_CATEGORIES = ("random", "popular", "adversarial")
_FILE = re.compile(rf"\w+_pope_(?:\w+_)?({'|'.join(_CATEGORIES)})\.jsonl?")


def looks_like(probe: Probe) -> bool:
    """Rows of ``question_id``, ``image`` and ``text`` with a label yes or no, or one of POPE's categories."""
    if probe.is_folder:
        return any(_FILE.fullmatch(name) for name in probe.names)
    row = probe.first if probe.is_json else {}
    asked = {"question_id", "image", "text"} <= row.keys()
    return asked and (row.get("label") in ("yes", "no") or row.get("category") in _CATEGORIES)


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question.

    Raises:
        UserError: a file is missing.
    """
    name = _placing(settings).name
    position = 0
    for file in _files(Path(settings.location)):
        of_file = next((one for one in _CATEGORIES if one in file.stem), "")

        def make(row: Mapping[str, Any], where: Value, of_file: str = of_file) -> Sample:
            category = str(row.get("category") or of_file)
            answers, placed = references(row.get("label")), name(row)
            held = {"text", *(["label"] if [row.get("label")] == list(answers) else [])}
            held |= {"image"} if placed == row["image"] else set()
            number = own_id(row, "question_id")
            return sample(
                row, question=text(row, "text"), answers=answers, own=f"{category}/{number}" if category else number,
                image=placed, settings=settings, source="pope", split="", held=held,
                extra={"category": category, "question_type": category} if category else {},
            )  # fmt: skip

        for made in samples(iter_json(file), make, position):
            yield made
            position += 1


def _files(location: Path) -> list[Path]:
    if not location.is_dir():
        return [location]
    named = {found[1]: path for path in sorted(location.iterdir()) if (found := _FILE.fullmatch(path.name))}
    return [named[category] for category in _CATEGORIES if category in named]


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        image = text(row, "image")
        return image, f"val2014/{image}"

    return place(settings, iter_json(_files(Path(settings.location))[0]), names)
