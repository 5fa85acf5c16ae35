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

from curate.readers.base import Layout, NameOf, Reading
from curate.readers.fields import assumed_question, caption_prompt, sample, text
from curate.readers.files.json import RawRow, document_head, iter_document
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe
from curate.readers.tables.cells import list_literal
from curate.settings.sources import SourceSettings
from winnow.rows.records import BadRow, Sample

_FOLDERS = ("images", "Images", "flickr30k-images", "flickr30k_images", "Flicker8k_Dataset", "coco")


def looks_like(probe: Probe) -> bool:
    """Images with their sentences in one list, or the CSV's columns."""
    return {"sentences", "filename"} <= probe.element("images").keys() or (
        {"raw", "sentids", "filename"} <= probe.first.keys()
    )


def readings(settings: SourceSettings) -> list[Reading]:
    """The file; images of ``settings.split``, all if it is empty."""
    path = Path(settings.location)
    dataset = document_head(path).get("dataset") or next((size for size in ("30k", "8k") if size in path.stem), "")
    source = {"30k": "flickr30k", "8k": "flickr8k"}.get(dataset, str(dataset) or path.stem)

    def to_sample(row: RawRow, name_of: NameOf) -> Sample | None:
        split, raw = str(row.fields.get("split") or ""), row.fields.get("raw")
        if settings.split and split and split != settings.split:
            return None
        own = row.fields.get("cocoid") or text(row.fields, "filename")
        prompt = caption_prompt(settings)
        return sample(
            row.fields, settings, question=prompt, answers=_captions(row.fields), image=name_of(row),
            own=own, source=source,
            split=split, held={"raw": raw} if isinstance(raw, str) else {},
            notes=(assumed_question(prompt, "captions"),),
        )  # fmt: skip

    return [Reading(_rows(path), to_sample, _names, _FOLDERS)]


def _names(row: RawRow) -> Sequence[str]:
    name, folder = text(row.fields, "filename"), row.fields.get("filepath")
    return [f"{folder}/{name}", name] if isinstance(folder, str) and folder else [name, name]


def _rows(path: Path) -> Iterator[RawRow | BadRow]:
    yield from iter_document(path, "images") if document_head(path) else iter_rows(path)


def _captions(row: Mapping[str, Any]) -> tuple[str, ...]:
    sentences: Any = row.get("sentences")
    raw = row.get("raw")
    if isinstance(raw, str):
        sentences = list_literal(raw)
    if not isinstance(sentences, list):
        raise ValueError("no list of sentences")
    return tuple(text(sentence, "raw") if isinstance(sentence, dict) else str(sentence) for sentence in sentences)


LAYOUT = Layout(
    __doc__,
    "{location: karpathy/dataset_flickr30k.json, split: test, image_root: flickr30k-images}",
    looks_like,
    readings,
)
