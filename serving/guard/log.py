"""The record of verdicts: append-only JSONL, a file a day; read again by the dashboard."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import orjson

from serving.guard.corrections import digest
from serving.guard.policy import Log
from winnow.files import open_regular
from winnow.images import suffix_of

LONGEST_CONTENTS = 2000  # characters of a text
_DAY = re.compile(r"\d{4}-\d\d-\d\d\.jsonl")
_IMAGE = re.compile(r"[0-9a-f]{64}\.[a-z0-9]{1,5}")


@dataclass(frozen=True)
class Verdict:
    """One line: what became of a request.

    Attributes:
        id: of the request, as in the header ``x-request-id``.
        at: ISO 8601 with zone.
        key: name of the key.
        verdict: ``pass``, ``clean`` (something was taken out), ``mask``, ``block`` or ``error``.
        stage: ``request``, ``text_in``, ``image``, ``text_out``, ``upstream`` or ``guard``.
        rule: what decided it.
        digest: sha256 of what was refused (``serving.guard.corrections.digest``).
        images: sha256 of each image.
        ms: milliseconds, of which ``guard_ms`` before the request was forwarded.
        contents: what was refused, if the policy keeps it: a text, or the name of a file in ``images/``.
    """

    id: str
    at: str
    key: str
    model: str
    verdict: str
    stage: str = ""
    rule: str = ""
    score: float | None = None
    digest: str = ""
    images: tuple[str, ...] = ()
    status: int = 200
    ms: float = 0.0
    guard_ms: float = 0.0
    contents: str = ""


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
        line = orjson.dumps(asdict(verdict)) + b"\n"
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


def days(folder: Path) -> list[str]:
    """The days of which a log has lines, the newest first."""
    return sorted((path.stem for path in folder.glob("*.jsonl") if _DAY.fullmatch(path.name)), reverse=True)


def read(folder: Path, day: str) -> Iterator[Verdict]:
    """The lines of a day, in order; what is no line of a log is left out, as is one that was cut off."""
    with open_regular(folder / f"{day}.jsonl") as file:
        for line in file:
            try:
                values: Any = orjson.loads(line)
                yield Verdict(**{**values, "images": tuple(values.get("images", ()))})
            except (orjson.JSONDecodeError, TypeError, AttributeError):
                continue


def image_path(folder: Path, name: str) -> Path | None:
    """The file of an image that a line names, None for any other name."""
    return folder / "images" / name if _IMAGE.fullmatch(name) else None
