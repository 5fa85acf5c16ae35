"""The first step of a curation: the rows of all sources in one table, their images as files below a common root.

Rows keep the order of the input and have unique ids. A source is read in ranges of its files where these can be read
alone (``curate.readers.ranges``), else as a whole; what was read before is not read again.
"""

from __future__ import annotations

import contextlib
import dataclasses
import shutil
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from curate.content import as_text
from curate.readers import LAYOUTS, OpenedSource, open_source, other_files
from curate.readers.assembling import ReadSource, assemble, check_ids
from curate.readers.base import archives_of, folder_of
from curate.readers.below_root import AnotherFolderError, Below, Opened, absolute, common, first_folders, rebased_rows
from curate.readers.facts import Counting, SourceFacts
from curate.readers.fetched import here, places_of
from curate.readers.images.store import Fetcher, ImageStore
from curate.readers.ranges import KnownRanges, Range
from curate.readers.rows import Row, bad_row_of, row_of
from curate.readers.spelling import Root
from curate.readers.storable import storable
from curate.readers.units import RangeOfRows, Unit, read_range, read_unit, write_parts, write_unit
from curate.settings.signals import MeasureSettings
from curate.settings.sources import RemoteSettings, SourceSettings
from curate.workspace import Workspace
from winnow.errors import UserError
from winnow.files import digest_of
from winnow.parquet.table_parts import Parts, Runner, run_here
from winnow.progress import Bar
from winnow.remote.addresses import local, shown, url_of
from winnow.rows.records import BadRow
from winnow.run import Stages

# Raise it when readers make other rows from the same input.
VERSION = 9
# Settings that change how images are fetched, but not which ones arrive.
HOW_TO_FETCH = frozenset(
    {"concurrency", "per_host", "timeout", "deadline", "attempts", "backoff", "max_wait", "max_redirects"}
)


def as_files(source: OpenedSource, folder: Path, *, max_bytes: int, fetcher: Fetcher | None = None) -> OpenedSource:
    """The source with its embedded and remote images as files below ``folder``; one of plain paths stays as it is.

    Meant for evaluation sets: the rows, without their images, are held in memory.

    Raises:
        UserError: an image cannot be written.
    """
    store = ImageStore(folder)
    sources: Opened = [(SourceSettings(location=source.layout), source)]
    folders = first_folders(sources, store, fetcher) or frozenset({absolute(source.image_root)})
    while True:
        root = common(folders)
        below = Below.of(source, store, root, folders)
        try:
            rows = tuple(rebased_rows(source, store, below, max_bytes, fetcher))
        except AnotherFolderError as found:
            folders = folders | {found.folder}
        else:
            if folders == {absolute(source.image_root)}:
                root = source.image_root
            return dataclasses.replace(source, image_root=root, links_within=root.resolve(), rows=rows.__iter__)


@dataclasses.dataclass(frozen=True)
class Asked:
    """What every source is read with.

    Attributes:
        folder: where units leave their parts and notes.
        store: for embedded and remote images.
        max_bytes: larger embedded images are not stored; their class is ``too_large_bytes``.
        fetcher: fetches remote images; None leaves them where they are.
        fetched: settings that change which remote images arrive.
        runner: reads ranges and puts them in their place.
    """

    folder: Path
    store: ImageStore
    max_bytes: int
    fetcher: Fetcher | None = None
    fetched: Any = None
    runner: Runner = run_here


@dataclasses.dataclass(frozen=True)
class FileRanges:
    """A file of a source that is read in ranges.

    Attributes:
        number: of the reading that it is of.
        decided: what its first rows decide about all of them.
    """

    number: int
    path: Path
    decided: Any
    ranges: Sequence[Range]


