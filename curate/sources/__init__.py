"""Raw formats in, samples out; one file per format.

Each module has ``iter_samples(settings) -> Iterator[Sample | BadRow]`` (streaming) and
``image_root(settings) -> Path``, the folder that the samples' image paths are relative to.

Usage::

    opened = open_source(settings)
    for row in opened.rows():
        if isinstance(row, BadRow):
            ...  # row.where, row.reason, row.position: one line of the ledger
        else:
            ...  # a Sample; image paths are relative to opened.image_root

A source adds one module and one entry in ``SOURCES``; ``detect`` recognises its layout.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from curate.embedded import with_embedded
from curate.errors import UserError
from curate.sample import BadRow, Sample
from curate.seen import SeenTexts
from curate.settings import SourceSettings
from curate.sources import conversations, easy_vqa, table

SOURCES: dict[str, ModuleType] = {"conversations": conversations, "easy_vqa": easy_vqa, "table": table}


@dataclass(frozen=True)
class OpenedSource:
    """A source whose layout is known.

    Attributes:
        layout: key of ``SOURCES``.
        image_root: folder that image paths are relative to.
        rows: call it to stream the rows from the start, as often as you like.
    """

    layout: str
    image_root: Path
    rows: Callable[[], Iterator[Sample | BadRow]]


def open_source(settings: SourceSettings) -> OpenedSource:
    """Recognise the layout and prepare streaming.

    Raises:
        UserError: nothing there, an unknown layout name, or no known layout.
    """
    layout = settings.layout or detect(settings.location)
    if layout not in SOURCES:
        raise UserError(f"{settings.location}: unknown layout {layout!r}; known: {', '.join(SOURCES)}")
    module = SOURCES[layout]
    root: Path = module.image_root(settings)
    return OpenedSource(layout, root, lambda: _finished(module.iter_samples(settings), root, settings))


def detect(location: str) -> str:
    """The layout of a file or folder, recognised by its content.

    Raises:
        UserError: nothing there, or nothing that is known.
    """
    path = Path(location)
    if location == "easy_vqa" or any(
        (folder / split / "questions.json").is_file() for folder in (path, path / "data") for split in easy_vqa.SPLITS
    ):
        return "easy_vqa"
    if path.is_dir():
        raise UserError(f"{location}: a folder of no known layout; give a file in it, or one of: {', '.join(SOURCES)}")
    if not path.is_file():
        raise UserError(f"{location}: no such file or folder")
    first = next((row for row in table.iter_rows(path) if not isinstance(row, BadRow)), None)
    if first is None:
        raise UserError(f"{location}: holds no row that could be read")
    values = first[2]
    return "conversations" if {"conversations", "messages"} & values.keys() else "table"


def _finished(rows: Iterator[Sample | BadRow], root: Path, settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Rows with image paths relative to ``root`` and ids as the recipe wants them.

    Ids that were derived from content get ``-2``, ``-3`` … on repetition: equal rows without ids
    are duplicates, not a clash.
    """
    absolute_root = str(root.absolute())
    seen = SeenTexts()
    for position, row in enumerate(rows):
        if isinstance(row, BadRow):
            yield row
            continue
        sample = with_embedded(row, settings.location, position)
        if any(path.startswith("/") for path in sample.image):
            sample = _relative(sample, absolute_root)
        if settings.ids == "position":
            sample = dataclasses.replace(sample, id=f"{sample.id}#{position}")
        elif sample.form.derived_id:
            repeats = seen.get(sample.id) or 0
            seen.put(sample.id, repeats + 1)
            sample = dataclasses.replace(sample, id=f"{sample.id}-{repeats + 1}") if repeats else sample
        yield sample


def _relative(sample: Sample, root: str) -> Sample:
    """Absolute paths below ``root`` made relative; others stay, and preflight refuses them."""
    prefix = root.rstrip("/") + "/"
    paths = tuple(path.removeprefix(prefix) if path.startswith(prefix) else path for path in sample.image)
    form = sample.form
    image = list(sample.image) if form.image_is_list else sample.image[0]
    form = dataclasses.replace(form, verbatim={form.image_key: image, **form.verbatim})
    return dataclasses.replace(sample, image=paths, form=form)
