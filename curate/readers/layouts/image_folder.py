"""Image folders as Hugging Face's ``datasets``, kohya's scripts and img2dataset write them.

With ``metadata.jsonl``, ``.csv`` or ``.parquet`` anywhere below the folder: a row each, its image in
``file_name`` (a list in ``file_names``), relative to the metadata's own folder; the other columns are
those of ``table``. Without metadata: every image below the folder is a row; files without an ending are images
if they begin as one. ``1.txt`` or ``1.caption`` beside ``1.jpg`` is its caption, and ``1.json`` holds its caption
and more, as img2dataset writes it. Where there is no such file, an image's own folder is its label
(``train/dog/1.png`` is a dog), unless that is the location, a split, or a name such as ``images``; kohya's ``10_dog``
(10 repeats) is ``dog``. A metadata folder or path part named ``train``, ``validation``, ``test`` … is the split.
Sources: https://huggingface.co/docs/datasets/image_dataset, https://github.com/rom1504/img2dataset,
https://github.com/kohya-ss/sd-scripts.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import itertools
import os
import posixpath
import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading, given_or_own_folder, links_within
from curate.readers.fields import LABEL_QUESTION, assumed_question, caption_prompt
from curate.readers.files.json import RawRow
from curate.readers.files.rows import iter_rows
from curate.readers.images.sidecars import ENDINGS, Sidecars
from curate.readers.location import Probe, split_of
from curate.readers.tables.columns import Columns, source_name
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.media.images import IMAGE_SUFFIXES, LINKED_OUT, suffix_of
from winnow.media.locate import is_text
from winnow.rows.records import BadRow, Sample, Turn, full_id

METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
_TABLES = (".json", ".jsonl", ".csv", ".tsv", ".parquet")
# Endings of files that lie between images and are not looked into.
_OTHERS = frozenset(
    {*_TABLES, *ENDINGS, ".md", ".xml", ".yaml", ".yml", ".html", ".npy", ".npz", ".pt", ".safetensors", ".zip",
     ".tar", ".py", ".log"}
)  # fmt: skip
_SHARD = re.compile(r"(\d+)(_stats\.json|\.parquet)")  # img2dataset's, beside the folder of that number
_NO_CLASS = frozenset(
    {
        "data", "dataset", "files", "frames", "image", "images", "img", "imgs", "jpeg", "jpegimages", "jpg", "photos",
        "pictures", "pics", "png", "raw",
    }
)  # fmt: skip
_REPEATS = re.compile(r"\d+_(?=\D)")
_LOOKED_AT = 2000


def looks_like(probe: Probe) -> bool:
    """A folder with a metadata file or images in it or further down, and no other table about them."""
    if probe.is_file:
        return probe.path.name in METADATA and bool({"file_name", "file_names"} & probe.first.keys())
    if not probe.is_folder:
        return False
    stems = {name.rpartition(".")[0] for name in probe.names if Path(name).suffix.lower() in IMAGE_SUFFIXES}
    if any(_is_table(name, stems, probe.path) for name in probe.names):
        return False
    files = (Path(where, name) for where, _, found in os.walk(probe.path) for name in found)
    return any(file.name in METADATA or _is_image(file) for file in itertools.islice(files, _LOOKED_AT))


def _is_table(name: str, stems: Collection[str], folder: Path) -> bool:
    """Whether a file is a table about the images: neither metadata, nor about one image, nor of img2dataset."""
    if not name.endswith(_TABLES) or name in METADATA:
        return False
    if (shard := _SHARD.fullmatch(name)) and (folder / shard[1]).is_dir():
        return False
    stem, _, ending = name.rpartition(".")
    beside = stem in stems or any((folder / f"{stem}{suffix}").is_file() for suffix in IMAGE_SUFFIXES)
    return not (ending == "json" and beside)


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Every metadata file, or every image; of ``settings.split`` only, where folders tell the splits."""
    folder = given_or_own_folder(settings)
    location = Path(settings.location)
    tables = [location] if location.is_file() else sorted(_tables(folder))
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
        beside = Sidecars(folder, links_within(folder, settings))
        yield Reading(_images(folder, settings), functools.partial(_sample_of_image, settings, beside))


def _sample_of_metadata(columns: Columns, below: str, row: RawRow, name_of: NameOf) -> Sample:
    """Image paths are relative to the metadata's own folder ``below``; embedded ones are named by content."""
    sample = columns.sample(row)
    if below == ".":
        return sample
    paths = (path if path in sample.embedded else posixpath.join(below, path) for path in sample.image)
    return dataclasses.replace(sample, image=tuple(paths))


