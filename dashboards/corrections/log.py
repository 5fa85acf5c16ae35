"""The corrections folder: append-only JSONL, one file a reviewer, on disk before the page answers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path

from curate.corrections import Correction
from curate.errors import UserError

_LONGEST_NAME = 60


def append(folder: Path, line: Correction) -> Path:
    """Add one line to the reviewer's file and return the file; several writers at once lose nothing.

    Raises:
        UserError: the folder cannot be written to.
    """
    path = folder / file_name(line.reviewer)
    data = (line.model_dump_json() + "\n").encode()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with path.open("a+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            # A line that a crash cut short must not swallow the next one.
            if file.seek(0, os.SEEK_END) and _last_byte(file.fileno()) != b"\n":
                data = b"\n" + data
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise UserError(
            f"{path}: the decision could not be written ({error.strerror}); nothing was recorded"
        ) from error
    return path


def file_name(reviewer: str) -> str:
    """A safe file name for a self-declared name; two names never share one."""
    plain = re.sub(r"[^a-z0-9]+", "-", reviewer.lower()).strip("-")[:_LONGEST_NAME]
    return f"{plain or 'reviewer'}-{hashlib.sha256(reviewer.encode()).hexdigest()[:8]}.jsonl"


def _last_byte(descriptor: int) -> bytes:
    return os.pread(descriptor, 1, os.fstat(descriptor).st_size - 1)
