"""easy-VQA: simple shapes and questions about them, as its Python package carries it.

Layout: ``<split>/questions.json`` is a list of ``[question, answer, image id]``, images are
``<split>/images/<image id>.png``. Source: https://github.com/vzhou842/easy-VQA.
"""

from __future__ import annotations

import functools
import importlib.util
from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.files.json import RawRow, iter_json
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import Sample, Turn

SPLITS = ("train", "test")
_COLORS = {"black", "blue", "brown", "gray", "green", "red", "teal", "yellow"}


def looks_like(probe: Probe) -> bool:
    """The package's name, or a folder with ``<split>/questions.json``."""
    if not probe.is_folder:
        return probe.location == "easy_vqa"
    folders = (probe.path, probe.path / "data")
    return any((folder / split / "questions.json").is_file() for folder in folders for split in SPLITS)


def image_root(settings: SourceSettings) -> Path:
    """The data folder: the location itself, its ``data`` folder, or the installed package's.

    Raises:
        UserError: neither a folder with questions nor the installed package.
    """
    location = Path(settings.location)
    for folder in (location, location / "data"):
        if any((folder / split / "questions.json").is_file() for split in SPLITS):
            return folder
    package = importlib.util.find_spec("easy_vqa") if settings.location == "easy_vqa" else None
    if package is None or package.origin is None:
        raise UserError(
            f"{settings.location}: no train/questions.json or test/questions.json below it;"
            " give easy-VQA's data folder, or install the package easy-vqa and say easy_vqa"
        )
    return Path(package.origin).parent / "data"


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """The file of ``settings.split``, of both splits if it is empty; ids are ``easy_vqa/<split>/<row>``."""
    root = image_root(settings)
    source = "easy_vqa" if settings.source is None else settings.source
    for split in [settings.split] if settings.split else SPLITS:
        yield Reading(iter_json(root / split / "questions.json"), functools.partial(_sample, source, split))


def _sample(source: str, split: str, row: RawRow, name_of: NameOf) -> Sample:
    match row.value:
        case [str(question), str(answer), int(image_id)]:
            return Sample(
                id=f"{source}/{split}/{row.position}",
                image=(f"{split}/images/{image_id}.png",),
                conversations=(Turn("user", question), Turn("assistant", answer)),
                answers=(answer,),
                source=source,
                split=split,
                meta={"image_id": image_id, "question_type": question_type(answer)},
            )
    raise ValueError("not a list of question, answer and image id")


def question_type(answer: str) -> str:
    """``yes_no``, ``color`` or ``shape``: what the answer says the question asked for."""
    if answer in ("yes", "no"):
        return "yes_no"
    return "color" if answer in _COLORS else "shape"


LAYOUT = Layout(__doc__, "{location: easy_vqa, split: train}", looks_like, readings, image_root=image_root)
