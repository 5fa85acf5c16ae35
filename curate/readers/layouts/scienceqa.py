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

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import OPTION_LETTERS, Placing, Probe, lettered, place, sample, samples, text
from curate.readers.json import Value, document_head, iter_document
from curate.recipe import SourceSettings
from winnow.errors import UserError
from winnow.hash_index import HashIndex
from winnow.records import BadRow, Sample

EXAMPLE = "{location: scienceqa/problems.json, split: val}"
_OWN_SPLITS = ("train", "val", "test")


def looks_like(probe: Probe) -> bool:
    """``problems.json`` by its problems, or a folder with it."""
    row = probe.member()
    if probe.is_folder:
        return "problems.json" in probe.names
    return {"question", "choices"} <= row.keys() and bool({"hint", "lecture", "answer"} & row.keys())


def files(settings: SourceSettings) -> list[Path]:
    """What is read beside the location: the lists of splits, if they are there."""
    splits = _problems(settings).parent / "pid_splits.json"
    return [splits] if splits.is_file() else []


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the problems where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Problems of ``settings.split``, all if it is empty.

    Raises:
        UserError: a file is missing or broken, or there is no such split.
    """
    own_split = _own_splits(settings)
    wanted = _pids(settings) if settings.split else None
    name = _placing(settings).name

    def make(row: Mapping[str, Any], where: Value) -> Sample | None:
        split = row.get("split") or own_split(where.key)
        if settings.split and (split != settings.split if wanted is None else wanted.get(where.key) is None):
            return None
        options = lettered(row.get("choices"))
        answer = row.get("answer")
        if answer is not None and (
            not isinstance(answer, int) or isinstance(answer, bool) or not 0 <= answer < len(options)
        ):
            raise ValueError("'answer' must be the index of a choice")
        hint = row.get("hint") or ""
        context = [f"Context: {hint}"] if isinstance(hint, str) and hint.strip() else []
        image = name({**row, "split": split, "pid": where.key})
        return sample(
            row, question="\n".join([*context, text(row, "question"), *options]),
            answers=(OPTION_LETTERS[answer],) if isinstance(answer, int) else (), own=where.key,
            image=(image,) if image else (), settings=settings, source="scienceqa", split=str(split or ""), held=(),
        )  # fmt: skip

    yield from samples(iter_document(_problems(settings)), make)


def _problems(settings: SourceSettings) -> Path:
    location = Path(settings.location)
    return location / "problems.json" if location.is_dir() else location


def _pids(settings: SourceSettings) -> HashIndex | None:
    """The ids of the wanted split; None where no list tells them.

    Raises:
        UserError: the lists know no such split.
    """
    for path in files(settings):
        head = document_head(path)
        if settings.split not in head:
            raise UserError(f"{path}: has no split {settings.split!r}; it has {', '.join(head)}")
        return _listed(path, settings.split)
    return None


def _own_splits(settings: SourceSettings) -> Callable[[str], str]:
    """Id to train, val or test, by the lists; '' for an id that they do not hold."""
    lists = {
        split: _listed(path, split) for path in files(settings) for split in _OWN_SPLITS if split in document_head(path)
    }
    return lambda pid: next((split for split, pids in lists.items() if pids.get(pid) is not None), "")


def _listed(path: Path, split: str) -> HashIndex:
    pids = HashIndex()
    for row in iter_document(path, split):
        if isinstance(row, Value):
            pids.add(str(row.value), row.position)
    return pids


def _placing(settings: SourceSettings) -> Placing:
    own_split = _own_splits(settings)

    def names(row: Mapping[str, Any]) -> Sequence[str]:
        if row.get("image") in (None, ""):
            return ()
        pid = text(row, "pid")
        split = row.get("split") or own_split(pid)
        return f"{split}/{pid}/{text(row, 'image')}", f"{pid}/{text(row, 'image')}"

    rows = (
        Value({"pid": row.key, **row.value}, row.where, row.position)
        for row in iter_document(_problems(settings))
        if isinstance(row, Value) and isinstance(row.value, dict)
    )
    return place(settings.model_copy(update={"location": str(_problems(settings))}), rows, names)
