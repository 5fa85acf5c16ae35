"""A folder of results that lies on object storage: worked on in the mirror, and published as its steps finish.

``published`` holds the store's lock, brings what the store has, and gives the function that writes back what has
changed. Manifests are taken away before anything changes and written last, so that readers see whole results only;
``state.json``, which says what is done, is written after what it speaks of. So a killed run goes on from its last
finished step, on this machine or another one.

``objects.json`` beside the results lists them with digest and time: times keep their meaning on another machine, and
what a run no longer makes is removed, but nothing that others have put there.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from winnow.errors import UserError
from winnow.files import parse_json, sha256_file, write_json
from winnow.remote import addresses, mirror_files, storage
from winnow.remote.storage_lock import LOCK, locked
from winnow.run import MANIFEST

INDEX = "objects.json"
_STATE = "state.json"
_PASSING = (".tmp", ".partial", ".old")  # of files and folders that are not finished
_OF_THIS_MACHINE = {"lock", ".lock", "spilled", ".unfinished", "digests.parquet", "looks"}
_BY_CONTENT = re.compile(r"(?:.*/)?images/[0-9a-f]{2}/([0-9a-f]{64})(?:\.\w+)?")


@dataclass(frozen=True)
class _Known:
    """A published file: its digest, size and time, and the time of its object, which tells its version."""

    sha256: str
    size: int
    mtime_ns: int
    object_ns: int


@contextlib.contextmanager
def published(folder: Path) -> Iterator[Callable[[], None]]:
    """Work in a folder whose place is on object storage; for any other folder nothing is done.

    Yields:
        Publishes what has changed: to be called when a step is finished. At the end of the block it is called too.

    Raises:
        UserError: another run is at work there, the place holds something else, or the store does not answer.
    """
    url = addresses.url_of(folder)
    if url is None:
        yield lambda: None
        return
    with locked(f"{url}/{LOCK}") as check:
        bring(folder)
        if storage.find(f"{url}/{INDEX}") is None:
            storage.put_if_absent(f"{url}/{INDEX}", b"{}")  # from now on the place is a result's

        def publish() -> None:
            check()
            _publish(folder, url)

        yield publish
        publish()


def bring(folder: Path) -> None:
    """Bring a folder of the mirror in line with the results that the store has there.

    What was changed here since the two were equal is kept, unless the store has changed as well.

    Raises:
        UserError: the place holds something else, or the store does not answer.
    """
    url = addresses.url_of(folder)
    if url is None:
        return
    folder.mkdir(parents=True, exist_ok=True)
    there = _objects(url)
    index = there.pop(INDEX, None)
    if there and index is None and MANIFEST not in there:
        some = ", ".join(sorted(there)[:3])
        raise UserError(f"{url}: holds something else ({some}); give another place, or remove it")
    known, listed = _record(folder), _entries(storage.read(index.url, index.size)) if index is not None else {}
    changed = {name for name, each in there.items() if name not in known or known[name].object_ns != each.time_ns}
    if changed or known.keys() - there.keys():  # by another machine: it is ahead
        for name in _files(folder).keys() - there.keys():
            (folder / name).unlink()
    missing = sorted(changed | {name for name in there if not (folder / name).is_file()})

    def fetch(name: str) -> _Known:
        file, found, entry = folder / name, there[name], listed.get(name)
        file.unlink(missing_ok=True)
        mirror_files.fetch(found, file)
        if entry is None or entry.object_ns != found.time_ns:  # written by a run that was then killed
            return _Known(sha256_file(file), found.size, found.time_ns, found.time_ns)
        os.utime(file, ns=(entry.mtime_ns, entry.mtime_ns))
        return entry

    with ThreadPoolExecutor(storage.AT_ONCE) as threads:
        fetched = dict(zip(missing, threads.map(fetch, missing), strict=True))
    _keep_record(folder, {name: fetched.get(name) or known[name] for name in there})


def brought(place: Path) -> Path:
    """A folder of results, or a file, of this machine: one on object storage is brought here.

    Raises:
        UserError: nothing is there, or the store does not answer.
    """
    if not addresses.is_remote(place):
        return place
    url = addresses.address(place)
    found = storage.find(url)
    if found is not None:
        return mirror_files.fetch(found)
    if storage.find(f"{url}/{MANIFEST}") is None:
        raise UserError(f"{url}: no such object, and no result with a {MANIFEST}; check the address")
    bring(addresses.mirror(url))
    return addresses.mirror(url)


def _publish(folder: Path, url: str) -> None:
    known, files = _record(folder), _files(folder)
    digests = {name: _digest(folder / name, stat, known.get(name)) for name, stat in files.items()}
    changed = [name for name in files if name not in known or known[name].sha256 != digests[name]]
    gone = known.keys() - files.keys()
    if not changed and not gone:
        return
    last = sorted(filter(_is_last, files), key=lambda name: (Path(name).name == MANIFEST, -name.count("/")))
    storage.remove([f"{url}/{name}" for name in filter(_is_last, known)])
    with ThreadPoolExecutor(storage.AT_ONCE) as threads:
        for rank in range(3):
            wanted = [name for name in changed if _rank(name) == rank and not _is_last(name)]
            for _ in threads.map(lambda name: storage.put(folder / name, f"{url}/{name}"), wanted):
                pass
    storage.remove([f"{url}/{name}" for name in gone])
    for name in last:
        storage.put(folder / name, f"{url}/{name}")
    there = _objects(url)
    now = {name: _Known(digests[name], *files[name], there[name].time_ns) for name in files}
    _keep_record(folder, now)
    storage.put(_record_file(folder), f"{url}/{INDEX}")


def _is_last(name: str) -> bool:
    return Path(name).name in (MANIFEST, _STATE)


def _rank(name: str) -> int:
    """Order of writing: parts before the tables that say which of them count (``curate.measure.store``)."""
    path = Path(name)
    return 0 if path.name.startswith("part-") else 2 if path.name in ("paths.parquet", "parts.json") else 1


def _objects(url: str) -> dict[str, storage.Object]:
    """What lies below the place, by name; without locks."""
    found = {each.url.removeprefix(f"{url}/"): each for each in storage.objects_below(url)}
    return {name: each for name, each in found.items() if not name.startswith(LOCK)}


def _files(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of every finished file, by name."""
    found = {}
    for where, folders, names in os.walk(folder):
        folders[:] = [each for each in folders if each not in _OF_THIS_MACHINE and not each.endswith(_PASSING)]
        for name in names:
            if name not in _OF_THIS_MACHINE and not name.endswith(_PASSING):
                path = Path(where, name)
                status = path.stat()
                found[path.relative_to(folder).as_posix()] = (status.st_size, status.st_mtime_ns)
    return found


def _digest(file: Path, stat: tuple[int, int], known: _Known | None) -> str:
    if named := _BY_CONTENT.fullmatch(file.as_posix()):
        return named[1]
    return known.sha256 if known is not None and (known.size, known.mtime_ns) == stat else sha256_file(file)


def _record_file(folder: Path) -> Path:
    """What this machine knows of a place, beside the folder, which an export replaces as a whole."""
    return folder.with_name(f".{folder.name}.{INDEX}")


def _record(folder: Path) -> dict[str, _Known]:
    try:
        return _entries(_record_file(folder).read_bytes())
    except OSError:
        return {}


def _entries(data: bytes) -> dict[str, _Known]:
    try:
        return {name: _Known(**entry) for name, entry in parse_json(data).items()}
    except (ValueError, TypeError, AttributeError):
        return {}


def _keep_record(folder: Path, known: Mapping[str, _Known]) -> None:
    write_json(_record_file(folder), {name: asdict(entry) for name, entry in known.items()})
