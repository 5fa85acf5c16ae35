"""Karpathy's splits of COCO, Flickr8k and Flickr30k: one row an image, its captions as references.

``dataset_coco.json``: ``{"dataset", "images": [{"filename", "filepath", "split", "cocoid", "imgid",
"sentids", "sentences": [{"raw", "tokens", "sentid", "imgid"}]}]}``. Also the CSV of the Flickr30k copy on
the hub: ``raw`` (a JSON list of captions), ``sentids``, ``split``, ``filename``, ``img_id``. ``split:`` of
the recipe selects one; ``restval`` is a split of its own.
Source: https://cs.stanford.edu/people/karpathy/deepimagesent/.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from curate.readers.base import Placing, Probe, place, sample, samples, text
from curate.readers.json import Value, document_head, iter_document
from curate.readers.tables import CAPTION_QUESTION, iter_rows, list_literal
from curate.recipe import SourceSettings
from winnow.records import BadRow, Sample

EXAMPLE = "{location: karpathy/dataset_flickr30k.json, split: test, image_root: flickr30k-images}"
_FOLDERS = ("images", "Images", "flickr30k-images", "flickr30k_images", "Flicker8k_Dataset", "coco")


def looks_like(probe: Probe) -> bool:
    """Images with their sentences in one list, or the CSV's columns."""
    return {"sentences", "filename"} <= probe.element("images").keys() or (
        {"raw", "sentids", "filename"} <= probe.first.keys()
    )


def image_root(settings: SourceSettings) -> Path:
    """The folder given, or the one near the file where the first images are found."""
    return _placing(settings).root


def iter_samples(settings: SourceSettings) -> Iterator[Sample | BadRow]:
    """Images of ``settings.split``, all if it is empty.

    Raises:
        UserError: the file is missing or broken.
    """
    path = Path(settings.location)
    name = _placing(settings).name
    dataset = document_head(path).get("dataset") or next((one for one in ("30k", "8k") if one in path.stem), "")
    source = {"30k": "flickr30k", "8k": "flickr8k"}.get(dataset, str(dataset) or path.stem)

    def make(row: Mapping[str, Any], where: Value) -> Sample | None:
        split = str(row.get("split") or "")
        if settings.split and split and split != settings.split:
            return None
        own = row.get("cocoid") or text(row, "filename")
        held = {"raw"} if isinstance(row.get("raw"), str) else set()
        return sample(
            row, question=CAPTION_QUESTION, answers=_captions(row), own=own, image=name(row), settings=settings,
            source=source, split=split, held=held,
        )  # fmt: skip

    yield from samples(_rows(path), make)


def _rows(path: Path) -> Iterator[Value | BadRow]:
    if document_head(path):
        yield from iter_document(path, "images")
        return
    for row in iter_rows(path):
        yield row if isinstance(row, BadRow) else Value(row[2], row[0], row[1])


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    sentences: Any = row.get("sentences")
    raw = row.get("raw")
    if isinstance(raw, str):
        sentences = list_literal(raw)
    if not isinstance(sentences, list):
        raise ValueError("no list of sentences")
    return tuple(text(one, "raw") if isinstance(one, dict) else str(one) for one in sentences)


def _placing(settings: SourceSettings) -> Placing:
    def names(row: Mapping[str, Any]) -> Sequence[str]:
        name, folder = text(row, "filename"), row.get("filepath")
        return [f"{folder}/{name}", name] if isinstance(folder, str) and folder else [name, name]

    return place(settings, _rows(Path(settings.location)), names, _FOLDERS)
