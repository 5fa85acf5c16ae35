"""Images that lie in a ``.zip`` or ``.tar`` beside the table that names them, read in place.

A member is found by the path of the row, also below a folder that all members share; ``images/a.jpg`` is
also ``a.jpg`` of ``images.zip``. Nothing is unpacked under a name of the archive: the bytes become images of the
content-addressed store.
"""

from __future__ import annotations

import dataclasses
import os
import posixpath
import tarfile
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import IO

from curate.readers.files.tar import members_of, open_plain_tar
from curate.readers.files.zip import MOST_LISTED, BoundedZip
from curate.readers.images.store import content_path
from winnow.media.locate import unavailable
from winnow.rows.records import Sample

ENDINGS = (".zip", ".tar")
_MAX_ARCHIVES = 20
_MAX_MEMBERS = 500_000  # a zip file's list of so many takes about 250 MB of memory
_MAX_BYTES = 256 << 20
_MAX_RATIO = 1000  # bytes of an image for one byte in the archive
_ENCRYPTED = 1  # bit of a zip member's flags
_DAMAGE = (
    zipfile.BadZipFile, tarfile.TarError, zlib.error, OSError, EOFError, RuntimeError, NotImplementedError, ValueError,
)  # fmt: skip


@dataclass(frozen=True)
class _Member:
    """A file in an archive: where it is (of a tar its offset), its bytes, and those that it takes in the archive."""

    place: zipfile.ZipInfo | int
    size: int
    packed: int


@dataclass(frozen=True)
class _Opened:
    """An archive: its members by plain name, and the folders, one in another, that all of them lie in."""

    file: zipfile.ZipFile | IO[bytes]
    members: dict[str, _Member]
    shared: tuple[str, ...]

    def read(self, member: _Member) -> bytes:
        if isinstance(self.file, zipfile.ZipFile):
            assert isinstance(member.place, zipfile.ZipInfo)
            if member.place.flag_bits & _ENCRYPTED:
                raise ValueError("it is encrypted")
            with self.file.open(member.place) as handle:
                return handle.read(_MAX_BYTES)
        assert isinstance(member.place, int)
        self.file.seek(member.place)
        return self.file.read(member.size)


class PackedImages:
    """The images of some archives, each of which is opened when the first image is looked for in it.

    Attributes:
        used: archives that an image was read from.
        troubles: why an archive, or a member, could not be read.
    """

    def __init__(self, archives: Sequence[Path]) -> None:
        self.archives = archives
        self.used: set[Path] = set()
        self.troubles: dict[Path, str] = {}
        self._opened: dict[Path, _Opened] = {}

    def holds(self, path: str) -> bool:
        """Whether an archive holds the image of that path."""
        return any(True for _ in self._found(path))

    def read(self, path: str) -> bytes | str | None:
        """The bytes of an image, the notation of ``winnow.media.locate.unavailable``, or None if it cannot be read."""
        for archive, member in self._found(path):
            if member.size > min(_MAX_BYTES, _MAX_RATIO * max(member.packed, 1024)):
                return unavailable("too_large_bytes", f"{path} of {archive.name} unpacks to {member.size:,} bytes")
            try:
                data = self._opened[archive].read(member)
            except _DAMAGE as error:
                self.troubles.setdefault(archive, str(error))
            else:
                self.used.add(archive)
                return data
        return None

    def notes(self) -> list[str]:
        """One sentence about each archive that was used or could not be."""
        used = [f"{archive}: images are read from it, without unpacking it" for archive in sorted(self.used)]
        return used + [
            f"{archive}: images that may be in it cannot be read ({trouble}); unpack it beside the table"
            for archive, trouble in sorted(self.troubles.items())
        ]

    def _found(self, path: str) -> Iterator[tuple[Path, _Member]]:
        plain = _plain(path)
        for archive in self.archives if plain else ():
            if archive not in self._opened:
                try:
                    self._opened[archive] = _open(archive)
                except _DAMAGE as error:
                    self.troubles[archive] = str(error)
                    self._opened[archive] = _Opened(BytesIO(), {}, ())
            opened = self._opened[archive]
            _, mark, below = f"/{plain}".rpartition(f"/{archive.stem}/")
            for name in (plain, below) if mark else (plain,):
                for option in (name, *(f"{folder}/{name}" for folder in opened.shared)):
                    if option in opened.members:
                        yield archive, opened.members[option]


def archives_in(folders: Iterable[Path]) -> list[Path]:
    """Archives that lie in these folders, by name; the first 20."""
    found = (
        folder / name
        for folder in dict.fromkeys(folders)
        if folder.is_dir()
        for name in sorted(name for name in os.listdir(folder) if name.lower().endswith(ENDINGS))  # noqa: PTH208
    )
    return [file for file in found if file.suffix and file.is_file()][:_MAX_ARCHIVES]  # ``.zip`` is a name


def with_packed(sample: Sample, missing: Iterable[str], packed: PackedImages) -> Sample:
    """The sample with those of its missing images that an archive holds; ``meta.image_path`` keeps their names."""
    paths, embedded = {}, dict(sample.embedded)
    for path in missing:
        data = packed.read(path)
        if isinstance(data, bytes):
            paths[path] = content_path(data)
            embedded[paths[path]] = data
        elif data is not None:
            paths[path] = data
    if not paths:
        return sample
    before = sample.image[0] if len(sample.image) == 1 else list(sample.image)
    return dataclasses.replace(
        sample,
        image=tuple(paths.get(path, path) for path in sample.image),
        embedded=embedded,
        meta={"image_path": before, **sample.meta},
    )


def _open(archive: Path) -> _Opened:
    """Raises one of ``_DAMAGE``."""
    file = BoundedZip(archive, _MAX_MEMBERS) if archive.suffix.lower() == ".zip" else archive.open("rb")
    members: dict[str, _Member] = {}
    for name, member in _zip_members(file) if isinstance(file, zipfile.ZipFile) else _tar_members(archive):
        if plain := _plain(name):
            members.setdefault(plain, member)
    parts = posixpath.commonprefix([posixpath.dirname(name).split("/") for name in members])
    shared = ("/".join(parts[: depth + 1]) for depth in range(len(parts)))
    return _Opened(file, members, tuple(filter(None, shared)))


def _zip_members(file: zipfile.ZipFile) -> Iterator[tuple[str, _Member]]:
    for info in file.infolist():
        if not info.is_dir():
            yield info.filename, _Member(info, info.file_size, info.compress_size)


def _tar_members(path: Path) -> Iterator[tuple[str, _Member]]:
    """Of a tar that is not compressed, because only such a one can be read at any place."""
    listed = 0
    with open_plain_tar(path) as packed:
        for number, info in enumerate(members_of(packed, path)):
            listed += len(info.name)
            if number == _MAX_MEMBERS:
                raise ValueError(f"more than {_MAX_MEMBERS:,} files")
            if listed > MOST_LISTED:
                raise ValueError(f"names of its members of more than {MOST_LISTED:,} letters")
            if info.isreg() and not info.issparse():
                yield info.name, _Member(info.offset_data, info.size, info.size)


def _plain(path: str) -> str:
    """A path without ``.``, ``..`` and the separators of Windows; '' if it leads out of its folder."""
    plain = posixpath.normpath(path.replace("\\", "/"))
    return "" if plain.startswith(("/", "..")) else plain
