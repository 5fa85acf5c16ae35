"""Atomic writes, locks and digests of files."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock


@contextlib.contextmanager
def atomic_path(target: Path) -> Iterator[Path]:
    """Yield a temporary sibling of ``target``; fsync and rename it on success.

    On an exception the temporary file is removed and ``target`` stays as it was.
    """
    target.parent.mkdir(parents=True, exist_ok=True)
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        temporary.replace(target)
    finally:
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def locked(path: Path, *, wait: bool = True) -> Iterator[None]:
    """Hold a lock file for the block, against other threads and processes, on every operating system.

    Args:
        wait: wait until the lock is free; False raises at once when it is taken.

    Raises:
        filelock.Timeout: the lock is taken, and ``wait`` is false.
        OSError: the lock file cannot be written.
    """
    with filelock.FileLock(path, timeout=-1 if wait else 0):
        yield


def write_text(target: Path, text: str) -> None:
    """Atomically write ``text`` as UTF-8."""
    with atomic_path(target) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(target: Path, value: Any) -> None:
    """Atomically write ``value`` as indented JSON with sorted keys."""
    write_text(target, json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False) + "\n")


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
