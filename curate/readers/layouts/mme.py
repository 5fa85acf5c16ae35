"""MME: yes-or-no questions, two for each image, in a folder for each category.

``<category>/<name>.txt`` holds lines ``question<tab>Yes``, the image is ``<name>.jpg`` or ``.png`` beside
it (code_reasoning, color, count, OCR …) or, for artwork, celebrity, landmark, posters and scene, in
``<category>/images/`` with the texts in ``<category>/questions_answers_YN/``. The location is the folder of
the categories, the release with that folder (``MME_Benchmark``) in it, or one category. Ids are
``mme/<category>/<name>/<line>``.
Source: https://github.com/BradyFU/Awesome-Multimodal-Large-Language-Models.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading, given_root
from curate.readers.files.json import RawRow
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.lines import json_lines
from winnow.rows.records import Sample, Turn, full_id

_TEXTS, _IMAGES = "questions_answers_YN", "images"
_SUFFIXES = (".jpg", ".png", ".jpeg", ".JPG", ".PNG", ".webp")
_LOOKED_AT = 50


def looks_like(probe: Probe) -> bool:
    """A folder whose texts are questions with Yes or No behind a tab."""
    if not probe.is_folder:
        return False
    root = _root(probe.path)
    folders = sorted(path for path in root.iterdir() if path.is_dir())
    for folder in [root, *folders[:_LOOKED_AT]]:
        for path in _texts(folder)[:1]:
            with path.open("rb") as handle:
                answer = handle.readline(4096).decode("utf-8", "replace").strip().rpartition("\t")
            if answer[0] and answer[2].strip().lower() in ("yes", "no"):
                return True
    return False


def image_root(settings: SourceSettings) -> Path:
    """The folder of the categories."""
    return given_root(settings) or _root(Path(settings.location))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Every file of questions, by category and name.

    Raises:
        UserError: there is no such folder.
    """
    if not Path(settings.location).is_dir():
        raise UserError(f"{settings.location}: no such folder")
    for folder in _categories(_root(Path(settings.location))):
        for path in _texts(folder):
            image = _image(folder, path).relative_to(image_root(settings)).as_posix()
            yield Reading(_lines(path), functools.partial(_sample, settings, folder.name, path.stem, image))


def _lines(path: Path) -> Iterator[RawRow]:
    for number, line in json_lines(path):
        if line.strip():
            yield RawRow(line.decode("utf-8", "replace").rstrip(), f"{path}:{number}", number - 1)


def _sample(settings: SourceSettings, category: str, name: str, image: str, row: RawRow, _: NameOf) -> Sample:
    question, tab, answer = row.value.rpartition("\t")
    if not tab or not question.strip() or "\ufffd" in question:
        raise ValueError("not a question and an answer with a tab between")
    source = "mme" if settings.source is None else settings.source
    return Sample(
        id=full_id(f"{category}/{name}/{row.position}", source, settings.split),
        image=(image,),
        conversations=(Turn("user", question), Turn("assistant", answer)),
        answers=(answer,),
        source=source,
        split=settings.split,
        meta={"category": category, "question_type": category},
    )


def _root(location: Path) -> Path:
    """The folder of the categories in a release, which also holds a tool; else the location itself."""
    return inner if (inner := location / "MME_Benchmark").is_dir() else location


def _categories(location: Path) -> list[Path]:
    """Folders with texts, sorted; the location itself if it is one."""
    if _texts(location):
        return [location]
    return sorted(folder for folder in location.iterdir() if folder.is_dir() and _texts(folder))


def _texts(folder: Path) -> list[Path]:
    inner = folder / _TEXTS
    return sorted((inner if inner.is_dir() else folder).glob("*.txt"))


def _image(folder: Path, text: Path) -> Path:
    """The image of a text; its most likely name if the file is missing."""
    inner = folder / _IMAGES
    where = inner if inner.is_dir() else text.parent
    options = [where / f"{text.stem}{suffix}" for suffix in _SUFFIXES]
    return next((path for path in options if path.is_file()), options[0])


LAYOUT = Layout(
    __doc__, "{location: MME_Benchmark_release_version/MME_Benchmark}", looks_like, readings, image_root=image_root
)
