"""Atomic writes, locks and digests of files."""

from __future__ import annotations

import contextlib
import errno
import functools
import hashlib
import io
import json
import math
import os
import re
import shutil
import stat
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import quote

import filelock

LONGEST_NAME = 255  # bytes that file systems take
_LONGEST_ADDED = 40  # bytes that make the name of a temporary file unique


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``target``; fsync and rename it on success.

    On an exception the temporary file is removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    name = os.fsdecode(os.fsencode(target.name)[: LONGEST_NAME - _LONGEST_ADDED])
    temporary = target.with_name(f".{name}.{os.getpid()}-{threading.get_ident()}.tmp")  # threads write at once
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


def file_name(text: str) -> str:
    """A text as the name of one file or folder, of which ``urllib.parse.unquote`` makes the text again.

    Letters beyond ASCII stay: with three signs for each of their bytes a name would soon be too long.
    """
    return re.sub(r"[\x00-\x7f]+", lambda plain: quote(plain[0], safe=""), text)


def remove_leftovers(folder: Path) -> None:
    """Remove what ``atomic_path`` has left below ``folder`` in processes of this machine that were killed."""
    for path in folder.rglob(".*.tmp"):
        writer = re.search(r"\.(\d+)-\d+\.tmp$", path.name)
        if writer and not is_running(int(writer[1])):
            path.unlink(missing_ok=True)


def is_running(pid: object) -> bool:
    """Whether a process of this machine has this number."""
    if not isinstance(pid, int):
        return False
    try:
        os.kill(pid, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except PermissionError:
        return True
    return True


@contextlib.contextmanager
def locked(path: Path, *, wait: bool | float = True) -> Iterator[None]:
    """Hold a lock file for the block, against other threads and processes, on every operating system.

    Args:
        wait: wait until the lock is free; False raises at once when it is taken, a number after so many seconds.

    Raises:
        filelock.Timeout: the lock is taken, and not to be waited for any longer; it is an OSError.
        OSError: the lock file cannot be written.
    """
    with filelock.FileLock(path, timeout=-1 if wait is True else float(wait)):
        yield


def write_text(target: Path, text: str) -> None:
    """Atomically write ``text`` as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Atomically write ``value`` as indented JSON with sorted keys."""
    write_text(target, strict_json(value, indent=2, sort_keys=True) + "\n")


def write_state(target: Path, value: Any) -> None:
    """Atomically write ``value`` as JSON that only programs read, on one line: an indent takes ten times as long."""
    write_text(target, strict_json(value, sort_keys=True) + "\n")


def strict_json(value: Any, *, indent: int | None = None, sort_keys: bool = False) -> str:
    """The JSON text of a value that every reader takes: NaN and infinity, which JSON has not, become null."""
    try:
        return json.dumps(value, indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(value), indent=indent, sort_keys=sort_keys, ensure_ascii=False, allow_nan=False)


def _finite(value: Any) -> Any:
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {_finite(key): _finite(item) for key, item in value.items()}
    return [_finite(item) for item in value] if isinstance(value, list | tuple) else value


def open_to_append(path: Path, size: int) -> BinaryIO:
    """The file, cut to ``size`` bytes and open to append; it is made if there is none.

    A file with other hard links is replaced by a copy first, so that they stay as they are.
    """
    path.touch()
    if path.stat().st_nlink > 1:
        with atomic_path(path) as copy:
            shutil.copyfile(path, copy)
    os.truncate(path, min(size, path.stat().st_size))
    return path.open("ab")


def read_regular(path: Path) -> bytes:
    """The bytes of a regular file.

    Raises:
        OSError: it cannot be read, or is no regular file: a named pipe would keep its reader waiting for ever.
    """
    with open_regular(path) as file:
        return file.read()


@contextlib.contextmanager
def open_regular(path: Path) -> Iterator[io.BufferedReader]:
    """Open a regular file to read; raises as ``read_regular``."""
    with open(path, "rb", opener=_without_waiting) as file:
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield file


def _without_waiting(path: str, flags: int) -> int:
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))


def parse_json(text: str | bytes) -> Any:
    """A JSON value; raises ValueError for anything else, a text that is nested too deeply among it."""
    try:
        return json.loads(text)
    except RecursionError as error:
        raise ValueError("nested too deeply") from error


def read_json(path: Path) -> Any:
    """The JSON value in a file of UTF-8; raises OSError like ``read_regular``, ValueError like ``parse_json``."""
    return parse_json(read_regular(path).decode("utf-8"))


def sha256_bytes(data: bytes) -> str:
    """Hex sha256 of ``data``; for the bytes of an image this is its ``image_key``."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex sha256 of a file's bytes, read in pieces."""
    with path.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def digest_of(value: Any, default: Callable[[Any], Any] | None = None) -> str:
    """Hex sha256 of a JSON value in canonical form (sorted keys, no blanks).

    Args:
        default: as of ``json.dumps``: makes a JSON value of one that is none.
    """
    return sha256_bytes(_canonical(default).encode(value).encode())


@functools.cache
def _canonical(default: Callable[[Any], Any] | None) -> json.JSONEncoder:
    return json.JSONEncoder(sort_keys=True, separators=(",", ":"), ensure_ascii=False, default=default)
