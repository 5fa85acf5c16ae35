"""Flickr8k and Flickr30k captions: one row an image, its five captions as references.

Three forms of the same list, recognised by the first line: the token file ``1000092795.jpg#0<tab>caption``;
a CSV ``image,caption``; ``results.csv`` with ``image_name| comment_number| comment``. One line of the
published ``results.csv`` lacks a bar (``2199200615.jpg| 4   A dog runs …``) and is read too. Lists
of a split that lie beside it (``Flickr_8k.trainImages.txt``) are used when the recipe names one.
Source: https://shannon.cs.illinois.edu/DenotationGraph/.
"""

from __future__ import annotations

import csv
import itertools
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import assumed_question, caption_prompt
from curate.readers.files.json import RawRow
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.rows.lines import json_lines
from winnow.rows.records import BadRow, Form, Sample, Turn, full_id, majority

_FOLDERS = ("images", "Images", "flickr30k_images", "flickr30k-images", "Flicker8k_Dataset", "Flickr8k_Dataset")
_TOKEN = re.compile(r"(?P<image>[^\t#]+)#\d+\t(?P<caption>.*)")
_BARS = re.compile(r"(?P<image>[^|]+)\|\s*\d+\s*(?:\||\s)\s*(?P<caption>.*)")
_BARS_HEADER = re.compile(r"image_name\s*\|\s*comment_number\s*\|\s*comment")
_LISTS = {"train": "train", "val": "dev", "validation": "dev", "dev": "dev", "test": "test"}


def looks_like(probe: Probe) -> bool:
    """A line of the token file, the header of ``results.csv``, or ``image,caption`` and an image on two lines."""
    lines = probe.start.decode("utf-8-sig", "replace").splitlines()
    if not lines:
        return False
    if re.match(r"[^\t#]+\.jpe?g(\.\d)?#\d\t", lines[0]) or _BARS_HEADER.match(lines[0]):
        return True
    images = [line.partition(",")[0] for line in lines[1:3]]
    return lines[0].strip() == "image,caption" and len(images) == 2 and images[0] == images[1] != ""


def readings(settings: SourceSettings) -> list[Reading]:
    """The file, one row for each run of lines about the same image."""
    path = Path(settings.location)
    size = re.search(r"flickr_?(8k|30k)", str(path.absolute()).lower())
    source = settings.source if settings.source is not None else f"flickr{size[1] if size else ''}"

    def to_sample(row: RawRow, name_of: NameOf) -> Sample:
        captions = row.value
        prompt = caption_prompt(settings)
        return Sample(
            id=full_id(row.key, source, settings.split),
            image=(name_of(row),),
            conversations=(Turn("user", prompt), Turn("assistant", majority(captions))),
            answers=captions,
            source=source,
            split=settings.split,
            form=Form(derived_id=True),  # an image whose lines are not together makes two rows, not a clash
            notes=(assumed_question(prompt, "captions"),),
        )

    return [Reading(_rows(path, settings.split), to_sample, _names, _FOLDERS)]


def _names(row: RawRow) -> Sequence[str]:
    return [row.key]


def _rows(path: Path, split: str) -> Iterator[RawRow | BadRow]:
    """Images of the split as keys, with their captions as values."""
    wanted = _wanted(path, split)
    for image, lines in itertools.groupby(_captions(path), lambda line: getattr(line, "key", None)):
        if image is None:
            yield from (line for line in lines if isinstance(line, BadRow))
        elif wanted(image):
            captions = tuple(line.value for line in lines if isinstance(line, RawRow))
            yield RawRow(captions, str(path), 0, image)


def _captions(path: Path) -> Iterator[RawRow | BadRow]:
    """Each line's image as key and caption as value."""
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as handle:
        header = handle.readline(4096).decode("utf-8-sig", "replace").strip()
    commas, bars = header == "image,caption", _BARS_HEADER.match(header) is not None
    for number, raw in json_lines(path):
        if not raw.strip() or (number == 1 and (commas or bars)):
            continue
        try:
            line = raw.decode().strip("\r\n")
            found = _comma_separated(line) if commas else (_BARS if bars else _TOKEN).fullmatch(line)
        except (UnicodeDecodeError, csv.Error) as error:
            yield BadRow(f"{path}:{number}", str(error), number)
            continue
        if found and found["image"].strip() and found["caption"].strip():
            yield RawRow(found["caption"], f"{path}:{number}", number, found["image"].strip())
        else:
            yield BadRow(f"{path}:{number}", "not an image and its caption", number)


def _comma_separated(line: str) -> dict[str, str]:
    """A caption that holds commas is not always quoted."""
    image, *caption = next(csv.reader([line]))
    return {"image": image, "caption": ",".join(caption)}


def _wanted(path: Path, split: str) -> Callable[[str], bool]:
    """Whether an image is of the split, by the list that lies beside the file; without a list all are."""
    name = _LISTS.get(split, split)
    for listed in (path.parent / f"Flickr_8k.{name}Images.txt", path.parent / f"{name}.txt") if name else ():
        if listed.is_file() and listed != path:
            images = HashIndex()
            for line in listed.read_text(encoding="utf-8", errors="replace").splitlines():
                stem = line.strip()
                images.add(stem if stem.lower().endswith((".jpg", ".jpeg")) else f"{stem}.jpg", 0)
            return lambda image: images.get(image) is not None
    return lambda image: True


LAYOUT = Layout(
    __doc__,
    "{location: flickr30k/results_20130124.token, image_root: flickr30k/flickr30k-images}",
    looks_like,
    readings,
)
