"""COCO captions, and what has their form (VizWiz captions, nocaps): one row an image, every caption a reference.

``captions_val2014.json``: ``{"images": [{"id", "file_name", "coco_url", …}], "annotations":
[{"id", "image_id", "caption"}]}``; test sets have no annotations. The captions of an image stand
anywhere in the file: they are put into a temporary SQLite file first. Their ids are in
``meta.caption_ids``, and whatever else they have in ``meta.annotations``. Images are named as in the
file, also below ``val2014/`` and the like. Source: https://cocodataset.org/#format-data.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, own_id, place, sample, samples, split_in, text
from curate.readers.json import Value, document_head, iter_document
from curate.readers.tables import CAPTION_QUESTION
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: annotations/captions_val2014.json}"
_FOLDERS = ("images", "train2014", "val2014", "test2014", "train2017", "val2017", "test2017", "train", "val", "test")
_PLAIN = {"id", "image_id", "caption"}


def looks_like(probe: Probe) -> bool:
    """Lists of images and of annotations with captions."""
    image, annotation = probe.element("images"), probe.element("annotations")
    return {"id", "file_name"} <= image.keys() and {"image_id", "caption"} <= annotation.keys()


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every image with its captions; captions of no image are ``BadRow`` at the end.

    Raises:
        UserError: the file is missing or broken.
    """
    path = Path(settings.location)
    name = _placing(settings).name
    with closing(sqlite3.connect("")) as captions:  # '' is a temporary file
        bad = list(_fill(captions, path))
        rows = 0

        def make(row: Mapping[str, Any], where: Value) -> Sample:
            own = own_id(row, "id")
            found = [json.loads(line) for line in _take(captions, str(own))]
            extra: dict[str, Any] = {"caption_ids": [one.get("id") for one in found]} if found else {}
            if any(one.keys() - _PLAIN for one in found):
                extra["annotations"] = found
            return sample(
                row, question=CAPTION_QUESTION, answers=tuple(one["caption"] for one in found), own=own,
                image=name(row), settings=settings, source="coco_captions", split=split_in(path.name), held=(),
                extra=extra,
            )  # fmt: skip

        for made in samples(iter_document(path, "images"), make):
            yield made
            rows += 1
        for one in bad:
            yield BadRow(one.where, one.reason, rows)
            rows += 1
        for where, image in captions.execute("SELECT place, image FROM captions WHERE NOT used ORDER BY rowid"):
            yield BadRow(where, f"image_id {image} is none of the images", rows)
            rows += 1


def _fill(captions: sqlite3.Connection, path: Path) -> Iterator[BadRow]:
    """Store every caption by its image; yield those that are none."""
    captions.execute("CREATE TABLE captions (image TEXT, line TEXT, place TEXT, used INT DEFAULT 0)")
    if "annotations" in document_head(path):
        for row in iter_document(path, "annotations"):
            if isinstance(row, BadRow):
                yield row
                continue
            try:
                if not isinstance(row.value, dict):
                    raise ValueError("not a JSON object")
                line = json.dumps({**row.value, "caption": text(row.value, "caption")}, ensure_ascii=False)
                stored = (str(own_id(row.value, "image_id")), line, f"{path}: annotation {row.position + 1}")
            except ValueError as error:
                yield BadRow(f"{path}: annotation {row.position + 1}", str(error), row.position)
            else:
                captions.execute("INSERT INTO captions (image, line, place) VALUES (?, ?, ?)", stored)
    captions.execute("CREATE INDEX by_image ON captions (image)")


def _take(captions: sqlite3.Connection, image: str) -> list[str]:
    """The captions of an image in the order of the file."""
    found = captions.execute("SELECT line FROM captions WHERE image = ? ORDER BY rowid", (image,)).fetchall()
    captions.execute("UPDATE captions SET used = 1 WHERE image = ?", (image,))
    return [line for (line,) in found]


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        name, url = text(row, "file_name"), row.get("coco_url")
        subset = url.split("/")[-2] if isinstance(url, str) and url.count("/") > 1 else name.split("_")[-2:][0]
        return name, f"{subset}/{name}"

    return place(settings, iter_document(Path(settings.location), "images"), names, _FOLDERS)
