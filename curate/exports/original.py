"""``original``: the files that the rows came from, without the rows that were dropped.

Every other row is written as it stood there: JSON, JSONL and CSV byte for byte, Parquet with its schema and values. A
row that a reviewer has corrected gets the new text in the place of the old one. The lists that belong to the rows
(votes of VQA, captions of COCO) are filtered with them. Sources whose rows are not rows of one such file (shards,
folders of images, datasets of the hub) are refused before anything is written.
"""

from __future__ import annotations

import contextlib
import dataclasses
import itertools
import os
from array import array
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.exports.filtered import Change, write_filtered
from curate.exports.rows import Curated, Format, Part, Row, Target, Unfit
from curate.inputs import source_digest
from curate.readers import LAYOUTS, layout_of, read_with_raw
from curate.readers.base import ReadRow, SecondList
from curate.readers.files.json import FileRows, RawRow, iter_document
from curate.settings.sources import SourceSettings
from curate.workspace import Workspace
from winnow.digests import Digests
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.rows.records import Sample, from_record, to_original


@dataclasses.dataclass
class _Kept:
    """Rows of one file that go to one split: their positions in it, and those that a reviewer has changed."""

    positions: array[int] = dataclasses.field(default_factory=lambda: array("q"))
    changes: dict[int, Change] = dataclasses.field(default_factory=dict)


def write_original(rows: Iterable[Row], target: Target) -> list[Part]:
    """Write each file of each source; with several sources or splits, into a folder for each.

    Raises:
        UserError: a source has changed since it was curated, or cannot be written back.
    """
    curated = target.curated
    roots = [_root_of_files(source, curated) for source in curated.sources]
    waiting = iter(rows)
    row = next(waiting, None)
    position = 0
    for source, root, own in zip(curated.sources, roots, _folder_names(curated.sources), strict=True):
        for reading, group in itertools.groupby(read_with_raw(source), key=lambda found: found.reading):
            kept = {split: _Kept() for split in curated.splits}
            for found in group:
                if row is not None and row.position == position:
                    try:
                        _keep(found, row, kept[row.split], source)
                    except Unfit as why:
                        target.reject(row.sample.id, str(why))
                    row = next(waiting, None)
                position += 1
            for split, these in kept.items():
                folder = target.folder.joinpath(split if len(curated.splits) > 1 else "", own)
                _write_file(_file(reading.rows, source), root, folder, these, reading.second)
    if row is not None:
        raise _changed(source)
    return []


def _folder_names(sources: Sequence[SourceSettings]) -> list[str]:
    """For each source the folder that its files go to; '' for a single source."""
    if len(sources) == 1:
        return [""]
    names: list[str] = []
    for source in sources:
        name = "-".join(part for part in (source.source or Path(source.location).stem, source.split) if part)
        name = "".join(sign if sign.isalnum() or sign in "._-" else "_" for sign in name).lstrip(".") or "source"
        names.append(name if name not in names else f"{name}-{len(names) + 1}")
    return names


def _root_of_files(source: SourceSettings, curated: Curated) -> Path:
    """The folder that holds all files of a source.

    Raises:
        UserError: the source has changed, or its rows cannot be found in files again.
    """
    digests = Digests(Workspace(curated.folder).digests)
    if source_digest(source, digests, curated.folder) != curated.inputs.get(source.location):
        raise _changed(source)
    readings = LAYOUTS[layout_of(source)].readings(source)
    files = [_file(reading.rows, source) for reading in readings]
    return Path(os.path.commonpath([file.path.parent for file in files])) if files else Path()


def _file(rows: Iterable[Any], source: SourceSettings) -> FileRows:
    """The file of a reading, if its rows can be copied out of it."""
    if not isinstance(rows, FileRows):
        raise UserError(
            f"{source.location}: rows of the layout `{layout_of(source)}` cannot be written back; `--to original` does"
            " JSON, JSONL, CSV, TSV and Parquet files (use `--to jsonl` or another format, which take any source)"
        )
    if not rows.copyable:
        raise UserError(
            f"{rows.path}: rows cannot be copied out of it, because it is packed, Arrow, a workbook, or JSON that is"
            " not a list, lines or UTF-8; convert it and curate that, or use `--to jsonl` or another format"
        )
    return rows


