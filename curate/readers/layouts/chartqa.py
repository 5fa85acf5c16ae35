"""ChartQA: questions about charts, written by people (``_human``) or by a model (``_augmented``).

Lists of ``{"imgname", "query", "label"}``. The location is one such file, the folder of a split
(``train/`` with ``train_human.json``, ``train_augmented.json`` and ``png/``), or the folder of all
splits. Source: https://github.com/vis-nlp/ChartQA.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, place, references, sample, samples, split_in, text
from curate.readers.json import Value, iter_json
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: ChartQA Dataset/val}"
_SPLITS = ("train", "val", "test")
_KINDS = ("human", "augmented")


def looks_like(probe: Probe) -> bool:
    """A list of charts with query and label; or a folder with such files."""
    if probe.is_folder:
        return bool(_files(probe.path))
    return probe.is_json and {"imgname", "query"} <= probe.first.keys()


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file, or below the location, where the first charts are found."""
    return _placing(settings, _files(Path(settings.location))[0]).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Every question, human ones first; ``meta.question_type`` says which they are.

    Of a folder of all splits, ``settings.split`` selects one.

    Raises:
        UserError: a file is missing or broken.
    """
    location = Path(settings.location)
    at_root = settings.model_copy(update={"image_root": str(image_root(settings))})
    position = 0
    for file in _files(location):
        split = split_in(file.name)
        if location.is_dir() and settings.split not in ("", split):
            continue
        kind = next((kind for kind in _KINDS if kind in file.stem), None)
        name = _placing(at_root, file).name

        def make(
            row: Mapping[str, Any],
            where: Value,
            split: str = split,
            kind: str | None = kind,
            name: Callable[[Mapping[str, Any]], str] = name,
        ) -> Sample:
            answers, placed = references(row.get("label")), name(row)
            held = {"query", *(["label"] if [row.get("label")] == list(answers) else [])}
            held |= {"imgname"} if placed == row["imgname"] else set()
            return sample(
                row, question=text(row, "query"), answers=answers, own=None, image=placed, settings=settings,
                source="chartqa", split=split, held=held, extra={"question_type": kind} if kind else {},
            )  # fmt: skip

        for made in samples(iter_json(file), make, position):
            yield made
            position += 1


def _files(location: Path) -> list[Path]:
    """The files of a location in order: split by split, human before augmented."""
    if not location.is_dir():
        return [location]
    folders = (location, *(location / split for split in _SPLITS))
    named = (folder / f"{split}_{kind}.json" for folder in folders for split in _SPLITS for kind in _KINDS)
    return [path for path in named if path.is_file()]


def _placing(settings: SourceSettings, file: Path) -> Placing:
    split = split_in(file.name) or "train"

    def names(row: Mapping[str, Any]) -> Sequence[str]:
        chart = text(row, "imgname")
        return f"png/{chart}", chart, f"{split}/png/{chart}"

    return place(settings, iter_json(file), names)
