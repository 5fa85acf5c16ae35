"""ScienceQA: school questions with options; half of them have an image.

``problems.json``: problem id to ``{"question", "choices", "answer": index, "hint", "image":
"image.png" or null, "split", "lecture", "solution", "subject", "topic", "grade", …}``. Beside it,
``pid_splits.json`` lists ids by split (``train val test trainval minitrain minival minitest``). The
location is ``problems.json`` or its folder; ``split:`` of the recipe selects one. Images are
``<split>/<id>/image.png``, also below ``images/``.

The question shown is the hint as ``Context: …``, the question and the options as ``A. …`` lines; the
answer is the option's letter. Source: https://github.com/lupantech/ScienceQA.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import OPTION_LETTERS, lettered, sample, text
from curate.readers.files.json import RawRow, document_head, iter_document
from curate.readers.location import Probe
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.remote.mirror_files import is_file
from winnow.rows.records import Sample

_OWN_SPLITS = ("train", "val", "test")


def looks_like(probe: Probe) -> bool:
    """``problems.json`` by its problems, or a folder with it."""
    row = probe.member()
    if probe.is_folder:
        return "problems.json" in probe.names
    return {"question", "choices"} <= row.keys() and bool({"hint", "lecture", "answer"} & row.keys())


def other_files(settings: SourceSettings) -> list[Path]:
    """The lists of splits, if they are there."""
    splits = _problems(settings).parent / "pid_splits.json"
    return [splits] if is_file(splits) else []


def readings(settings: SourceSettings) -> list[Reading]:
    """The problems of ``settings.split``, all if it is empty. Raises UserError if there is no such split."""
    own_split = _own_splits(settings)
    listed = _pids(settings) if settings.split else None

    def split_of(row: RawRow) -> str:
        return str(row.fields.get("split") or own_split(row.key) or "")

    def wanted(row: RawRow) -> bool:
        if not settings.split:
            return True
        return row.fields.get("split", "") == settings.split if listed is None else listed.get(row.key) is not None

    def names(row: RawRow) -> Sequence[str]:
        if row.fields.get("image") in (None, ""):
            return ()
        image = text(row.fields, "image")
        return f"{split_of(row)}/{row.key}/{image}", f"{row.key}/{image}"

    def to_sample(row: RawRow, name_of: NameOf) -> Sample | None:
        if not wanted(row):
            return None
        fields = row.fields
        options, answer = lettered(fields.get("choices")), fields.get("answer")
        if answer is not None and (
            not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options)
        ):
            raise ValueError("'answer' must be the index of a choice")
        hint = fields.get("hint") or ""
        context = [f"Context: {hint}"] if isinstance(hint, str) and hint.strip() else []
        return sample(
            fields, settings, question="\n".join([*context, text(fields, "question"), *options]),
            answers=(OPTION_LETTERS[answer],) if isinstance(answer, int) else (), image=name_of(row), own=row.key,
            source="scienceqa", split=split_of(row), held={},
        )  # fmt: skip

    return [Reading(iter_document(_problems(settings)), to_sample, names)]


def _problems(settings: SourceSettings) -> Path:
    location = Path(settings.location)
    return location / "problems.json" if location.is_dir() else location


def _pids(settings: SourceSettings) -> HashIndex | None:
    """The ids of the wanted split; None without a list.

    Raises:
        UserError: the list has no such split.
    """
    for path in other_files(settings):
        head = document_head(path)
        if settings.split not in head:
            raise UserError(f"{path}: has no split {settings.split!r}; it has {', '.join(head)}")
        return _listed(path, settings.split)
    return None


def _own_splits(settings: SourceSettings) -> Callable[[str], str]:
    """Id to train, val or test, by the lists; '' for an id that is in none."""
    lists = {
        split: _listed(path, split)
        for path in other_files(settings)
        for split in _OWN_SPLITS
        if split in document_head(path)
    }
    return lambda pid: next((split for split, pids in lists.items() if pids.get(pid) is not None), "")


def _listed(path: Path, split: str) -> HashIndex:
    pids = HashIndex()
    for row in iter_document(path, split):
        if isinstance(row, RawRow):
            pids.add(str(row.value), row.position)
    return pids


LAYOUT = Layout(
    __doc__, "{location: scienceqa/problems.json, split: val}", looks_like, readings, other_files=other_files
)
