"""CLIP and the NSFW scorer, run in batches on the small images that the workers prepared."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from curate.measure.itm import load_matcher
from curate.measure.row import MeasuredImage
from curate.recipe import MeasureSettings
from curate.signals import IMAGE_MODELS, PIXEL_SIGNALS, SIGNALS
from curate.signals.base import ImageModel, ModelUnavailable
from curate.signals.clip import Clip, ClipNotLoaded, ClipUnavailable, load_clip, model_name
from curate.signals.language import language
from curate.signals.nsfw import NsfwUnavailable, load_nsfw, nsfw_scores
from winnow.errors import UserError
from winnow.hub import cache_folder, why_offline

DECODE_VERSION = 2


def signals_wanted(settings: MeasureSettings) -> dict[str, Any]:
    """Name → version of everything that a part's rows depend on; None for what is off.

    Raises:
        UserError: the CLIP folder is not complete.
    """
    wanted: dict[str, Any] = {name: SIGNALS[name].version for name in PIXEL_SIGNALS}
    wanted["cleanvision"] = SIGNALS["cleanvision"].version if settings.cleanvision else None
    wanted["decode"] = [DECODE_VERSION, settings.max_bytes, settings.max_pixels]
    wanted["nsfw"] = settings.nsfw and [settings.nsfw, SIGNALS["nsfw"].version]
    wanted["clip"] = settings.clip and [clip_name(settings), SIGNALS["clip"].version]
    return wanted


def clip_name(settings: MeasureSettings) -> str | None:
    """What identifies the CLIP model and its weights, without loading them; None if CLIP is off."""
    if settings.clip is None:
        return None
    try:
        return model_name(settings.clip.model, settings.clip.pretrained)
    except ClipUnavailable as error:
        raise UserError(str(error)) from error


def clip_model(settings: MeasureSettings) -> Clip | None:
    """Load CLIP if the settings name one.

    Raises:
        UserError: it cannot be loaded.
    """
    if settings.clip is None:
        return None
    model = settings.clip.model
    offline = None if Path(model).is_dir() else why_offline()
    try:
        return load_clip(model, settings.clip.pretrained)
    except ClipNotLoaded as error:
        if offline is None:
            raise UserError(f"{error}; write `clip: null` to go on without it, or name another model") from error
        raise UserError(
            f"clip model {model!r} is not in the cache ({cache_folder()}), and {offline}: write `clip: null` to go on"
            " without it, name a local folder (`clip: {model: FOLDER}`), set HF_ENDPOINT to a mirror of the hub, or"
            " copy the cache of another machine here and set HF_HUB_OFFLINE=1"
        ) from error
    except ClipUnavailable as error:
        raise UserError(str(error)) from error


def nsfw_model(settings: MeasureSettings) -> Any:
    """Load the NSFW scorer if the settings name one; else None.

    Raises:
        UserError: it is not installed.
    """
    try:
        return load_nsfw() if settings.nsfw else None
    except NsfwUnavailable as error:
        raise UserError(str(error)) from error


def check_models(settings: MeasureSettings) -> None:
    """Find out whether the models can be had, before hours of reading; one that must be downloaded is downloaded.

    Raises:
        UserError: one cannot be loaded.
    """
    nsfw_model(settings)
    if settings.language:
        try:
            language("Which language is this?")
        except ImportError as error:
            raise UserError(
                f"language: true needs the extra: pip install 'winnow-vlm[language-id]' ({error}); or leave it out"
            ) from error
    if settings.itm is not None:
        load_matcher(settings.itm)
    for name, model in IMAGE_MODELS.items():
        if getattr(settings, name):
            check_image_model(model)
    if settings.clip is not None and Path(settings.clip.model).is_dir():
        clip_name(settings)
    else:
        clip_model(settings)


def check_image_model(model: ImageModel) -> None:
    """Load a model that has a stage of its own.

    Raises:
        UserError: it cannot be had.
    """
    try:
        model.check()
    except ModelUnavailable as error:
        raise UserError(str(error)) from error


@dataclass(frozen=True)
class Models:
    """The loaded models; None for those that are off."""

    clip: Clip | None
    nsfw: Any
    batch_size: int

    @classmethod
    def load(cls, settings: MeasureSettings) -> Models:
        """Load what the settings ask for.

        Raises:
            UserError: a model cannot be loaded.
        """
        return cls(clip_model(settings), nsfw_model(settings), settings.batch_size)

    @property
    def clip_width(self) -> int | None:
        """Width of an embedding; None if CLIP is off."""
        return self.clip.width if self.clip else None

    def complete(self, measured: Iterable[MeasuredImage]) -> Iterator[dict[str, Any]]:
        """Rows in order, with ``clip_embedding`` and ``nsfw`` filled in; holds one batch at a time."""
        held: list[MeasuredImage] = []
        ready = 0
        for image in measured:
            held.append(image)
            ready += image.clip is not None or image.nsfw is not None
            if ready == self.batch_size:
                yield from self._batch(held)
                held, ready = [], 0
        yield from self._batch(held)

    def _batch(self, held: list[MeasuredImage]) -> Iterator[dict[str, Any]]:
        rows = [image.row for image in held]
        if self.clip is not None and (at := [number for number, image in enumerate(held) if image.clip is not None]):
            embedded = self.clip.embed_images(np.stack([held[number].clip for number in at]))  # type: ignore[misc]
            for number, embedding in zip(at, embedded, strict=True):
                rows[number]["clip_embedding"] = embedding
        if self.nsfw is not None and (at := [number for number, image in enumerate(held) if image.nsfw is not None]):
            scores = nsfw_scores(self.nsfw, np.stack([held[number].nsfw for number in at]))  # type: ignore[misc]
            for number, score in zip(at, scores, strict=True):
                rows[number]["nsfw"] = float(score)
        yield from rows
