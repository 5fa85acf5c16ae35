"""Raw formats in, samples out.

Usage::

    opened = open_source(settings)
    for row in opened.rows():
        if isinstance(row, BadRow):
            ...  # row.where, row.reason, row.position: one line of the ledger
        else:
            ...  # a Sample; image paths are relative to opened.image_root

Each file in ``layouts/`` with a constant ``LAYOUT`` is a layout, by the name of the file; see ``base.Layout``.
"""

from __future__ import annotations

import contextlib
import importlib
import itertools
import pkgutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curate.readers import layouts
from curate.readers.base import ImageNames, Layout, ReadRow, links_within, locate_images, read
from curate.readers.fetched import here, location_here
from curate.readers.files.rows import notes_on
from curate.readers.location import Probe, table_files, take_probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.remote.addresses import shown
from winnow.rows.records import BadRow, Sample


def _all_layouts() -> dict[str, Layout]:
    found: dict[str, Layout] = {}
    for module in sorted(pkgutil.iter_modules(layouts.__path__), key=lambda module: module.name):
        found[module.name] = importlib.import_module(f"{layouts.__name__}.{module.name}").LAYOUT
    return found


LAYOUTS = _all_layouts()
_INSIDE = 20  # files of a folder that an error message looks at
_READABLE = (".json", ".jsonl", ".csv", ".tsv", ".parquet", ".arrow", ".feather", ".xlsx", ".gz", ".tar")


@dataclass(frozen=True)
class OpenedSource:
    """A source whose layout is known.

    Attributes:
        layout: key of ``LAYOUTS``.
        image_root: folder that image paths are relative to.
        links_within: resolved folder that links below ``image_root`` may lead into.
        rows: call it to stream the rows from the start, as often as you like.
        notes: one sentence each about the source as a whole that its user should know, such as an encoding that was
            assumed.
        images: how its images are found; None for rows that were made otherwise.
    """

    layout: str
    image_root: Path
    links_within: Path
    rows: Callable[[], Iterator[Sample | BadRow]]
    notes: tuple[str, ...] = ()
    images: ImageNames | None = None


def open_source(settings: SourceSettings) -> OpenedSource:
    """Recognise the layout, locate the images and prepare streaming.

    Raises:
        UserError: nothing there, an unknown layout name, or no known layout.
    """
    if not settings.location.strip():
        raise UserError("the location is empty; give a file or a folder (`.` is this one)")
    settings = here(settings)
    name = layout_of(settings)
    images = locate_images(LAYOUTS[name], settings)
    return OpenedSource(
        name,
        images.root,
        links_within(images.root, settings),
        lambda: (found.row for found in read(LAYOUTS[name], settings, images)),
        tuple(map(shown, _notes(settings, images))),
        images,
    )


def _notes(settings: SourceSettings, images: ImageNames) -> Iterator[str]:
    """What is assumed in reading the files of a source, of the first 20, and where its images are."""
    yield from images.notes
    for file, _ in itertools.islice(table_files(settings.location, settings.split), _INSIDE):
        with contextlib.suppress(UserError):  # a broken file is reported where it is read
            yield from notes_on(file)


def read_with_raw(settings: SourceSettings) -> Iterator[ReadRow]:
    """The rows of ``open_source``, each with what it was read from.

    Raises:
        UserError: as ``open_source``.
    """
    settings = here(settings)
    layout = LAYOUTS[layout_of(settings)]
    return read(layout, settings, locate_images(layout, settings))


def layout_of(settings: SourceSettings) -> str:
    """The layout that a source names, or that its content has.

    Raises:
        UserError: no such layout, or none fits.
    """
    name = settings.layout or detect(location_here(settings.location))
    if name not in LAYOUTS:
        raise UserError(f"{settings.location}: unknown layout {name!r}; known: {', '.join(LAYOUTS)}")
    return name


def detect(location: str) -> str:
    """The layout of a file or folder, recognised by its content.

    Raises:
        UserError: nothing is there, or no layout fits.
    """
    probe = take_probe(location)
    if probe.trouble and not probe.is_file:  # a name that no file can have, or no permission
        raise UserError(f"{location}: {probe.trouble}")
    found = _candidates(probe)
    if found == ["table"] and probe.is_folder and not _is_plain(table_files(location, "")[0][0]):
        found = []
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
    if probe.trouble:
        raise UserError(f"{location}: {probe.trouble}")
    if probe.is_file:
        keys = ", ".join(list(probe.first or probe.document)[:12])
        why = f"its fields are {keys}" if keys else "it holds no row that could be read"
        raise UserError(f"{location}: no known layout; {why} (`curate sources` lists the layouts)")
    raise UserError(f"{location}: no such file or folder")


def other_files(settings: SourceSettings) -> list[Path]:
    """What a source reads beside its location: a second file of annotations, OCR, lists of splits.

    Raises:
        UserError: a file that the recipe names does not exist.
    """
    settings = here(settings)
    layout = LAYOUTS.get(settings.layout or detect(settings.location))
    return layout.other_files(settings) if layout is not None else []


def _candidates(probe: Probe) -> list[str]:
    """Layouts that recognise a location; a generic one only if no other does."""
    found = [name for name, layout in LAYOUTS.items() if not layout.generic and layout.looks_like(probe)]
    return found or [name for name, layout in LAYOUTS.items() if layout.generic and layout.looks_like(probe)][:1]


def _is_plain(file: Path) -> bool:
    """Whether a table in a folder is of no published layout, which says better what its columns mean.

    So is a broken one: reading it reports what is wrong.
    """
    probe = take_probe(str(file))
    return bool(probe.trouble) or _candidates(probe)[:1] in (["table"], ["conversations"])


def _inside(folder: Path) -> list[str]:
    """Files and folders below a folder whose layout is known, as ``name (layout)``."""
    below = sorted(path for path in folder.iterdir() if path.is_dir() or path.suffix in _READABLE)
    found = ((path, _candidates(take_probe(str(path)))) for path in below[:_INSIDE])
    more = [f"{len(below) - _INSIDE:,} more"] if len(below) > _INSIDE else []
    return [*(f"{path.name} ({names[0]})" for path, names in found if names), *more]
