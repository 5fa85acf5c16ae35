"""Tar files of strangers: headers of bounded size, and no more unpacked bytes than the file can honestly hold."""

from __future__ import annotations

import bz2
import gzip
import lzma
import tarfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import IO, Any

_LONGEST_HEADER = 1 << 20  # bytes of one long name or PAX header
_MOST_HEADERS = 16  # in a row, before the member that they are about
# What long names and PAX headers of all members may come to, for one byte of the file and in any file: they take four
# seconds of CPU for each 16 MiB to read, and can be packed to nothing.
_HEADER_RATIO, _HEADERS_ALWAYS = 100, 64 << 20
_MAX_RATIO, _ALWAYS = 1000, 1 << 30  # unpacked bytes for one byte of the file, and what any file may unpack to
_PACKED: dict[bytes, Callable[[IO[bytes]], Any]] = {
    b"\x1f\x8b": lambda file: gzip.GzipFile(fileobj=file),
    b"BZh": bz2.BZ2File,
    b"\xfd7zXZ\0": lzma.LZMAFile,
    b"]\0\0": lzma.LZMAFile,
}
_LONG = (
    tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.SOLARIS_XHDTYPE,
)  # fmt: skip


class _Member(tarfile.TarInfo):
    """A member whose headers are looked at before they are read: tarfile would hold whatever size they claim."""

    def _proc_member(self, shard: Any) -> tarfile.TarInfo:
        if self.size < 0:
            raise tarfile.ReadError("a member of negative size")
        if self.type == tarfile.GNUTYPE_SPARSE:
            raise tarfile.ReadError("a sparse member, which is not read; pack it with `tar --format=gnu` without -S")
        if self.type in _LONG:
            if self.size > _LONGEST_HEADER:
                raise tarfile.ReadError(f"a header of {self.size:,} bytes, more than {_LONGEST_HEADER:,}")
            shard.headers_in_a_row += 1
            shard.bytes_for_all += self.size if self.type == tarfile.XGLTYPE else 0
            shard.bytes_of_headers += self.size
            if shard.bytes_of_headers > shard.most_of_headers:
                raise tarfile.ReadError(f"headers of more than {shard.most_of_headers:,} bytes together")
            if shard.headers_in_a_row > _MOST_HEADERS or shard.bytes_for_all > _LONGEST_HEADER:
                raise tarfile.ReadError(f"more than {_MOST_HEADERS} headers of one member")
        else:
            shard.headers_in_a_row = 0
        found: tarfile.TarInfo = super()._proc_member(shard)  # type: ignore[misc]
        return found

    def _proc_gnusparse_00(self, *_: Any) -> None:
        raise tarfile.ReadError("a sparse member, which is not read")

    _proc_gnusparse_01 = _proc_gnusparse_10 = _proc_gnusparse_00


class _Shard(tarfile.TarFile):
    headers_in_a_row = bytes_for_all = bytes_of_headers = 0
    most_of_headers = _HEADERS_ALWAYS


@contextmanager
def open_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file, packed by gzip, bzip2 or xz or plain, to be read once from its start to its end.

    What it holds raises ``tarfile.ReadError`` where it is beyond the caps of headers.
    """
    with ExitStack() as opened:
        # Unpacked by the libraries' files: tarfile's own stream unpacks all that a block of the file holds at once.
        file: IO[bytes] = opened.enter_context(path.open("rb"))
        start = file.read(6)
        file.seek(0)
        for magic, unpacked in _PACKED.items():
            if start.startswith(magic):
                file = opened.enter_context(unpacked(file))
        yield opened.enter_context(_opened(path, "r|", file))


@contextmanager
def open_plain_tar(path: Path) -> Iterator[tarfile.TarFile]:
    """Open a tar file that is not packed, whose members may be read in any order, with the same caps of headers."""
    with _opened(path, "r:", None) as shard:
        yield shard


def _opened(path: Path, mode: Any, file: IO[bytes] | None) -> _Shard:
    shard = _Shard.open(path, mode, fileobj=file, tarinfo=_Member)
    shard.most_of_headers = max(_HEADERS_ALWAYS, _HEADER_RATIO * path.stat().st_size)
    return shard


def members_of(shard: tarfile.TarFile, path: Path) -> Iterator[tarfile.TarInfo]:
    """The members of a tar file in order, none of which is remembered.

    Raises:
        tarfile.ReadError: together they unpack to far more than the file's own size.
    """
    most = max(_ALWAYS, _MAX_RATIO * path.stat().st_size)
    for member in shard:
        shard.members.clear()  # type: ignore[attr-defined]  # tarfile would remember every one
        end = member.offset_data + member.size
        if end > most:
            raise tarfile.ReadError(f"unpacks to more than {most:,} bytes, far more than it has")
        yield member