def write_rows(
    sources: Opened, rows: Parts, asked: Asked, digests: Sequence[Any] | None = None, label: str = "read sources"
) -> tuple[Path, tuple[SourceFacts, ...]]:
    """Bring ``rows`` (schema ``ROWS``) up to date with every row of every source, and the store with their images.

    A row that cannot be read keeps its place, with an id made from its position and the reason in ``bad_row``.

    Args:
        digests: of each source, JSON-able: what its rows depend on. None: read all sources as a whole.

    Returns:
        The folder that all image paths are relative to: the narrowest that holds every folder with an image. And what
        was found in each source.

    Raises:
        UserError: two rows have the same id, or an image or the table cannot be written.
    """
    asked.folder.mkdir(parents=True, exist_ok=True)
    folders = first_folders(sources, asked.store, asked.fetcher)
    known = KnownRanges(asked.folder.with_name("ranges.json"), asked.folder.with_name("digests.parquet"))
    files = [_files(settings, source, asked, known) if digests is not None else None for settings, source in sources]
    known.save()
    with Bar(label, None) as bar:
        while True:
            root = common(folders or {absolute(source.image_root) for _, source in sources})
            read = []
            try:
                for number, (settings, source) in enumerate(sources):
                    below = Below.of(source, asked.store, root, folders)
                    digest = digests[number] if digests is not None else None
                    read.append(_read(settings, source, files[number], below, asked, digest, number, bar))
            except AnotherFolderError as other:  # no first row had an image there: read again
                folders = folders | {other.folder}
            else:
                break
    facts = assemble(read, rows, asked.folder, asked.runner)
    check_ids(read, rows, Parts(asked.folder.with_name("row_ids")))
    _remove_others(asked.folder, read)
    root = root.relative_to(Path.cwd()) if root.is_relative_to(Path.cwd()) and not url_of(root) else root
    return root, facts


def _files(settings: SourceSettings, source: OpenedSource, asked: Asked, known: KnownRanges) -> list[FileRanges] | None:
    """The ranges of the files of a source; None if it has to be read as a whole."""
    if source.images is None or source.images.archives:
        return None
    found = []
    for number, reading in enumerate(LAYOUTS[source.layout].readings(here(settings))):
        ranges = known.of(reading)
        if ranges is None or reading.file is None:
            return None
        decided = reading.decided() if reading.decided is not None else None
        found.append(FileRanges(number, reading.file, decided, ranges))
    alone = len(found) == 1 and any(part.whole for part in found[0].ranges)
    return None if alone else found


def _read(
    settings: SourceSettings, source: OpenedSource, files: Sequence[FileRanges] | None, below: Below, asked: Asked,
    digest: Any, number: int, bar: Bar,
) -> ReadSource:  # fmt: skip
    """Read a source, as far as it was not read before.

    Raises:
        AnotherFolderError: see ``Below.put``.
    """
    about = [
        VERSION, source.layout, settings.model_dump(mode="json", exclude={"license"}), below.key(), asked.max_bytes,
        shown(source.image_root),
    ]  # fmt: skip
    if files is not None and (found := _read_ranges(settings, source, files, below, asked, digest, about, bar)):
        return found
    key = ["whole", *about, asked.fetched, digest, number]
    note = asked.folder / f"{digest_of(key)[:32]}.json"
    unit = _current(note, _root(settings, source)) if digest is not None else None
    if unit is None:
        unit = _read_whole(settings, source, below, asked, note, bar)
    return ReadSource(settings, source, [""], [unit], [note])