@dataclass(frozen=True, slots=True)
class _File:
    """An image: its path relative to the folder, and the endings of the texts that lie beside it."""

    inside: Path
    beside: tuple[str, ...]


def _images(folder: Path, settings: SourceSettings) -> Iterator[RawRow | BadRow]:
    """Every image below ``folder``, in the order of the paths."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    below = (Path(where, name) for where, folders, _ in os.walk(folder) for name in folders)
    inner = {split for path in itertools.islice(below, _LOOKED_AT) if (split := split_of(path))}
    for row in _walk(folder, settings):
        if isinstance(row, BadRow) or settings.split not in inner or settings.split == _split_in(row.value.inside):
            yield row


def _walk(folder: Path, settings: SourceSettings) -> Iterator[RawRow | BadRow]:
    """Holds one folder's names at a time."""
    bound, seen = links_within(folder, settings), set[Path]()
    for where, folders, names in os.walk(folder, followlinks=True):
        linked = {name: Path(where, name).resolve() for name in folders if Path(where, name).is_symlink()}
        left_out = {name for name, real in linked.items() if not real.is_relative_to(bound)}
        for name in sorted(left_out):
            yield BadRow(f"{where}/{name}", LINKED_OUT, 0)
        # A folder that a link leads to is read once, and not where it is read without the link too.
        again = {name for name, real in linked.items() if real in seen or real.is_relative_to(folder.resolve())}
        seen.update(linked.values())
        folders[:] = sorted(name for name in folders if name[0] != "." and name not in left_out | again)
        yield from _in_folder(Path(where), folder, set(names))


def _in_folder(where: Path, folder: Path, names: Collection[str]) -> Iterator[RawRow | BadRow]:
    for name in sorted(names):
        if name.startswith(".") or not _is_image(where / name):
            continue
        path = where / name
        if not is_text(str(path)):
            yield BadRow(str(path).encode(errors="replace").decode(), "the file's name is not UTF-8", 0)
            continue
        beside = tuple(ending for ending in ENDINGS if f"{path.stem}{ending}" in names)
        yield RawRow(_File(path.relative_to(folder), beside), str(path), 0)


def _split_in(inside: Path) -> str:
    """The split that one of its folders names."""
    return next((split for part in inside.parts[:-1] if (split := split_of(Path(part)))), "")


def _sample_of_image(settings: SourceSettings, sidecars: Sidecars, row: RawRow, name_of: NameOf) -> Sample:
    """An image with the text beside it, or labelled by the folder that it lies in.

    Raises:
        ValueError: a text beside it cannot be read.
    """
    file: _File = row.value
    inside = file.inside
    source, split = source_name(settings), _split_in(inside)
    text = sidecars.text(inside, file.beside)
    own = inside.parts[-2] if len(inside.parts) > 1 else ""
    named = "" if text is not None or split_of(Path(own)) or own.lower() in _NO_CLASS else own
    label = _REPEATS.sub("", named, count=1) if _REPEATS.match(named) else named
    answer = label if text is None else text.caption
    kind = "classes" if label else "captions" if answer else "images without a text"
    question = LABEL_QUESTION if label else caption_prompt(settings)
    meta = {"label": label, **({"folder": named} if label != named else {})} if label else {}
    return Sample(
        id=full_id(inside.as_posix(), source, settings.split),
        image=(inside.as_posix(),),
        conversations=(Turn("user", question), *((Turn("assistant", answer),) if answer else ())),
        answers=(answer,) if answer else (),
        source=source,
        split=settings.split or split,
        meta=meta if text is None else dict(text.meta),
        unclaimed=() if text is None else text.unclaimed,
        notes=(assumed_question(question, kind),),
    )


def _tables(folder: Path) -> Iterator[Path]:
    """The metadata files below a folder."""
    if not folder.is_dir():
        raise UserError(f"{folder}: no such folder")
    for where, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not name.startswith(".")]
        yield from (Path(where, name) for name in files if name in METADATA)


def _split(folder: Path, root: Path) -> str:
    return _split_in(folder.relative_to(root) / "metadata") if folder.is_relative_to(root) else ""


def _is_image(file: Path) -> bool:
    """By its ending; without one that is known, by how it begins."""
    suffix = file.suffix.lower()
    if suffix in IMAGE_SUFFIXES or suffix in _OTHERS:
        return suffix in IMAGE_SUFFIXES
    try:
        with file.open("rb") if file.is_file() else contextlib.nullcontext(BytesIO()) as handle:  # no pipe or device
            return bool(suffix_of(handle.read(32)))
    except OSError:
        return False


LAYOUT = Layout(__doc__, "{location: my-images}", looks_like, readings, image_root=given_or_own_folder, generic=True)
