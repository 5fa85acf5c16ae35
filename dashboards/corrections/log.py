"""The corrections folder: append-only JSONL, one file a reviewer, on disk before the page answers."""

from __future__ import annotations

import fcntl
import hashlib
import os
import re
from pathlib import Path
from typing import BinaryIO

from winnow.corrections import Correction, is_torn
from winnow.errors import UserError

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
            _end_last_line(file)
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


def _end_last_line(file: BinaryIO) -> None:
    """A line that a crash cut off, of which nobody was told that it was recorded, is taken out; a whole one ended."""
    file.seek(0)
    written = file.read()
    last = written.rpartition(b"\n")[2]
    if last and is_torn(last):
        file.truncate(len(written) - len(last))
    elif last:
        file.write(b"\n")
