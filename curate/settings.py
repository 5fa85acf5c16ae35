"""What a curation recipe can say about reading sources and measuring signals."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from curate.config import StrictModel

# Pillow itself refuses above this; a higher cap of ours would not help.
_PILLOW_PIXEL_LIMIT = 178_956_970


class SourceSettings(StrictModel):
    """One entry of ``sources:`` in a recipe.

    Attributes:
        location: a file, a folder, a pattern of files (``shards-{000..041}.tar``, ``data/train-*.parquet``),
            ``hub:<repo>[:<config>][:<split>]``, or the name of an installed data package (``easy_vqa``).
        layout: a key of ``curate.sources.SOURCES``; null recognises it by content.
        source: name of the dataset, first part of every id; default: the file's or folder's name.
            A record that names its own source keeps it.
        split: second part of every id, e.g. ``train``; a record that names its own keeps it.
        image_root: folder that image paths are relative to; null: see the layout's module.
        columns: for tables, role (``id image question answer answers caption split source``)
            to column name, where the names are not found by themselves.
        annotations: for VQA and OK-VQA, the file of annotations, or ``none``; null looks for the
            published name beside the questions.
        ocr: for TextVQA, the file of OCR tokens, or ``none``; null looks beside the questions.
        streaming: for ``hub:`` locations, read while downloading instead of downloading first.
        ids: ``own`` keeps the dataset's ids; ``position`` appends ``#<row>`` to each, for
            datasets that repeat ids.
        license: under which the dataset may be used, e.g. ``cc-by-4.0``; goes to the card and the manifest.
    """

    location: str
    layout: str | None = None
    source: str | None = None
    split: str = ""
    image_root: str | None = None
    columns: dict[str, str] = Field(default_factory=dict)
    annotations: str | None = None
    ocr: str | None = None
    streaming: bool = False
    ids: Literal["own", "position"] = "own"
    license: str | None = None


class ClipSettings(StrictModel):
    """Which CLIP embeds images and text.

    Attributes:
        model: an open_clip architecture (``ViT-B-32``), ``hf-hub:<repo>``, or a local folder with
            ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        pretrained: open_clip's tag (``laion2b_s34b_b79k``) for an architecture; null for the others.
    """

    model: str
    pretrained: str | None = None


class MeasureSettings(StrictModel):
    """``signals:`` in a recipe: what is measured, and the caps of decoding.

    Attributes:
        clip: the CLIP model; null leaves embeddings and alignment null.
        nsfw: ``opennsfw`` scores every image; null leaves the column null.
        max_bytes, max_pixels: larger files and images are classed, not decoded.
        workers: processes that decode; null is one for each CPU. Does not change any result.
        shard_size: images per Parquet part; also how much a killed run loses at most.
        batch_size: images or texts in one forward pass of a model.
    """

    clip: ClipSettings | None = None
    nsfw: Literal["opennsfw"] | None = None
    max_bytes: int = Field(default=100_000_000, gt=0)
    max_pixels: int = Field(default=80_000_000, gt=0, le=_PILLOW_PIXEL_LIMIT)
    workers: int | None = Field(default=None, ge=1)
    shard_size: int = Field(default=2048, ge=1)
    batch_size: int = Field(default=64, ge=1)
