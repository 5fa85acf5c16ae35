"""What a curation recipe can say about reading sources and measuring signals."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from pydantic import Field, model_validator

from curate.signals.zero_shot import SHIPPED
from winnow.recipe import StrictModel

# Pillow itself refuses above this; a higher cap of ours would not help.
_PILLOW_PIXEL_LIMIT = 178_956_970
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")


class SourceSettings(StrictModel):
    """One entry of ``sources:`` in a recipe.

    Attributes:
        location: a file, a folder, a pattern of files (``shards-{000..041}.tar``, ``data/train-*.parquet``),
            ``hub:<repo>[:<config>][:<split>]``, or the name of an installed data package (``easy_vqa``).
        layout: a key of ``curate.readers.SOURCES``; null recognises it by content.
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


class RemoteSettings(StrictModel):
    """``remote:`` in a recipe: images behind URLs are fetched. Without it none is; ``remote: {}`` takes the defaults.

    Attributes:
        mirror: prefix of URLs to what replaces it, e.g. ``{"http://images.cocodataset.org/": "http://mirror/coco/"}``.
        concurrency, per_host: connections at a time, in all and to one host.
        timeout: seconds without a byte before a connection counts as broken.
        deadline: seconds for one attempt, however steadily bytes drip.
        attempts: per image, in one run. Only what may pass is tried again: 408, 425, 429, 5xx, breaks, timeouts.
        backoff: seconds before the second attempt; doubles with each, with jitter.
        max_wait: longest pause in seconds; a server that asks for a longer one is left for the next run.
        max_redirects: followed for one image.
        allow_private: also connect to private, loopback and link-local addresses.
        max_bytes, max_pixels: caps of fetched images; null takes those of ``signals:``.
    """

    mirror: dict[str, str] = Field(default_factory=dict)
    concurrency: int = Field(default=32, ge=1, le=1024)
    per_host: int = Field(default=8, ge=1)
    timeout: float = Field(default=30, gt=0)
    deadline: float = Field(default=300, gt=0)
    attempts: int = Field(default=5, ge=1, le=100)
    backoff: float = Field(default=1, ge=0)
    max_wait: float = Field(default=60, ge=0)
    max_redirects: int = Field(default=5, ge=0, le=50)
    allow_private: bool = False
    max_bytes: int | None = Field(default=None, gt=0)
    max_pixels: int | None = Field(default=None, gt=0)


class ClipSettings(StrictModel):
    """Which CLIP embeds images and text.

    Attributes:
        model: an open_clip architecture (``ViT-B-32``), ``hf-hub:<repo>``, or a local folder with
            ``open_clip_config.json`` and ``open_clip_model.safetensors``.
        pretrained: open_clip's tag (``laion2b_s34b_b79k``) for an architecture; null for the others.
    """

    model: str
    pretrained: str | None = None


class PromptSet(StrictModel):
    """Texts that make CLIP score every image: the share of ``positive`` in the softmax over all of them.

    Attributes:
        positive: what is sought, as captions (``a photo of …``).
        negative: what else a picture may show; the more of it, the fewer false alarms.
        scale: what cosines are multiplied with; 100 is what CLIP models are trained towards.
    """

    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(default=100.0, gt=0)


class MeasureSettings(StrictModel):
    """``signals:`` in a recipe: what is measured, and the caps of decoding.

    Attributes:
        clip: the CLIP model; null leaves embeddings and alignment null.
        nsfw: ``opennsfw`` scores every image; null leaves the column null.
        cleanvision: whether to compute CleanVision's scores, which cost as much as all other signals; false leaves
            them null.
        prompts: column name → prompt set, or ``shipped`` for Winnow's own ``nsfw_clip`` and ``violence``. Computed
            from stored embeddings: changing them opens no image. Needs ``clip``.
        heads: column name → safetensors file of a linear layer on the embedding (``weight``, ``bias``); the column
            is its sigmoid. Needs ``clip``.
        max_bytes, max_pixels: larger files and images are classed, not decoded.
        workers: processes that decode; null is one for each CPU, and at least two. Changes no result, but with one
            the command itself decodes, and ends with a decoder that crashes.
        engine: ``local``, or ``ray`` for a cluster (``RAY_ADDRESS``) that sees the images at the same path; needs
            the extra ``ray``. Changes no result.
        shard_size: images per Parquet part; also how much a killed run loses at most.
        batch_size: images or texts in one forward pass of a model.
    """

    clip: ClipSettings | None = None
    nsfw: Literal["opennsfw"] | None = None
    cleanvision: bool = False
    prompts: dict[str, PromptSet | Literal["shipped"]] = Field(default_factory=dict)
    heads: dict[str, Path] = Field(default_factory=dict)
    max_bytes: int = Field(default=100_000_000, gt=0)
    max_pixels: int = Field(default=80_000_000, gt=0, le=_PILLOW_PIXEL_LIMIT)
    workers: int | None = Field(default=None, ge=1)
    engine: Literal["local", "ray"] = "local"
    shard_size: int = Field(default=2048, ge=1)
    batch_size: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _scores_can_be_computed(self) -> MeasureSettings:
        for name in self.scores:
            if not _COLUMN.fullmatch(name) or self.scores.count(name) > 1:
                raise ValueError(f"{name!r}: a score has a name of its own in small letters, digits and '_'")
        for name, one in self.prompts.items():
            if one == "shipped" and name not in SHIPPED:
                raise ValueError(f"prompts {name!r}: shipped are {' and '.join(SHIPPED)}; write positive and negative")
        if self.scores and self.clip is None:
            raise ValueError(f"{self.scores[0]!r} is read off CLIP's embeddings: set `clip:` too")
        return self

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the columns that ``prompts`` and ``heads`` add."""
        return (*self.prompts, *self.heads)

    @property
    def prompt_sets(self) -> dict[str, PromptSet]:
        """``prompts`` with the shipped ones in full."""
        return {
            name: one if isinstance(one, PromptSet) else PromptSet(positive=SHIPPED[name][0], negative=SHIPPED[name][1])
            for name, one in self.prompts.items()
        }