def _read_ranges(
    settings: SourceSettings, source: OpenedSource, files: Sequence[FileRanges], below: Below, asked: Asked,
    digest: Any, about: list[Any], bar: Bar,
) -> ReadSource | None:  # fmt: skip
    """Read the ranges of a source; None if it has to be read as a whole."""
    assert source.images is not None
    version = digest_of([VERSION, digest])
    root = _root(settings, source)
    wanted: list[tuple[str, Path]] = []
    missing: dict[Path, tuple[RangeOfRows]] = {}
    for file in files:
        for part in file.ranges:
            key = ["range", *about, shown(file.path), file.decided, part.digest, bool(part.groups) or part.start == 0]
            note = asked.folder / f"{digest_of(key)[:32]}.json"
            wanted.append((part.where(file.path), note))
            if _current(note, root) is None:
                missing[note] = (
                    RangeOfRows(
                        source.layout, settings, source.images, file.number, version, part, below, asked.store.folder,
                        asked.max_bytes,
                    ),
                )  # fmt: skip
    for (note, _), _ in zip(missing.items(), asked.runner(read_range)(list(missing.items())), strict=True):
        unit = _made(note)
        if not _is_of_use(unit, below, asked):
            return None
        bar.advance(sum(unit.rows))
    if not wanted:
        return None
    units = [_made(note) for _, note in wanted]
    if not all(_is_of_use(unit, below, asked) for unit in units):
        return None
    return ReadSource(settings, source, [place for place, _ in wanted], units, [note for _, note in wanted])


def _is_of_use(unit: Unit, below: Below, asked: Asked) -> bool:
    """Whether its rows are there, and none of them names an image that is to be fetched.

    Raises:
        AnotherFolderError: see ``Below.put``.
    """
    if unit.refused == "folder":
        raise AnotherFolderError(unit.folder or below.stored)
    return not unit.refused and not (unit.remote and asked.fetcher is not None)


def _root(settings: SourceSettings, source: OpenedSource) -> Root:
    """The image root of a source, to look up how its files spell the paths of rows."""
    return Root(source.image_root, folder_of(here(settings)))


def _made(note: Path) -> Unit:
    unit = read_unit(note)
    if unit is None:
        raise UserError(f"{note}: cannot be read, although it was just written; run again")
    return unit


def _current(note: Path, root: Root) -> Unit | None:
    """A unit that is still what its key and the files below the image root make; else its note is removed."""
    unit = read_unit(note)
    if unit is None:
        return None
    sizes = [path.stat().st_size if (path := note.with_name(name)).is_file() else -1 for name in unit.parts]
    same = all(root.spelled(given) == found for given, found in unit.spelled.items())
    if same and sizes == [*unit.sizes]:
        return unit
    note.unlink()
    return None


def _read_whole(
    settings: SourceSettings, source: OpenedSource, below: Below, asked: Asked, note: Path, bar: Bar
) -> Unit:
    """Read a source in order."""
    counting = Counting("", "")
    first_bad = ["", ""]

    def rows() -> Iterator[Row]:
        for read in rebased_rows(source, asked.store, below, asked.max_bytes, asked.fetcher):
            row = storable(read)
            counting.add(row)
            if isinstance(row, BadRow) and not first_bad[0]:
                first_bad[:] = row.where, row.reason
            bar.advance()
            yield bad_row_of(row, settings) if isinstance(row, BadRow) else row_of(row)

    parts, counts = write_parts(note, rows())
    unit = Unit.of(parts, counts, counted=counting.counted(), first_bad=(first_bad[0], first_bad[1]))
    write_unit(note, unit)
    return unit


def _spelled_alike(sources: Opened, folder: Path) -> bool:
    """Whether the files below the image roots still spell the paths of stored rows as they did."""
    roots = [_root(settings, source) for settings, source in sources]
    units = filter(None, map(read_unit, folder.glob("*.json")))
    given = {item for unit in units for item in unit.spelled.items()}
    return all(any(root.spelled(path) == found for root in roots) for path, found in given)


def _remove_others(folder: Path, read: Sequence[ReadSource]) -> None:
    """Remove what other inputs have left."""
    wanted = {path for each in read for path in each.notes}
    wanted |= {folder / name for each in read for unit in each.units for name in unit.parts}
    for path in folder.iterdir():
        if path not in wanted:
            path.unlink()