def _changed(source: SourceSettings) -> UserError:
    return UserError(f"{source.location}: has changed since it was curated; run the curation again, then export")


def _keep(found: ReadRow, row: Row, kept: _Kept, source: SourceSettings) -> None:
    """Note a kept row.

    Raises:
        Unfit: a reviewer's correction has no place in the original row, or the row could not be read.
    """
    if not isinstance(found.raw, RawRow) or not isinstance(found.row, Sample):
        raise Unfit("could not be read")
    if found.row.id != row.sample.id:
        raise _changed(source)
    before = row.sample.meta.get("before_correction")
    if isinstance(before, dict):
        fields = found.raw.fields
        kept.changes[found.raw.position] = Change(fields, corrected(fields, found.row, row.sample, before))
    kept.positions.append(found.raw.position)


def corrected(fields: Mapping[str, Any], sample: Sample, now: Sample, before: Mapping[str, Any]) -> Mapping[str, Any]:
    """The fields of a row with a reviewer's texts in the place of those that they replace.

    Args:
        fields: the row as its file has it.
        sample, now: the sample that was made of it, and after the correction.
        before: the replaced texts: ``question``, ``answer``, ``answers``.

    Raises:
        Unfit: no field, or more than one, holds a replaced text.
    """
    if sample.form.record is not None:
        turns = tuple(
            dataclasses.replace(turn, value=new.value)
            for turn, new in zip(sample.conversations, now.conversations, strict=True)
        )
        with contextlib.suppress(UserError):
            changed = to_original(dataclasses.replace(sample, conversations=turns, answers=now.answers))
            if from_record(changed).conversations == now.conversations:
                return changed
        raise Unfit("a reviewer's correction has no place in the original row")
    texts = {"question": now.question, "answer": now.answer, "answers": list(now.answers)}
    changed = dict(fields)
    for names in (["question"], ["answers", "answer"]):
        replaced = [(name, before[name]) for name in names if name in before]
        places = {column: name for name, old in reversed(replaced) for column in fields if _is(fields[column], old)}
        if replaced and len(places) != 1:
            raise Unfit(f"a reviewer has changed its {names[-1]}, and no single field of the row holds the old one")
        changed.update({column: _like(fields[column], texts[name]) for column, name in places.items()})
    return changed


def _is(value: Any, old: Any) -> bool:
    return bool(value == old) or (isinstance(old, list) and len(old) == 1 and bool(value == old[0]))


def _like(value: Any, new: Any) -> Any:
    """One answer as a text where the row has a text."""
    return new[0] if isinstance(value, str) and isinstance(new, list) and len(new) == 1 else new


def _write_file(file: FileRows, root: Path, folder: Path, kept: _Kept, second: SecondList | None) -> None:
    target = folder / file.path.relative_to(root)
    write_filtered(file, target, kept.positions, kept.changes)
    if second is None:
        return
    ids = HashIndex()
    for number, row in enumerate(iter_document(target, file.key)):
        if isinstance(row, RawRow):
            ids.add(str(row.fields.get(second.row_field)), number)
    in_same = second.path == file.path
    whole = iter_document(target if in_same else second.path, second.key)
    wanted = (
        row.position
        for row in iter_document(whole.path, second.key)
        if isinstance(row, RawRow) and ids.get(str(row.fields.get(second.field))) is not None
    )
    write_filtered(whole, target if in_same else folder / second.path.name, wanted, {})


FORMATS = {
    "original": Format(
        write_original,
        {
            "": "The files that the set was made from, without the dropped rows: same formats, same values, and image"
            " paths as they were. Images and other files that lie beside them are not copied."
        },
        images=False,
    )
}
