"""Image folders as Hugging Face's ``datasets`` reads them.

With ``metadata.jsonl``, ``.csv`` or ``.parquet`` anywhere below the folder: a row each, its image in
``file_name`` (a list in ``file_names``), relative to the metadata's own folder; the other columns are
those of ``table``. Without metadata: every image below the folder is a row, and its own folder is its
label (``train/dog/1.png`` is a dog), unless that is the location or a split. A metadata folder or path
part named ``train``, ``validation``, ``test`` … is the split.
Source: https://huggingface.co/docs/datasets/image_dataset.
"""

from __future__ import annotations

import dataclasses
import itertools
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from curate.readers.base import Probe, given_root, split_of
from curate.readers.tables import CAPTION_QUESTION, COLUMN_NAMES, iter_rows, samples_of, source_name
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.records import BadRow, Sample, Turn, full_id

EXAMPLE = "{location: my-images}"
LABEL_QUESTION = "What is shown in the image?"
METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".ppm", ".heic")
_LABELS = ("label", "class", "class_name", "category")
_TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
_LOOKED_AT = 2000


def looks_like(probe: Probe) -> bool:
    """A folder with a metadata file or images in it or further down, and no other table that tells about them."""
    if probe.is_file:
        return probe.path.name in METADATA and bool({"file_name", "file_names"} & probe.first.keys())
    if not probe.is_folder:
        return False
    if any(name.endswith(_TABLES) and name not in METADATA for name in probe.names):
        return False
    names = (name for _, _, found in os.walk(probe.path) for name in found)
    return any(name in METADATA or _is_image(name) for name in itertools.islice(names, _LOOKED_AT))


def image_root(settings: SourceSettings) -> Path:
    """The folder itself."""
    location = Path(settings.location)
    return given_root(settings) or (location if location.is_dir() else location.parent)


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Rows of every metadata file, or of every image; of ``settings.split`` only, where folders tell the splits.

    Raises:
        UserError: no such folder, or a metadata file cannot be read.
    """
    folder = image_root(settings)
    location = Path(settings.location)
    tables = [location] if location.is_file() else sorted(_walk(folder, METADATA))
    splits = {split for path in tables if (split := _split(path.parent, folder))}
    position = 0
    for path in tables:
        split = _split(path.parent, folder)
        if settings.split in splits and split != settings.split:
            continue
        for row in _rows(path, settings.model_copy(update={"split": settings.split or split}), folder):
            yield dataclasses.replace(row, position=position) if isinstance(row, BadRow) else row
            position += 1
    if not tables:
        yield from _by_folder(folder, settings)


def _rows(path: Path, settings: SourceSettings, folder: Path) -> Iterator[Sample | BadRow]:
    below = path.parent.relative_to(folder).as_posix()
    for row in samples_of(_labelled(iter_rows(path)), settings):
        if isinstance(row, BadRow):
            yield row
            continue
        # Images of the store are named by content; those of the folder are relative to the metadata's own.
        image = tuple(one if one in row.embedded else posixpath.join(below, one) for one in row.image)
        yield row if below == "." else dataclasses.replace(row, image=image)


def _labelled(
    rows: Iterator[tuple[str, int, dict[str, Any]] | BadRow],
) -> Iterator[tuple[str, int, dict[str, Any]] | BadRow]:
    """Rows that have a label and no text get a question and an answer; those with neither, an empty caption."""
    texts = {name for role in ("answer", "answers", "caption") for name in COLUMN_NAMES[role]}
    for row in rows:
        if isinstance(row, BadRow):
            yield row
            continue
        where, position, values = row
        lower = {name.lower(): name for name in values}
        if texts.isdisjoint(lower) and not {"conversations", "messages"} & values.keys():
            label = next((lower[name] for name in _LABELS if name in lower), None)
            answer = str(values[label]) if label and values[label] is not None else ""
            values = {**values, "question": LABEL_QUESTION if answer else CAPTION_QUESTION, "answer": answer}
        yield where, position, values


def _by_folder(folder: Path, settings: SourceSettings) -> Iterator[Sample]:
    """Every image below ``folder`` in the order of its path, labelled by the folder it lies in."""
    source = source_name(settings)
    inner = {split_of(path) for path in folder.iterdir() if path.is_dir()}
    for path in _walk(folder, None):
        inside = path.relative_to(folder)
        parts = list(inside.parts[:-1])
        split = split_of(Path(parts[0])) if parts else ""
        if settings.split in inner and split != settings.split:
            continue
        label = parts[-1] if len(parts) > (1 if split else 0) else ""
        answer = (Turn("assistant", label),) if label else ()
        yield Sample(
            id=full_id(inside.as_posix(), source, settings.split),
            image=(inside.as_posix(),),
            conversations=(Turn("user", LABEL_QUESTION if label else CAPTION_QUESTION), *answer),
            answers=(label,) if label else (),
            source=source,
            split=settings.split or split,
            meta={"label": label} if label else {},
        )


def _walk(folder: Path, names: tuple[str, ...] | None) -> Iterator[Path]:
    """Files of these names, or all images, in order; holds one folder's names at a time."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for where, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        for name in sorted(files):
            if name in names if names is not None else _is_image(name):
                yield Path(where, name)


def _split(folder: Path, root: Path) -> str:
    parts = folder.relative_to(root).parts if folder.is_relative_to(root) else ()
    return next((split for part in parts if (split := split_of(Path(part)))), "")


def _is_image(name: str) -> bool:
    return name.lower().endswith(_IMAGES) and not name.startswith(".")
