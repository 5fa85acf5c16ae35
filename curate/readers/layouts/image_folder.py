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
import functools
import itertools
import os
import posixpath
from collections.abc import Iterator
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading, given_or_own_folder
from curate.readers.columns import Columns, source_name
from curate.readers.fields import LABEL_QUESTION, assumed_question, caption_prompt
from curate.readers.json import RawRow
from curate.readers.location import Probe, split_of
from curate.readers.rows import iter_rows
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.records import Sample, Turn, full_id

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_IMAGES = (".jpg", ".jpeg", ".png", ".gif", ".webp", ".bmp", ".tif", ".tiff", ".jp2", ".avif", ".ppm", ".heic")
_TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
_LOOKED_AT = 2000


def looks_like(probe: Probe) -> bool:
    """A folder with a metadata file or images in it or further down, and no other table about them."""
    if probe.is_file:
        return probe.path.name in METADATA and bool({"file_name", "file_names"} & probe.first.keys())
    if not probe.is_folder:
        return False
    if any(name.endswith(_TABLES) and name not in METADATA for name in probe.names):
        return False
    names = (name for _, _, found in os.walk(probe.path) for name in found)
    return any(name in METADATA or _is_image(name) for name in itertools.islice(names, _LOOKED_AT))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Every metadata file, or every image; of ``settings.split`` only, where folders tell the splits."""
    folder = given_or_own_folder(settings)
    location = Path(settings.location)
    tables = [location] if location.is_file() else sorted(_walk(folder, METADATA))
    splits = {split for path in tables if (split := _split(path.parent, folder))}
    for path in tables:
        split = _split(path.parent, folder)
        if settings.split in splits and split != settings.split:
            continue
        read = functools.partial(iter_rows, path)
        given = settings.model_copy(update={"split": settings.split or split})
        columns = Columns(given, read, near=path.parent, bare=True)
        below = path.parent.relative_to(folder).as_posix()
        yield Reading(read(), functools.partial(_sample_of_metadata, columns, below))
    if not tables:
        yield Reading(_images(folder, settings.split), functools.partial(_sample_of_image, settings))


def _sample_of_metadata(columns: Columns, below: str, row: RawRow, name_of: NameOf) -> Sample:
    """Image paths are relative to the metadata's own folder ``below``; embedded ones are named by content."""
    sample = columns.sample(row)
    if below == ".":
        return sample
    paths = (path if path in sample.embedded else posixpath.join(below, path) for path in sample.image)
    return dataclasses.replace(sample, image=tuple(paths))


def _images(folder: Path, split: str) -> Iterator[RawRow]:
    """Every image below ``folder``, as path relative to it, in the order of the paths."""
    inner = {split_of(path) for path in folder.iterdir() if path.is_dir()}
    for path in _walk(folder, None):
        inside = path.relative_to(folder)
        if split not in inner or split == _first_split(inside):
            yield RawRow(inside, str(path), 0)


def _first_split(inside: Path) -> str:
    return split_of(Path(inside.parts[0])) if len(inside.parts) > 1 else ""


def _sample_of_image(settings: SourceSettings, row: RawRow, name_of: NameOf) -> Sample:
    """An image, labelled by the folder that it lies in."""
    inside: Path = row.value
    source, split = source_name(settings), _first_split(inside)
    folders = inside.parts[:-1]
    label = folders[-1] if len(folders) > (1 if split else 0) else ""
    question, what = (LABEL_QUESTION, "classes") if label else (caption_prompt(settings), "images without a text")
    answer = (Turn("assistant", label),) if label else ()
    return Sample(
        id=full_id(inside.as_posix(), source, settings.split),
        image=(inside.as_posix(),),
        conversations=(Turn("user", question), *answer),
        answers=(label,) if label else (),
        source=source,
        split=settings.split or split,
        meta={"label": label} if label else {},
        notes=(assumed_question(question, what),),
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


LAYOUT = Layout(__doc__, "{location: my-images}", looks_like, readings, image_root=given_or_own_folder, generic=True)
