"""``signals:`` of a recipe: what is measured on every image, and the caps of decoding."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from curate.signals.clip import SHIPPED
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS
from winnow.recipe import StrictModel

# Pillow itself refuses above this; a higher cap of ours would not help.
_PILLOW_PIXEL_LIMIT = 178_956_970
_COLUMN = re.compile(r"[a-z][a-z0-9_]{0,62}")


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
        positive: captions of what is sought (``a photo of …``).
        negative: captions of what else an image may show; more of them mean fewer false alarms.
        scale: factor of the cosines before the softmax; CLIP models are trained towards 100.
    """

    positive: tuple[str, ...] = Field(min_length=1)
    negative: tuple[str, ...] = Field(min_length=1)
    scale: float = Field(default=100.0, gt=0)


class HeadSettings(StrictModel):
    """A trained head on CLIP's embedding; a file alone stands for one with the defaults.

    Attributes:
        file: ``.safetensors``, a PyTorch state dict (``.pth``, ``.pt``, ``.bin``; read with ``weights_only``), or
            ``.npz``, with the weights and biases of one or more linear layers.
        activation: what stands between two layers.
        output: ``sigmoid`` for a probability, ``raw`` for what the last layer gives, such as an aesthetic score.
    """

    file: Path
    activation: Literal["none", "relu"] = "none"
    output: Literal["sigmoid", "raw"] = "sigmoid"

    @model_validator(mode="before")
    @classmethod
    def _file_alone(cls, values: Any) -> Any:
        return {"file": values} if isinstance(values, str | Path) else values


class MeasureSettings(StrictModel):
    """``signals:`` in a recipe: what is measured, and the caps of decoding.

    Attributes:
        clip: the CLIP model; null leaves embeddings and alignment null.
        language: detect the language of questions and answers; needs the extra ``language-id``.
        embedding: ``efficientnet-lite0``, a small network that a package ships, embeds every image: for near-duplicates
            by meaning, selections and neighbours where no CLIP can be had; null computes none.
        nsfw: ``opennsfw`` scores every image; null leaves the column null.
        itm: a BLIP, SigLIP or CLIP of transformers that scores every image with its row's question and answer, by its
            name on the hub or as a local folder; null leaves the column null.
        faces: ``mtcnn`` counts the faces of every image (``curate.signals.faces``), a few tenths of a second each.
        ocr: ``rapidocr`` reads the text of every image, in seconds an image; needs the extra ``ocr``.
        cleanvision: whether to compute CleanVision's scores, which cost as much as all other signals; false leaves
            them null.
        prompts: column name → prompt set, or ``shipped`` for Winnow's own ``nsfw_clip`` and ``violence``. Computed
            from stored embeddings: changing them opens no image. Needs ``clip``.
        heads: column name → a trained head on the embedding, or its file: an aesthetic or NSFW predictor. Needs
            ``clip``.
        max_bytes, max_pixels: larger files and images get an error class and are not decoded.
        workers: processes that decode; null is one for each CPU, and at least two. Does not change the result. With
            one, the command itself decodes, so that a decoder that crashes ends it.
        engine: ``local``, or ``ray`` for a cluster (``RAY_ADDRESS``) that sees the images at the same path; needs
            the extra ``ray``. Changes no result.
        shard_size: images per Parquet part, and the most that a killed run loses.
        batch_size: images or texts in one forward pass of a model.
    """

    clip: ClipSettings | None = None
    language: bool = False
    embedding: Literal["efficientnet-lite0"] | None = None
    nsfw: Literal["opennsfw"] | None = None
    itm: str | None = Field(default=None, min_length=1)
    faces: Literal["mtcnn"] | None = None
    ocr: Literal["rapidocr"] | None = None
    cleanvision: bool = False
    prompts: dict[str, PromptSet | Literal["shipped"]] = Field(default_factory=dict)
    heads: dict[str, HeadSettings] = Field(default_factory=dict)
    max_bytes: int = Field(default=DEFAULT_MAX_BYTES, gt=0)
    max_pixels: int = Field(default=DEFAULT_MAX_PIXELS, gt=0, le=_PILLOW_PIXEL_LIMIT)
    workers: int | None = Field(default=None, ge=1, le=1024)
    engine: Literal["local", "ray"] = "local"
    shard_size: int = Field(default=2048, ge=1)
    batch_size: int = Field(default=64, ge=1)

    @model_validator(mode="after")
    def _scores_can_be_computed(self) -> MeasureSettings:
        for name in self.scores:
            if not _COLUMN.fullmatch(name) or self.scores.count(name) > 1:
                raise ValueError(f"{name!r}: a score needs a unique name in small letters, digits and '_'")
        for name, prompts in self.prompts.items():
            if prompts == "shipped" and name not in SHIPPED:
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
