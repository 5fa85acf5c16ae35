"""What a location holds before anything is curated: its layout, its counts, three rows, and what is wrong."""

from __future__ import annotations

import heapq
import json
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from curate.decode import decode
from curate.preflight import CLASSES, locate, wrong_extension
from curate.progress import track
from curate.sample import BadRow, Sample, to_record
from curate.seen import SeenTexts, digest64
from curate.settings import MeasureSettings, SourceSettings
from curate.signals import text
from curate.sources import open_source

_ROWS_SHOWN, _BAD_SHOWN = 3, 5
_ROW_FAULTS = {
    "empty_answer": "an assistant turn is blank, or there is none",
    "echoed_answer": "an answer repeats its question",
    "refusal": "an answer is a refusal",
    "markers_mismatch": "<image> markers do not match the images",
    "not_alternating": "user and assistant do not take turns",
    "repeated_id": "the id occurred before; set `ids: position` in the recipe",
}


@dataclass(frozen=True)
class Inspection:
    """What was found.

    Attributes:
        rows, bad_rows: readable and unreadable rows; ``bad_examples`` are the first of the latter.
        text_only, several_images: rows without a picture, rows with more than one.
        images: distinct image paths.
        splits, row_faults: name → number of rows.
        images_checked: how many images were decoded (the same ones every time).
        image_faults: preflight class → (number among those checked, first path, detail).
        examples: the first rows.
    """

    location: str
    layout: str
    image_root: Path
    rows: int
    bad_rows: int
    bad_examples: tuple[BadRow, ...]
    text_only: int
    several_images: int
    images: int
    splits: Mapping[str, int]
    row_faults: Mapping[str, int]
    images_checked: int
    image_faults: Mapping[str, tuple[int, str, str]]
    examples: tuple[Sample, ...]


def inspect_location(
    location: str, as_name: str | None = None, *, image_root: str | None = None, check_images: int = 200
) -> Inspection:
    """Read every row and decode a sample of the images.

    Args:
        location: file, folder or package name.
        as_name: layout to read it as; None recognises it.
        image_root: where the images are, if they are not found near the file.
        check_images: how many distinct images to decode, chosen by digest of their path.

    Raises:
        UserError: nothing there, or no known layout.
    """
    source = open_source(SourceSettings(location=location, layout=as_name, image_root=image_root))
    bad: list[BadRow] = []
    examples: list[Sample] = []
    counts, splits, faults = Counter[str](), Counter[str](), Counter[str]()
    ids, images = SeenTexts(), SeenTexts()
    chosen: list[tuple[int, str]] = []  # a heap of the smallest digests, negated
    for row in track(source.rows(), f"read {location}"):
        if isinstance(row, BadRow):
            counts["bad"] += 1
            bad += [row] if len(bad) < _BAD_SHOWN else []
            continue
        counts["rows"] += 1
        counts["text_only"] += not row.image
        counts["several"] += len(row.image) > 1
        splits[row.split] += 1
        examples += [row] if len(examples) < _ROWS_SHOWN else []
        faults.update(_faults(row))
        faults["repeated_id"] += ids.add(row.id, 0) is not None
        for path in row.image:
            digest = digest64(path)
            if images.add(digest, 0) is None and check_images:
                change = heapq.heappush if len(chosen) < check_images else heapq.heappushpop
                change(chosen, (-digest, path))
    checked = sorted(path for _, path in chosen)
    return Inspection(
        location, source.layout, source.image_root, counts["rows"], counts["bad"], tuple(bad), counts["text_only"],
        counts["several"], len(images), splits, {name: count for name, count in faults.items() if count}, len(checked),
        _image_faults(checked, source.image_root), tuple(examples),
    )  # fmt: skip


def _faults(sample: Sample) -> list[str]:
    turns = [(turn.role, turn.value) for turn in sample.conversations]
    facts = text.conversation(turns, len(sample.image))
    found = [name for name in ("empty_answer", "echoed_answer", "refusal") if facts[name]]
    found += [] if facts["markers_match"] else ["markers_mismatch"]
    return found + ([] if facts["alternates"] else ["not_alternating"])


def _image_faults(paths: list[str], image_root: Path) -> dict[str, tuple[int, str, str]]:
    caps = MeasureSettings()
    root = str(image_root.resolve())
    found: dict[str, tuple[int, str, str]] = {}
    for path in track(paths, "check images", len(paths)):
        located = locate(path, root, max_bytes=caps.max_bytes)
        error, detail = located.error, located.detail
        if located.file is not None:
            _, facts = decode(Path(located.file).read_bytes(), max_bytes=caps.max_bytes, max_pixels=caps.max_pixels)
            error, detail = facts.error, facts.error_detail
            if facts.format and (misnamed := wrong_extension(path, facts.format)):
                error, detail = error or "wrong_extension", detail or misnamed
        if error is not None:
            count, first, why = found.get(error, (0, path, detail or ""))
            found[error] = (count + 1, first, why)
    return found


def show_inspection(found: Inspection, console: Console | None = None) -> None:
    """Print it for people; text of the data set is shown as text."""
    console = console or Console()
    table = Table(show_header=False, box=None, pad_edge=False)
    facts: list[tuple[str, Any]] = [
        ("location", found.location),
        ("layout", found.layout),
        ("image root", found.image_root),
        ("rows", f"{found.rows:,}"),
        ("unreadable rows", f"{found.bad_rows:,}"),
        ("images", f"{found.images:,} distinct paths"),
        ("rows without image", f"{found.text_only:,}"),
        ("rows with several", f"{found.several_images:,}"),
        ("splits", ", ".join(f"{name or '(none)'} {count:,}" for name, count in sorted(found.splits.items()))),
    ]
    for name, value in facts:
        table.add_row(Text(name, style="dim"), Text(str(value)))
    console.print(table)
    for number, sample in enumerate(found.examples, start=1):
        console.print(Text(f"\nrow {number}", style="bold"))
        line = json.dumps(to_record(sample), ensure_ascii=False)
        console.print(Text(line if len(line) <= 600 else line[:600] + " …"))
    console.print(Text("\nwhat is wrong", style="bold"))
    if not (found.bad_rows or found.row_faults or found.image_faults):
        console.print(f"nothing found ({found.images_checked:,} images decoded)")
        return
    wrong = Table(box=None, pad_edge=False)
    for header in ("what", "how many", "meaning", "first"):
        wrong.add_column(header, justify="right" if header == "how many" else "left", overflow="fold")
    for bad in found.bad_examples[:1]:
        wrong.add_row("bad row", f"{found.bad_rows:,}", Text(bad.reason), Text(bad.where))
    for name, count in found.row_faults.items():
        wrong.add_row(name, f"{count:,}", Text(_ROW_FAULTS[name]), "")
    for name, (count, path, why) in found.image_faults.items():
        share = f"{count:,} of {found.images_checked:,}"
        wrong.add_row(name, share, Text(CLASSES[name]), Text(f"{path}: {why}" if why else path))
    console.print(wrong)
