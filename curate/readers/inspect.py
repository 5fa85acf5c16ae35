"""What a location holds before anything is curated: its layout, its counts, three rows, and what is wrong."""

from __future__ import annotations

import heapq
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from curate.measure.texts import conversation_facts
from curate.readers import OpenedSource, open_source, other_files
from curate.readers.facts import Counting, SourceFacts
from curate.readers.fields import as_object
from curate.readers.files.json import document_head
from curate.readers.storable import storable
from curate.settings.signals import MeasureSettings
from curate.settings.sources import SourceSettings
from winnow.hash_index import HashIndex, digest64
from winnow.media.images import CLASSES, decode
from winnow.media.locate import locate, wrong_extension
from winnow.media.near_files import KINDS, NearFiles
from winnow.progress import track
from winnow.rows.records import BadRow, Sample

_ROWS_SHOWN, _EXAMPLES, _BAD_CLASSES = 3, 3, 20
_SPECIFIC = re.compile(r"\d[\d.,]*|'[^']*'|\"[^\"]*\"|/\S+")
_ROW_FAULTS = {
    "empty_answer": "an assistant turn is blank",
    "echoed_answer": "an answer repeats its question",
    "refusal": "an answer is a refusal",
    "markers_mismatch": "<image> markers do not match the images",
    "not_alternating": "user and assistant do not take turns",
    "repeated_id": "the id occurred before; set `ids: position` in the recipe, or --ids position",
}


@dataclass(frozen=True)
class Problem:
    """One class of problems.

    Attributes:
        name: ``bad row``, a fault of rows, or a preflight class.
        count: rows, or images among those that were decoded.
        meaning: one clause.
        examples: the first ones: file and line, id of the row, or path of the image.
    """

    name: str
    count: int
    meaning: str
    examples: tuple[str, ...]


@dataclass(frozen=True)
class Inspection:
    """The result of inspecting a location.

    Attributes:
        settings: what was inspected.
        also_read: files beside the location, such as VQA's annotations.
        license: as the file itself states it, '' for most.
        rows, bad_rows: readable and unreadable rows.
        unanswered: rows without any answer; legal, as in test splits.
        text_only, several_images: rows without an image, rows with more than one.
        votes: fewest and most references of a row.
        images: distinct image paths.
        splits, question_types: name → number of rows.
        images_checked: how many images were decoded (the same every time).
        row_problems, image_problems: the most frequent first.
        examples: the first rows.
        facts: fields that nothing uses, and what reading has assumed.
    """

    settings: SourceSettings
    layout: str
    image_root: Path
    also_read: tuple[Path, ...]
    license: str
    rows: int
    bad_rows: int
    unanswered: int
    text_only: int
    several_images: int
    votes: tuple[int, int]
    images: int
    splits: Mapping[str, int]
    question_types: Mapping[str, int]
    images_checked: int
    row_problems: tuple[Problem, ...]
    image_problems: tuple[Problem, ...]
    examples: tuple[Sample, ...]
    facts: SourceFacts


class _Problems:
    """Counts and first examples by class."""

    def __init__(self) -> None:
        self._found: dict[str, tuple[int, str, list[str]]] = {}

    def add(self, name: str, meaning: str, example: str, key: str = "") -> None:
        count, meaning, examples = self._found.get(key or name, (0, meaning, []))
        examples += [example] if len(examples) < _EXAMPLES else []
        self._found[key or name] = (count + 1, meaning, examples)

    def add_bad_row(self, row: BadRow) -> None:
        """Bad rows are of one class if their reasons differ only in numbers and names."""
        key = f"bad row {_SPECIFIC.sub('…', row.reason)}"
        if key not in self._found and sum(known.startswith("bad row") for known in self._found) >= _BAD_CLASSES:
            key = "bad row"
        self.add("bad row", row.reason if key != "bad row" else "other reasons", row.where, key)

    def all(self) -> tuple[Problem, ...]:
        found = [
            Problem("bad row" if key.startswith("bad row") else key.split(":")[0], count, meaning, tuple(examples))
            for key, (count, meaning, examples) in self._found.items()
        ]
        return tuple(sorted(found, key=lambda problem: -problem.count))


