"""CLIP and the NSFW scorer, run in batches on the small images that the workers prepared."""

from __future__ import annotations

import collections
import functools
import textwrap
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.engines.pool import Pool
from curate.engines.worker import Unreachable
from curate.measure.itm import load_matcher
from curate.measure.row import MeasuredImage
from curate.settings.signals import MeasureSettings
from curate.signals import IMAGE_MODELS, PIXEL_SIGNALS, SIGNALS
from curate.signals.base import ImageModel, ModelUnavailable
from curate.signals.clip import Clip, ClipInput, ClipNotLoaded, ClipUnavailable, load_clip, model_name
from curate.signals.language import language
from curate.signals.nsfw import NsfwUnavailable, load_nsfw, nsfw_scores
from winnow.errors import UserError
from winnow.media.images import NOT_MEASURED
from winnow.remote.hub import cache_folder, why_offline

DECODE_VERSION = 2


def signals_wanted(settings: MeasureSettings, *, edits: bool) -> dict[str, Any]:
    """Name → version of everything that a part's rows depend on; None for what is off.

    Args:
        edits: whether edited copies are sought, for which alone views and keypoints are measured.

    Raises:
        UserError: the CLIP folder is not complete.
    """
    wanted: dict[str, Any] = {name: SIGNALS[name].version for name in PIXEL_SIGNALS}
    wanted["cleanvision"] = SIGNALS["cleanvision"].version if settings.cleanvision else None
    wanted["looks"] = SIGNALS["looks"].version if edits else None
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


Prepared = tuple[NDArray[np.uint8] | None, NDArray[np.uint8] | None]  # what CLIP and the NSFW scorer want of an image


@dataclass(frozen=True)
class Models:
    """The models that read what the workers prepared, named and not loaded: that happens where they run.

    A batch holds the same images in the same order wherever it runs, so neither the number of workers nor a resumed run
    changes a value. Another kind of processor, or another number of threads on one, may change the last bits of an
    embedding: byte identity of embeddings holds on machines of one kind, and for all that is rounded more.

    Attributes:
        clip: model, tag and the name of its weights; None if it is off.
        input: what CLIP wants prepared.
        clip_width: of an embedding.
    """

    clip: tuple[str, str | None, str | None] | None
    nsfw: str | None
    batch_size: int
    input: ClipInput | None
    clip_width: int | None

    @classmethod
    def load(cls, settings: MeasureSettings) -> Models:
        """What the settings ask for.

        Raises:
            UserError: a model cannot be loaded.
        """
        asked, clip = settings.clip, clip_model(settings)
        named = (asked.model, asked.pretrained, clip_name(settings)) if asked else None
        found = cls(
            named, settings.nsfw, settings.batch_size, clip.input if clip else None, clip.width if clip else None
        )
        _loaded[found] = (clip, nsfw_model(settings))
        return found

    def complete(self, measured: Iterable[MeasuredImage | None], pool: Pool) -> Iterator[dict[str, Any] | None]:
        """Rows in order, with ``clip_embedding`` and ``nsfw`` filled in; holds some batches at a time.

        Where no try of a model has succeeded, the row's class is ``not_measured``.

        Args:
            measured: None ends a batch, and is passed on.
        """
        if self.clip is None and self.nsfw is None:
            yield from (image.row if image else None for image in measured)
            return
        held: collections.deque[MeasuredImage | None] = collections.deque()

        def batches() -> Iterator[list[list[Prepared]]]:
            ready: list[Prepared] = []
            for image in measured:
                held.append(image)
                if image is not None and image.is_prepared:
                    ready.append((image.clip, image.nsfw))
                if ready and (image is None or len(ready) == self.batch_size):
                    yield [ready]
                    ready = []
            if ready:
                yield [ready]

        for (found,) in pool.models.map(functools.partial(_read_batches, self), batches(), _crashed, _lost):
            columns = collections.deque(found)
            while columns:
                image = held.popleft()
                if image is None or not image.is_prepared:
                    yield image.row if image else None
                else:
                    yield {**image.row, **columns.popleft()}
        yield from (image.row if image else None for image in held)


def forget_models() -> None:
    """Free the memory of models that were loaded in this process."""
    _loaded.clear()


_loaded: dict[Models, tuple[Clip | None, Any]] = {}  # of this process


def _read_batches(models: Models, batches: list[list[Prepared]]) -> list[list[dict[str, Any]]]:
    if models not in _loaded:
        _loaded.clear()
        model, pretrained, _ = models.clip or ("", None, None)
        _loaded[models] = (load_clip(model, pretrained) if models.clip else None, load_nsfw() if models.nsfw else None)
    try:
        return [_read_batch(*_loaded[models], batch) for batch in batches]
    except (MemoryError, RuntimeError) as error:
        if is_out_of_memory(error):
            raise Unreachable(f"a model has not enough memory ({textwrap.shorten(str(error), 100)})") from error
        raise


def _read_batch(clip: Clip | None, nsfw: Any, batch: list[Prepared]) -> list[dict[str, Any]]:
    columns: list[dict[str, Any]] = [{} for _ in batch]
    if clip is not None and batch[0][0] is not None:
        embedded = clip.embed_images(np.stack([pixels for pixels, _ in batch if pixels is not None]))
        for row, embedding in zip(columns, embedded, strict=True):
            row["clip_embedding"] = embedding
    if nsfw is not None and batch[0][1] is not None:
        scores = nsfw_scores(nsfw, np.stack([pixels for _, pixels in batch if pixels is not None]))
        for row, score in zip(columns, scores, strict=True):
            row["nsfw"] = float(score)
    return columns


def is_out_of_memory(error: Exception) -> bool:
    """Whether a library says that memory does not suffice: numpy, torch on either kind of processor, onnxruntime."""
    words = str(error).lower()
    return isinstance(error, MemoryError) or any(
        said in words for said in ("out of memory", "can't allocate memory", "failed to allocate memory", "bad_alloc")
    )


def _lost(batch: list[Prepared], why: str) -> list[dict[str, Any]]:
    return [{"error": NOT_MEASURED, "error_detail": why} for _ in batch]


def _crashed(batch: list[Prepared]) -> list[dict[str, Any]]:
    return _lost(batch, "a model crashed on this batch of images")
