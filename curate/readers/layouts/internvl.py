"""InternVL's meta file: a JSON object that names several sets, each with its annotations and image folder.

``{"coco_caption": {"root": "data/coco/", "annotation": "data/coco/train.jsonl", "data_augment": false,
"repeat_time": 1, "length": 566747}, …}``. Each annotation file is read as ``conversations``; the name of its set is
the source of its rows. ``root`` and ``annotation`` are relative to ``image_root``, by default the meta file's folder;
InternVL resolves them from the folder in which training starts. Rows are read once, whatever ``repeat_time`` says.
Source: https://github.com/OpenGVLab/InternVL, internvl_chat/shell/data.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from curate.readers.base import Layout, NameOf, Reading, given_or_own_folder
from curate.readers.fields import conversation
from curate.readers.files.json import RawRow, iter_document, iter_json
from curate.readers.images.store import is_encoded
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.media.locate import is_url
from winnow.remote.mirror_files import is_file
from winnow.rows.records import BadRow, Sample

_FILES = ("videos", "audios", "rejected_images")


def looks_like(probe: Probe) -> bool:
    """A JSON object whose members have ``root`` and ``annotation``."""
    return {"root", "annotation"} <= probe.member().keys()


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """The annotations of each set, in order.

    Raises:
        UserError: the meta file, or an annotation file that it names, is missing or lies outside the image root.
    """
    for name, entry in _sets(settings):
        source = name if settings.source is None else f"{settings.source}/{name}"
        rows = iter_json(_annotation(settings, name, entry))
        repeats = entry.get("repeat_time", 1)
        notes = (f"rows of {name} are read once (its repeat_time is {repeats})",) if repeats != 1 else ()
        yield Reading(rows, functools.partial(_sample, settings.split, source, str(entry["root"]), notes))


def annotation_files(settings: SourceSettings) -> list[Path]:
    """The annotation files."""
    return [_annotation(settings, name, entry) for name, entry in _sets(settings)]


def _sets(settings: SourceSettings) -> Iterator[tuple[str, Mapping[str, Any]]]:
    path = Path(settings.location)
    for member in iter_document(path):
        if isinstance(member, BadRow):
            raise UserError(f"{member.where}: {member.reason}")
        entry = member.value if isinstance(member.value, dict) else {}
        if not isinstance(entry.get("annotation"), str) or not isinstance(entry.get("root"), str):
            raise UserError(f"{path}: {member.key!r} needs the texts 'root' and 'annotation'")
        yield member.key, entry


def _annotation(settings: SourceSettings, name: str, entry: Mapping[str, Any]) -> Path:
    root = given_or_own_folder(settings)
    path = root / str(entry["annotation"])
    try:
        inside = path.resolve().is_relative_to(root.resolve())
        found = inside and is_file(path)
    except (OSError, ValueError, RuntimeError):  # a name that no file can have
        inside = found = False
    if not inside or not found:
        problem = "is no file" if inside else "lies outside"
        raise UserError(
            f"{settings.location}: {entry['annotation']!r} of {name!r} {problem} (looked for in {root}); set image_root"
            " to the folder from which InternVL is trained"
        )
    return path


def _sample(split: str, source: str, root: str, notes: tuple[str, ...], row: RawRow, _: NameOf) -> Sample:
    made = conversation(row.fields, row.where, source=source, split=split)
    files = {key: [_below(root, file) for file in made.meta[key]] for key in _FILES if key in made.meta}
    image = tuple(_below(root, path) for path in made.image)
    return dataclasses.replace(made, image=image, meta={**made.meta, **files}, notes=(*made.notes, *notes))


def _below(root: str, file: Any) -> Any:
    """A path relative to the image root instead of a set's own; frames of a video one by one."""
    if isinstance(file, list):
        return [_below(root, frame) for frame in file]
    if is_url(file) or is_encoded(file) or file.startswith("/"):
        return file
    return f"{root.rstrip('/')}/{file}" if root else file


LAYOUT = Layout(
    __doc__,
    "{location: internvl_1_2_finetune.json, image_root: internvl_chat}",
    looks_like,
    readings,
    image_root=given_or_own_folder,
    other_files=annotation_files,
)