def inspect_location(settings: SourceSettings, *, check_images: int = 200) -> Inspection:
    """Read every row and decode a sample of the images.

    Args:
        settings: as in ``sources:`` of a recipe; without ``layout`` it is recognised.
        check_images: how many distinct images to decode, chosen by digest of their path.

    Raises:
        UserError: nothing is there, no layout fits, or a file is broken.
    """
    source = open_source(settings)
    problems = _Problems()
    examples: list[Sample] = []
    counts, splits, kinds = Counter[str](), Counter[str](), Counter[str]()
    fewest, most = 1 << 62, 0
    ids, images = HashIndex(), HashIndex()
    chosen: list[tuple[int, str, bytes | None]] = []  # a heap of the smallest digests, negated
    counting = Counting(settings.location, source.layout, source.notes)
    for row in map(storable, track(source.rows(), f"read {settings.location}")):
        counting.add(row)
        if isinstance(row, BadRow):
            counts["bad"] += 1
            problems.add_bad_row(row)
            continue
        counts["rows"] += 1
        counts["text_only"] += not row.image
        counts["several"] += len(row.image) > 1
        counts["unanswered"] += _is_unanswered(row)
        fewest, most = min(fewest, len(row.answers)), max(most, len(row.answers))
        splits[row.split] += 1
        kind = row.meta.get("question_type")
        if isinstance(kind, str) and (kind in kinds or len(kinds) < 1000):
            kinds[kind] += 1
        examples += [row] if len(examples) < _ROWS_SHOWN else []
        for name in _faults(row) + (["repeated_id"] if ids.add(row.id, 0) is not None else []):
            problems.add(name, _ROW_FAULTS[name], row.id)
        for path in row.image:
            digest = digest64(path)
            if images.add(digest, 0) is None and check_images:
                change = heapq.heappush if len(chosen) < check_images else heapq.heappushpop
                change(chosen, (-digest, path, row.embedded.get(path)))
    checked = sorted((path, data) for _, path, data in chosen)
    return Inspection(
        settings, source.layout, source.image_root, tuple(other_files(settings)), _license(settings.location),
        counts["rows"], counts["bad"], counts["unanswered"], counts["text_only"], counts["several"],
        (min(fewest, most), most), len(images), splits, kinds, len(checked), problems.all(),
        _image_problems(checked, source), tuple(examples),
        counting.facts(),
    )  # fmt: skip


def _license(location: str) -> str:
    """Name and address in the ``license`` of a document, as VQA's files have it."""
    head = document_head(Path(location)) if Path(location).is_file() else {}
    found = as_object(head.get("license"))
    return ", ".join(str(found[key]) for key in ("name", "url") if key in found)


def _is_unanswered(sample: Sample) -> bool:
    return not sample.answers and all(turn.role != "assistant" for turn in sample.conversations)


def _faults(sample: Sample) -> list[str]:
    facts = conversation_facts(sample)
    found = [] if facts["markers_match"] else ["markers_mismatch"]
    if _is_unanswered(sample):
        return found
    found += [name for name in ("empty_answer", "echoed_answer", "refusal") if facts[name]]
    return found + ([] if facts["alternates"] else ["not_alternating"])


def _image_problems(images: list[tuple[str, bytes | None]], source: OpenedSource) -> tuple[Problem, ...]:
    caps = MeasureSettings()
    root = str(source.image_root.resolve())
    problems, near = _Problems(), NearFiles(source.image_root)
    for path, embedded in track(images, "check images", len(images)):
        error, detail, data = None, None, embedded
        if data is None:
            located = locate(path, root, max_bytes=caps.max_bytes, links_within=str(source.links_within))
            error, detail = located.error, located.detail
            data = Path(located.file).read_bytes() if located.file is not None else None
        if data is not None:
            _, facts = decode(data, max_bytes=caps.max_bytes, max_pixels=caps.max_pixels)
            error, detail = facts.error, facts.error_detail
            if facts.format and (misnamed := wrong_extension(path, facts.format)):
                error, detail = error or "wrong_extension", detail or misnamed
        if error is not None:
            hint = near.hint(path, error, detail)
            meaning, detail = (f"lies {KINDS[hint.kind]}", hint.text) if hint else (CLASSES[error], detail)
            key = f"{error}: {hint.kind}" if hint else error
            problems.add(error, meaning, f"{path}: {detail}" if detail else path, key)
    return problems.all()
