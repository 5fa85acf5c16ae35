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
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Layout, NameOf, Reading, SecondList
from curate.readers.fields import assumed_question, caption_prompt, own_id, sample, split_in, text
from curate.readers.files.json import RawRow, document_head, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.rows.records import BadRow, Sample

_FOLDERS = ("images", "train2014", "val2014", "test2014", "train2017", "val2017", "test2017", "train", "val", "test")
_PLAIN = {"id", "image_id", "caption"}


def looks_like(probe: Probe) -> bool:
    """Lists of images and of annotations with captions."""
    image, annotation = probe.element("images"), probe.element("annotations")
    return {"id", "file_name"} <= image.keys() and {"image_id", "caption"} <= annotation.keys()


def readings(settings: SourceSettings) -> list[Reading]:
    """Every image with its captions; captions of unknown images are bad rows at the end."""
    path = Path(settings.location)
    captions = _Captions(path)

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        own = own_id(row.fields, "id")
        found = [json.loads(line) for line in captions.take(str(own))]
        extra: dict[str, Any] = {"caption_ids": [caption.get("id") for caption in found]} if found else {}
        if any(caption.keys() - _PLAIN for caption in found):
            extra["annotations"] = found
        prompt = caption_prompt(settings)
        return sample(
            row.fields, settings, question=prompt, answers=tuple(caption["caption"] for caption in found),
            image=name_of(row), own=own, source="coco_captions", split=split_in(path.name), held={}, extra=extra,
            notes=(assumed_question(prompt, "captions"),),
        )  # fmt: skip

    second = SecondList(path, "annotations", "image_id", "id")
    rows = iter_document(path, "images")
    return [Reading(rows, to_sample, _names, _FOLDERS, left_over=captions.left_over(), second=second)]


def _names(row: RawRow) -> Sequence[str]:
    name, url = text(row.fields, "file_name"), row.fields.get("coco_url")
    subset = url.split("/")[-2] if isinstance(url, str) and url.count("/") > 1 else name.split("_")[-2:][0]
    return name, f"{subset}/{name}"


class _Captions:
    """The captions of a file by image, in a temporary SQLite file that is filled on first use."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._database: sqlite3.Connection | None = None
        self._bad: list[BadRow] = []

    def take(self, image: str) -> list[str]:
        """The captions of an image as JSON, in the order of the file."""
        stored = self._filled()
        found = stored.execute("SELECT line FROM captions WHERE image = ? ORDER BY rowid", (image,)).fetchall()
        stored.execute("UPDATE captions SET used = 1 WHERE image = ?", (image,))
        return [line for (line,) in found]

    def left_over(self) -> Iterator[BadRow]:
        """What is not a caption, then captions that were not taken."""
        stored = self._filled()
        yield from self._bad
        for place, image in stored.execute("SELECT place, image FROM captions WHERE NOT used ORDER BY rowid"):
            yield BadRow(place, f"image_id {image} is not among the images", 0)
        stored.close()

    def _filled(self) -> sqlite3.Connection:
        if self._database is None:
            self._database = sqlite3.connect("")  # '' is a temporary file
            self._database.execute("CREATE TABLE captions (image TEXT, line TEXT, place TEXT, used INT DEFAULT 0)")
            if "annotations" in document_head(self._path):
                for row in iter_document(self._path, "annotations"):
                    self._add(row, self._database)
            self._database.execute("CREATE INDEX by_image ON captions (image)")
        return self._database

    def _add(self, row: RawRow | BadRow, database: sqlite3.Connection) -> None:
        if isinstance(row, BadRow):
            self._bad.append(row)
            return
        place = f"{self._path}: annotation {row.position + 1}"
        try:
            line = json.dumps({**row.fields, "caption": text(row.fields, "caption")}, ensure_ascii=False)
            stored = (str(own_id(row.fields, "image_id")), line, place)
        except ValueError as error:
            self._bad.append(BadRow(place, str(error), row.position))
        else:
            database.execute("INSERT INTO captions (image, line, place) VALUES (?, ?, ?)", stored)


LAYOUT = Layout(__doc__, "{location: annotations/captions_val2014.json}", looks_like, readings)
