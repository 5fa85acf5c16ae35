"""The record of verdicts as it is read: lines of append-only JSONL, a file a day."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from winnow.files import open_regular

LONGEST_CONTENTS = 20_000  # characters that are kept of a text
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
        contents: what was refused, if the policy keeps it: the beginning of a text (``LONGEST_CONTENTS``), or the
            name of a file in ``images/``.
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


_VERDICT = TypeAdapter(Verdict)


def days(folder: Path) -> list[str]:
    """The days of which a log has lines, the newest first."""
    return sorted((path.stem for path in folder.glob("*.jsonl") if _DAY.fullmatch(path.name)), reverse=True)


def read(folder: Path, day: str) -> Iterator[Verdict]:
    """The lines of a day, in order; what is no line of a log, has other types or was cut off is left out."""
    with open_regular(folder / f"{day}.jsonl") as file:
        for line in file:
            try:
                yield _VERDICT.validate_json(line, strict=True)
            except ValidationError:
                continue


def image_path(folder: Path, name: str) -> Path | None:
    """The file of an image that a line names, None for any other name."""
    return folder / "images" / name if _IMAGE.fullmatch(name) else None
