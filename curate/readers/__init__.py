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

A source adds one module and one entry in ``SOURCES``. Its module also has ``looks_like(probe) -> bool``,
by which ``detect`` recognises its layout; ``EXAMPLE``, an entry of ``sources:`` that `curate sources`
shows; and, if it reads more than its location, ``files(settings) -> list[Path]``.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from curate.readers import tables  # fmt: skip
from curate.readers.base import Probe, take_probe
from curate.readers.images import with_embedded
from curate.readers.layouts import (
    chartqa,
    coco_captions,
    conversations,
    docvqa,
    easy_vqa,
    flickr,
    gqa,
    hub,
    image_folder,
    karpathy,
    mme,
    mmmu,
    pope,
    scienceqa,
    textvqa,
    vizwiz,
    vqa,
    webdataset,
)
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.records import BadRow, Sample

SOURCES: dict[str, ModuleType] = {
    "chartqa": chartqa,
    "coco_captions": coco_captions,
    "conversations": conversations,
    "docvqa": docvqa,
    "easy_vqa": easy_vqa,
    "flickr": flickr,
    "gqa": gqa,
    "hub": hub,
    "image_folder": image_folder,
    "karpathy": karpathy,
    "mme": mme,
    "mmmu": mmmu,
    "pope": pope,
    "scienceqa": scienceqa,
    "table": tables,
    "textvqa": textvqa,
    "vizwiz": vizwiz,
    "vqa": vqa,
    "webdataset": webdataset,
}
# Asked in this order, only when no other layout claims a location: anything with columns is a table.
GENERIC = ("image_folder", "table")
_INSIDE = 20  # files of a folder that an error message looks at
_OTHER_TABLES = (".jsonl", ".csv", ".tsv")
_PACKED = (b"PK\x03\x04", b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"7z\xbc\xaf")
_READABLE = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".tar")


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
    probe = take_probe(location)
    if probe.trouble and not probe.is_file:  # a name that no file can have, or no permission
        raise UserError(f"{location}: {probe.trouble}")
    found = _candidates(probe)
    if found[:1] == ["table"] and any(name.endswith(_OTHER_TABLES) for name in probe.names):
        found = []  # a folder of several sets, one of them in Parquet
    if len(found) == 1:
        return found[0]
    if found:
        raise UserError(
            f"{location}: reads as {' and as '.join(found)}; say which with `layout:` in the recipe, or --as NAME"
        )
    if probe.is_folder:
        inside = _inside(probe.path)
        hint = f"it holds {', '.join(inside)}: give one of these" if inside else "give a file in it"
        raise UserError(f"{location}: a folder of no known layout; {hint} (`curate sources` lists the layouts)")
    if probe.start.startswith(_PACKED):
        raise UserError(f"{location}: is packed; unpack it and give the file or folder inside")
    if probe.is_file:
        keys = ", ".join(list(probe.first or probe.document)[:12])
        why = probe.trouble or (f"its fields are {keys}" if keys else "it holds no row that could be read")
        raise UserError(f"{location}: no known layout; {why} (`curate sources` lists the layouts)")
    raise UserError(f"{location}: no such file or folder")


def other_files(settings: SourceSettings) -> list[Path]:
    """What a source reads beside its location: a second file of annotations, OCR, lists of splits.

    Raises:
        UserError: one that the recipe names is not there.
    """
    module = SOURCES.get(settings.layout or detect(settings.location))
    found: list[Path] = module.files(settings) if module is not None and hasattr(module, "files") else []
    return found


def _candidates(probe: Probe) -> list[str]:
    found = [name for name, module in SOURCES.items() if name not in GENERIC and module.looks_like(probe)]
    return found or [name for name in GENERIC if SOURCES[name].looks_like(probe)][:1]


def _inside(folder: Path) -> list[str]:
    """Files and folders below a folder whose layout is known, as ``name (layout)``."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix in _READABLE)
    known = ((path, _candidates(take_probe(str(path)))) for path in below[:_INSIDE])
    return [f"{path.name} ({names[0]})" for path, names in known if names]


def _finished(rows: Iterator[Sample | BadRow], root: Path, settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Rows with image paths relative to ``root`` and ids as the recipe wants them.

    Ids that were derived from content get ``-2``, ``-3`` … on repetition: equal rows without ids
    are duplicates, not a clash.
    """
    absolute_root = str(root.absolute())
    seen = HashIndex()
    source, split = settings.source or "", settings.split
    for position, row in enumerate(rows):
        if isinstance(row, BadRow):
            yield dataclasses.replace(row, source=source, split=split)
            continue
        source, split = row.source, row.split
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
