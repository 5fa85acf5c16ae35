"""What a layout is, and the one loop that turns its raw rows into samples and bad rows.

A layout is a file in ``curate/readers/layouts/`` with a constant ``LAYOUT``: how the published files are recognised,
which raw rows they hold, how an image may be named, and how a row becomes a sample. Everything else is here: locating
the images, counting rows, bad rows, ids.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.readers.fetched import here
from curate.readers.files.json import RawRow
from curate.readers.images.packed import ENDINGS, PackedImages, archives_in, with_packed
from curate.readers.images.store import is_encoded, with_embedded
from curate.readers.location import Probe
from curate.readers.spelling import Root, is_file
from curate.readers.storable import encodable
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.hash_index import HashIndex, digest64
from winnow.media.locate import is_url
from winnow.remote.addresses import shown
from winnow.rows.records import BadRow, Sample

_ROWS_TRIED = 50
NameOf = Callable[[RawRow], str]


@dataclass(frozen=True)
class SecondList:
    """Another list of JSON objects that belong to the rows: votes on questions, captions of images.

    Attributes:
        path, key: the file, and the key of its document that holds the list.
        field: of these objects, holds the id of their row.
        row_field: of the row, holds that id.
    """

    path: Path
    key: str
    field: str
    row_field: str


@dataclass(frozen=True)
class Plain:
    """What ``Reading.to_sample`` makes of a JSON object with a conversation, if that depends on nothing else.

    It is what ``winnow.rows.records.from_record`` makes of it.

    Attributes:
        source, split: of an object that names none.
        image_is_alone: whether the only image of a row with these keys is the path under ``image``.
        may_lack_image: whether a row without ``image`` has none; else it is asked for elsewhere.
    """

    source: str
    split: str
    image_is_alone: Callable[[tuple[str, ...]], bool]
    may_lack_image: bool


@dataclass(frozen=True, eq=False)
class Reading:
    """One file, or one split, of a source, to be read once from its start.

    Attributes:
        rows: its raw rows in order, and a ``BadRow`` for what is not one.
        to_sample: makes a sample of a raw row; its second argument gives the path of a row's image, '' for none.
            None skips a row of another split; ValueError makes it a bad row.
        names: paths that the image of a row may have, always as many and in the same order, () for a row without
            an image; the one by which most of the first images exist is used for all rows. None if ``to_sample``
            knows the paths.
        folders: names of folders that images may lie in, beside the file or below its folder.
        near: the folder to look for images in; None is that of the source's location.
        left_over: what a second file holds that no row has asked for; read after all rows.
        second: the list that ``left_over`` is of.
        file: that ``rows`` are of, if each of them can be read without other files and rows (but see ``decided``), so
            that ranges of it can be read alone; what turns out to need others calls ``needs_other_rows``.
        apart: rows of ``file`` may depend on others of it, but on no other file; ``rows`` can be iterated again.
        decided: what the first rows decide about all of them, JSON-able; of a file ``apart``, what its name does.
    """

    rows: Iterable[RawRow | BadRow]
    to_sample: Callable[[RawRow, NameOf], Sample | None]
    names: Callable[[RawRow], Sequence[str]] | None = None
    folders: Sequence[str] = ("images",)
    near: Path | None = None
    left_over: Iterable[BadRow] = ()
    second: SecondList | None = None
    file: Path | None = None
    apart: bool = False
    plain: Plain | None = None
    decided: Callable[[], Any] | None = None


def _no_files(settings: SourceSettings) -> list[Path]:
    return []


@dataclass(frozen=True)
class Layout:
    """How one dataset is published.

    Attributes:
        about: docstring of its file; the first line is what `curate sources` says of it.
        example: an entry of ``sources:`` in a recipe.
        looks_like: whether a location has this layout, from a first look at it.
        readings: the files of a source in order. Raises UserError if one is missing.
        image_root: the folder that image paths are relative to; None looks for the images of the first rows.
        other_files: what is read beside the location: a second file of annotations, OCR, lists of splits. Raises
            UserError if one that the recipe names is missing.
        generic: considered only where no other layout recognises a location.
    """

    about: str | None
    example: str
    looks_like: Callable[[Probe], bool]
    readings: Callable[[SourceSettings], Iterable[Reading]]
    image_root: Callable[[SourceSettings], Path] | None = None
    other_files: Callable[[SourceSettings], list[Path]] = _no_files
    generic: bool = False

    @property
    def title(self) -> str:
        """What it is, in one line."""
        return (self.about or "").strip().splitlines()[0].replace("``", "")


@dataclass(frozen=True)
class ImageNames:
    """Where the images of a source are.

    Attributes:
        root: the folder that image paths are relative to.
        choice: of each reading with ``names``, which of them to take.
        archives: may hold images that are no files below the root.
        notes: which of them hold images of the first rows, or cannot be read.
    """

    root: Path
    choice: tuple[int, ...] = ()
    archives: tuple[Path, ...] = ()
    notes: tuple[str, ...] = ()


def locate_images(layout: Layout, settings: SourceSettings) -> ImageNames:
    """Look for the images of the first 50 rows of each reading.

    Tried as root, the earlier one wins a tie: the recipe's ``image_root`` alone if given, else the location's folder,
    ``folders`` in it, and ``folders`` beside it. The folder above is not tried: what a dataset names must not widen
    what it may read. Images that are no files there may be in an archive; see ``archives_of``.

    Raises:
        UserError: the recipe's ``image_root`` does not exist, or a file is missing or broken.
    """
    if layout.image_root is not None:
        return ImageNames(layout.image_root(settings))
    packed = PackedImages(archives_of(settings))
    root = given_root(settings)
    choices = []
    for reading in layout.readings(settings):
        if reading.names is None:
            rows = itertools.islice(_samples(layout, settings, ()), _ROWS_TRIED)
            paths = [[_plain_paths(made.row)] for made in rows if isinstance(made.row, Sample)]
        else:
            offers = (_offered(reading, row) for row in itertools.islice(reading.rows, _ROWS_TRIED))
            paths = [[(name,) for name in offered] for offered in offers if offered]
        root, choice = _best([root] if root is not None else _roots(settings, reading), paths, packed)
        choices.append(choice)
        missing = (path for ways in paths for path in ways[choice] if not is_file(root, path))
        if packed.archives and (first := next(filter(packed.holds, missing), None)) is not None:
            packed.read(first)
        if reading.names is None:
            break
    return ImageNames(root or folder_of(settings), tuple(choices), tuple(packed.archives), tuple(packed.notes()))


def archives_of(settings: SourceSettings) -> list[Path]:
    """Archives that may hold a source's images: the recipe's ``image_root``, or those beside the location and in it."""
    settings = here(settings)
    location, given = Path(settings.location), Path(settings.image_root or "")
    if settings.image_root is not None and given.is_file():
        return [given]
    found = archives_in([folder_of(settings), *([given] if settings.image_root is not None else [])])
    return [archive for archive in found if archive != location]


def _plain_paths(sample: Sample) -> tuple[str, ...]:
    """Its images that are files of the dataset: neither embedded nor remote."""
    return tuple(
        path for path in sample.image if path not in sample.embedded and not is_encoded(path) and not is_url(path)
    )


def _roots(settings: SourceSettings, reading: Reading) -> list[Path]:
    folder = reading.near or folder_of(settings)
    return [folder, *(base / name for base in (folder, folder.parent) for name in reading.folders)]


def possible_roots(settings: SourceSettings, near: Path | None = None) -> list[Path]:
    """The folders that image paths may be relative to; see ``locate_images``.

    Raises:
        UserError: the recipe's ``image_root`` does not exist.
    """
    root = given_root(settings)
    return [root] if root is not None else _roots(settings, Reading((), lambda row, name_of: None, near=near))


def _offered(reading: Reading, row: RawRow | BadRow) -> Sequence[str]:
    if isinstance(row, BadRow) or reading.names is None:
        return []
    try:
        return reading.names(row)
    except ValueError:
        return []


def _best(roots: Sequence[Path], first: Sequence[Sequence[tuple[str, ...]]], packed: PackedImages) -> tuple[Path, int]:
    """The root and the number of the way of naming by which most images exist; the first of equals.

    Args:
        first: for each row and way of naming, the paths of its images.
        packed: considered if none exists as a file.
    """
    tried = [(root, way) for root in roots for way in range(max(map(len, first), default=1))]

    def hits(root: Path, way: int) -> int:
        found = Root(root)
        return sum(found.holds(found.spelled(path)) for paths in first if way < len(paths) for path in paths[way])

    def packed_hits(way: int) -> int:
        return sum(packed.holds(path) for paths in first if way < len(paths) for path in paths[way])

    best = max(tried, key=lambda found: hits(*found))
    if packed.archives and not hits(*best):
        best = max(tried, key=lambda found: packed_hits(found[1]))
    return best


def given_root(settings: SourceSettings) -> Path | None:
    """The folder that the recipe names, if it names one; of an archive the folder that it lies in.

    Raises:
        UserError: it does not exist.
    """
    if settings.image_root is None:
        return None
    given = Path(settings.image_root)
    if given.is_file() and given.suffix.lower() in ENDINGS:
        return given.parent
    if not given.is_dir():
        raise UserError(f"image_root {given}: no such folder")
    return given


def links_within(root: Path, settings: SourceSettings) -> Path:
    """The folder that links below an image root may lead into: the root itself, unless the recipe follows all links.

    In a Hugging Face cache, whose ``snapshots`` are links into ``blobs``, it is the folder that holds both.
    """
    root = root.resolve()
    if settings.follow_links:
        return Path(root.anchor)
    caches = (folder.parent for folder in root.parents if folder.name == "snapshots")
    return next((cache for cache in caches if (cache / "blobs").is_dir()), root)


def folder_of(settings: SourceSettings) -> Path:
    """The location if it is a folder, else the folder that it lies in."""
    location = Path(settings.location)
    return location if location.is_dir() else location.parent


def given_or_own_folder(settings: SourceSettings) -> Path:
    """The image root of layouts whose images lie with, or in, their files."""
    return given_root(settings) or folder_of(settings)


@dataclass(frozen=True, slots=True)
class ReadRow:
    """A row that was read, and what it was read from."""

    reading: Reading
    raw: RawRow | BadRow
    row: Sample | BadRow


def read(layout: Layout, settings: SourceSettings, images: ImageNames) -> Iterator[ReadRow]:
    """All rows, with image paths relative to the root, images in the row moved to ``embedded``, and final ids.

    Ids that were derived from content get ``-2``, ``-3`` … on repetition: equal rows without ids are duplicates, not a
    clash.

    Raises:
        UserError: a file is missing or broken.
    """
    root, packed = Root(images.root, folder_of(settings)), PackedImages(images.archives)
    repeats = HashIndex()
    source, split = settings.source or "", settings.split
    for position, made in enumerate(_samples(layout, settings, images.choice)):
        row = encodable(made.row, made.raw.where, position)
        if isinstance(row, BadRow):
            bad = dataclasses.replace(row, where=shown(row.where), source=source, split=split)
            yield ReadRow(made.reading, made.raw, bad)
            continue
        source, split = row.source, row.split
        sample = with_own_files(row, root, settings.location, position)
        if packed.archives:
            missing = [path for path in _plain_paths(sample) if not is_file(images.root, path)]
            sample = with_packed(sample, missing, packed) if missing else sample
        if settings.ids == "position":
            sample = dataclasses.replace(sample, id=f"{sample.id}#{position}")
        elif sample.form.derived_id:
            digest = digest64(sample.id)
            before = repeats.add(digest, 1)
            if before is not None:
                repeats.put(digest, before + 1)
                sample = dataclasses.replace(sample, id=f"{sample.id}-{before + 1}")
        yield made if sample is row else ReadRow(made.reading, made.raw, sample)


def with_own_files(sample: Sample, root: Root, location: str, position: int) -> Sample:
    """Row ``position`` of a source, its paths spelled as its files are, images in it moved to ``embedded``."""
    if not sample.image:
        return sample
    sample = with_embedded(sample, location, position)
    spelled = tuple([path if path in sample.embedded else root.spelled(path) for path in sample.image])
    return sample if spelled == sample.image else dataclasses.replace(sample, image=spelled)


def _samples(layout: Layout, settings: SourceSettings, choice: Sequence[int]) -> Iterator[ReadRow]:
    position = 0
    for index, reading in enumerate(layout.readings(settings)):
        name_of = functools.partial(name_in, reading, choice[index] if index < len(choice) else 0)
        for row in itertools.chain(reading.rows, reading.left_over):
            made: Sample | BadRow | None
            if isinstance(row, BadRow):
                made = dataclasses.replace(row, position=position)
            else:
                try:
                    made = reading.to_sample(row, name_of)
                except ValueError as error:
                    made = BadRow(row.where, str(error), position)
            if made is not None:
                yield ReadRow(reading, row, made)
            position += 1


def name_in(reading: Reading, number: int, row: RawRow) -> str:
    """The path of a row's image by one of the reading's ways of naming, '' for none."""
    offered = reading.names(row) if reading.names is not None else ()
    return offered[number] if number < len(offered) else ""