def read_sources(
    sources: Sequence[SourceSettings], inputs: dict[str, str], settings: MeasureSettings,
    remote: RemoteSettings | None, workspace: Workspace, stages: Stages, label: str = "", runner: Runner = run_here,
) -> Path:  # fmt: skip
    """Write the rows of one set to ``workspace.rows``, as far as they are not there.

    Embedded and remote images become files below ``workspace.folder``. If some were unavailable for now, the step
    stays undone and the next run tries them again.

    Args:
        runner: reads ranges of files.

    Returns:
        The folder that image paths are relative to.

    Raises:
        UserError: bad input, or something cannot be written.
    """
    opened = [(source, open_source(source)) for source in sources]
    wanted = remote and remote.model_dump(mode="json", exclude=set(HOW_TO_FETCH))
    fetched = [wanted and settings.max_pixels, wanted]
    digests = [
        [inputs[source.location], [inputs.get(shown(as_text(path))) for path in _beside(source)]] for source in sources
    ]
    key = [
        VERSION,
        [shown(source.image_root) for _, source in opened],
        [source.model_dump(mode="json", exclude={"license"}) for source in sources],
        [settings.max_bytes, *fetched],
        digests,
    ]
    counts: Counter[str] = Counter()
    places = tuple(place for source in sources for place in places_of(source))

    def read() -> None:
        store = ImageStore(workspace.folder)
        with contextlib.ExitStack() as stack:
            fetcher: Fetcher | None = None
            if remote is not None or places:
                from curate.readers.images.http import RemoteImages

                images = RemoteImages(store, remote, settings, counts, places)
                fetcher = stack.enter_context(images)
            title = f"{label}read{' and fetch' if remote else ''}"
            asked = Asked(workspace.read, store, settings.max_bytes, fetcher, fetched, runner)
            root, facts = write_rows(opened, workspace.rows, asked, digests, title)
        keep_roots(stages, root, opened, label)
        stages.set(f"{label}facts", [each.model_dump(mode="json") for each in facts])
        stages.set(f"{label}unfetched", counts["remote_unavailable"])

    if not _spelled_alike(opened, workspace.read):
        stages.set(f"{label}read", None)
    stages.run_if_stale(f"{label}read", key, [workspace.rows.state], read)
    if counts:
        _report(counts, label)
    if counts["remote_unavailable"]:
        stages.set(f"{label}read", None)
        shutil.rmtree(workspace.read)
    return image_root(stages, label)


def _beside(source: SourceSettings) -> list[Path]:
    """What is read beside its location."""
    return [*other_files(source), *archives_of(source)]


def facts_of(stages: Stages, label: str = "") -> list[SourceFacts]:
    """What ``read_sources`` has found in each source of a set."""
    return [SourceFacts.model_validate(each) for each in stages.get(f"{label}facts") or []]


def keep_roots(stages: Stages, root: Path, sources: Opened, label: str = "") -> None:
    """Note the folder that image paths of a set are relative to, and the image root of each of its sources."""
    stages.set(f"{label}root", shown(root))
    stages.set(f"{label}image_roots", [shown(absolute(source.image_root)) for _, source in sources])


def image_root(stages: Stages, label: str = "") -> Path:
    """The folder that image paths of a set are relative to, as ``keep_roots`` has noted it."""
    return local(stages.get(f"{label}root"))


def image_roots(stages: Stages, label: str = "") -> list[Path]:
    """The image root of each source, as ``keep_roots`` has noted it."""
    return [local(each) for each in stages.get(f"{label}image_roots")]


def all_fetched(stages: Stages, labels: Sequence[str]) -> bool:
    """Whether no image of the sets is left that another run may get."""
    return not any(stages.get(f"{label}unfetched") for label in labels)


def _report(counts: Counter[str], label: str) -> None:
    failed: dict[str, Any] = {kind: count for kind, count in counts.items() if kind.startswith("remote_")}
    text = f"{label}images: {counts['fetched']:,} fetched, {counts['known']:,} known"
    if failed:
        text += "; failed: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(failed.items()))
    if "remote_unavailable" in failed:
        text += "; run again to try what was unavailable"
    print(text, file=sys.stderr)
