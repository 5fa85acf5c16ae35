"""The record of verdicts as it is written; ``serving.guard.verdicts`` reads it."""

from __future__ import annotations

import json
import os
from dataclasses import asdict
from datetime import UTC, datetime

from serving.guard.corrections import digest
from serving.guard.policy import Log
from serving.guard.verdicts import LONGEST_CONTENTS, Verdict
from winnow.media.images import suffix_of


class LogError(Exception):
    """A line could not be written."""


class VerdictLog:
    """Appends lines; each is one write, so that lines of several guards never mix."""

    def __init__(self, log: Log) -> None:
        self._folder, self._contents = log.folder, log.contents
        self._file: tuple[str, int] | None = None

    def contents_of(self, refused: str | bytes | None) -> tuple[str, str]:
        """Digest of what was refused, and what is kept of it."""
        if refused is None:
            return "", ""
        name = digest(refused)
        if not self._contents or self._folder is None:
            return name, ""
        if isinstance(refused, str):
            return name, refused[:LONGEST_CONTENTS].encode("utf-8", "replace").decode()
        file = name + (suffix_of(refused) or ".bin")
        try:
            target = self._folder / "images" / file
            target.parent.mkdir(parents=True, exist_ok=True)
            if not target.exists():
                target.write_bytes(refused)
        except OSError:
            return name, ""
        return name, file

    def write(self, verdict: Verdict) -> None:
        """Append a line.

        Raises:
            LogError: the disk does not take it.
        """
        if self._folder is None:
            return
        # In ASCII: no sign of a request ends a line or moves a terminal's cursor, whoever reads it.
        line = json.dumps(asdict(verdict), ensure_ascii=True, allow_nan=False).encode() + b"\n"
        day = verdict.at[:10]
        try:
            if self._file is None or self._file[0] != day:
                self._folder.mkdir(parents=True, exist_ok=True)
                self.close()
                flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC
                self._file = (day, os.open(self._folder / f"{day}.jsonl", flags, 0o600))
            if os.write(self._file[1], line) != len(line):
                raise OSError("only a part was written")
        except OSError as error:
            raise LogError(str(error)) from error

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            os.close(self._file[1])
            self._file = None


def now() -> str:
    """This moment, as lines have it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")
