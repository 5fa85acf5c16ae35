"""WebDataset: tar shards whose members of one name up to the first dot make one sample.

``000001.jpg``, ``000001.json`` and ``000001.txt`` are one sample of key ``000001``; folders count to the key.
Images become the sample's images in the order of the shard. ``.json`` holds the columns of ``table`` (or a
whole conversation), ``.txt`` the caption, ``.cls`` the number of a class; other texts are columns of their
name (``question.txt``, ``answer.txt``), and what is neither goes to ``meta`` as base64. The location is a
shard, a folder of shards, or a pattern (``shards-{000000..000041}.tar``, ``*.tar``); compressed shards are
read too. Nothing is unpacked under a name of the shard. Source: https://github.com/webdataset/webdataset.
"""

from __future__ import annotations

import functools
import itertools
import lzma
import tarfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curate.readers.base import Layout, Reading, given_or_own_folder
from curate.readers.files.json import RawRow
from curate.readers.files.tar import members_of, open_tar
from curate.readers.location import Probe, files_of, of_split
from curate.readers.tables.columns import Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.lines import parse_json
from winnow.rows.records import BadRow

SUFFIXES = (".tar", ".tgz", ".gz", ".bz2", ".xz")
_IMAGES = ("jpg", "jpeg", "png", "gif", "webp", "bmp", "tif", "tiff", "jp2", "avif", "ppm", "heic", "jfif")
_MAX_MEMBERS, _MAX_BYTES = 1000, 256 << 20  # of one sample
_COMPRESSED = (b"\x1f\x8b", b"BZh", b"\xfd7zXZ")
_DAMAGE = (tarfile.TarError, EOFError, OSError, zlib.error, lzma.LZMAError, ValueError, RecursionError)
Group = dict[str, bytes]  # the members of one sample by suffix


def looks_like(probe: Probe) -> bool:
    """A tar file, packed or not; or a folder or pattern of such."""
    if probe.is_file:
        return _is_packed(probe.path) or probe.start[257:262] == b"ustar"
    return bool(_shards(probe.location))


def _is_packed(path: Path) -> bool:
    return path.name.endswith((".tar.gz", ".tgz", ".tar.bz2", ".tar.xz"))


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """All shards. One that ends too early or is damaged costs its last sample and its rest: a bad row says so."""
    shards = of_split(_shards(settings.location), settings.split)
    if not shards:
        raise UserError(f"{settings.location}: no tar file there")
    for path, split in shards:
        shard = _Shard(path)
        columns = Columns(settings.model_copy(update={"split": split}), shard.__iter__, bare=True)
        yield Reading(shard, columns.sample, file=path, apart=True, decided=functools.partial(str, split))


@dataclass(frozen=True)
class _Shard:
    """The samples of a shard, from its start whenever they are asked for."""

    path: Path

    def __iter__(self) -> Iterator[RawRow | BadRow]:
        return _rows(self.path)


def _rows(path: Path) -> Iterator[RawRow | BadRow]:
    """Samples of a shard as rows of columns."""
    for key, members in _groups(path):
        where = f"{path}: {key}" if key else str(path)
        if isinstance(members, str):
            yield BadRow(where, members, 0)
            continue
        try:
            yield RawRow(_columns(key, members), where, 0)
        except ValueError as error:
            yield BadRow(where, str(error), 0)


def _columns(key: str, members: Group) -> dict[str, Any]:
    """Columns of one sample, as ``table`` knows them.

    Raises:
        ValueError: a text is not UTF-8, or the JSON is not valid.
    """
    columns: dict[str, Any] = {"id": key}
    images = []
    for suffix, data in members.items():
        kind = suffix.rpartition(".")[2]
        if kind in _IMAGES:
            images.append({"bytes": data, "path": f"{key}.{suffix}"} if data else {"path": f"{key}.{suffix}"})
        elif kind == "json":
            value = parse_json(data)
            columns = {**columns, **value} if isinstance(value, dict) else {**columns, suffix: value}
        elif kind in ("txt", "text", "cls", "caption"):
            try:
                text = data.decode()
            except UnicodeDecodeError:
                raise ValueError(f".{suffix} is not UTF-8") from None
            columns.setdefault({"txt": "text"}.get(suffix, suffix.removesuffix(".txt")), text)
        else:
            columns[suffix] = data
    if images:
        named = next((name for name in ("image", "images") if name in columns), "image")
        columns[named] = images
    return columns


def _groups(path: Path) -> Iterator[tuple[str, Group | str]]:
    """Consecutive members of one key, as suffix → bytes; the text says what is wrong with a group."""
    members = _members(path)
    for key, group in itertools.groupby(members, lambda member: member[0]):
        found: Group = {}
        trouble = ""
        for _, suffix, data in group:
            if isinstance(data, str):
                trouble = data
            elif len(found) == _MAX_MEMBERS:
                trouble = f"more than {_MAX_MEMBERS} members of one key"
            elif suffix in found:
                trouble = f"two members .{suffix} of one key"
            elif not trouble:
                found[suffix] = data
            if trouble:
                found = {}
        yield key, trouble or found


def _members(path: Path) -> Iterator[tuple[str, str, bytes | str]]:
    """Key, suffix and bytes of each member; one last text if the shard is damaged."""
    key, size = "", 0
    try:
        with open_tar(path) as shard:
            for member in members_of(shard, path):
                last, (key, suffix) = key, _split_name(member.name)
                if not member.isreg() or not suffix or key.rpartition("/")[2].startswith("__"):
                    continue  # folders, links, devices; names without a suffix; notes about the shard
                size = member.size if key != last else size + member.size
                if size > _MAX_BYTES:
                    held = f".{suffix} has {size:,}" if size == member.size else f"its members have {size:,}"
                    yield key, suffix, f"{held} bytes, more than {_MAX_BYTES:,}"
                    continue
                handle = shard.extractfile(member)
                data = handle.read() if handle else b""
                if len(data) < member.size:
                    raise tarfile.ReadError("unexpected end of data")
                yield key, suffix, data
            end = shard.offset
    except _DAMAGE as error:
        detail = " ".join(str(error).split()) or type(error).__name__
        yield key, "", f"truncated or damaged tar ({detail}); the rest of the shard could not be read"
        return
    if not _has_end_mark(path, end):
        yield f"after {key}", "", "truncated tar: it ends without its end mark, so samples may be missing"


def _has_end_mark(path: Path, offset: int) -> bool:
    """Whether a block of zeros follows the last member; tarfile takes a file that just stops for a whole one."""
    with path.open("rb") as handle:
        if handle.read(6).startswith(_COMPRESSED):
            return True  # the compression has its own
        handle.seek(offset)
        return handle.read(512) == bytes(512)


def _split_name(name: str) -> tuple[str, str]:
    """Key and suffix: the name is cut at the first dot behind the last slash."""
    folder, slash, base = name.removeprefix("./").rpartition("/")
    stem, _, suffix = base.partition(".")
    return f"{folder}{slash}{stem}", suffix.lower()


def _shards(location: str) -> list[Path]:
    if Path(location).is_file():
        return [Path(location)]
    return [path for path in files_of(location, SUFFIXES) if path.suffix == ".tar" or _is_packed(path)]


LAYOUT = Layout(
    __doc__, "{location: 'shards/train-{000000..000041}.tar'}", looks_like, readings, image_root=given_or_own_folder
)
