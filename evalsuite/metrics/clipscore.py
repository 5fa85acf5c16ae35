"""CLIPScore and RefCLIPScore (Hessel et al. 2021): how well a caption fits its image, by CLIP's embeddings.

CLIPScore = 2.5 × max(cos(image, caption), 0). RefCLIPScore is its harmonic mean with the cosine of the caption and the
nearest reference, 0 if either is not positive. Captions and references begin with "A photo depicts ", as in the
published code. Published numbers are of OpenAI's ViT-B/32, the default; those of other models cannot be compared with
them.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from evalsuite.metrics.base import Answers, Metric, MetricOptions, Quantity, Scores
from evalsuite.statistics import Floats, mean_of_sums
from winnow.errors import UserError
from winnow.media.images import DEFAULT_MAX_BYTES, DEFAULT_MAX_PIXELS, decode
from winnow.remote.hub import why_offline

if TYPE_CHECKING:
    from curate.signals.clip import Clip

WEIGHT = 2.5
PREFIX = "A photo depicts "
_OPENAI = ("ViT-B-32-quickgelu", "openai")
_BATCH = 64


def clip_scores(
    clip: Clip, images: Sequence[str], captions: Sequence[str], references: Sequence[Sequence[str]]
) -> tuple[Floats, Floats]:
    """CLIPScore (0 to 2.5) and RefCLIPScore (0 to 1.43) of each caption, as (n,) arrays; NaN for an unreadable image.

    Args:
        images: paths of their images.
        references: of each caption, at least one.
    """
    pixels = [_pixels(clip, path) for path in images]
    seen = np.array([found is not None for found in pixels])
    shown = np.zeros((len(images), clip.width))
    if seen.any():
        shown[seen] = _unit(clip.embed_images(np.stack([found for found in pixels if found is not None])))
    said = _unit(clip.embed_texts([PREFIX + caption for caption in captions]))
    flat = _unit(clip.embed_texts([PREFIX + reference for given in references for reference in given]))
    ends = np.cumsum([len(given) for given in references])[:-1]
    nearest = np.array([(part @ text).max() for part, text in zip(np.split(flat, ends), said, strict=True)])
    score = WEIGHT * np.clip((shown * said).sum(axis=1), 0.0, None)
    nearest = np.clip(nearest, 0.0, None)
    total = score + nearest
    both = np.divide(2 * score * nearest, total, out=np.zeros_like(total), where=total > 0)
    return np.where(seen, score, np.nan), np.where(seen, both, np.nan)


def _unit(vectors: np.ndarray) -> Floats:
    """Rows of length 1; half precision leaves them a little off."""
    exact = vectors.astype(np.float64)
    unit: Floats = exact / np.linalg.norm(exact, axis=1, keepdims=True)
    return unit


def _pixels(clip: Clip, path: str) -> np.ndarray | None:
    from curate.signals.clip import clip_pixels

    try:
        image, _ = decode(Path(path).read_bytes(), max_bytes=DEFAULT_MAX_BYTES, max_pixels=DEFAULT_MAX_PIXELS)
    except OSError:
        return None
    return None if image is None else clip_pixels(image.convert("RGB"), clip.input)


@lru_cache(maxsize=1)
def _loaded(model: str | None) -> Clip:
    from curate.signals.clip import ClipUnavailable, load_clip

    try:
        return load_clip(*(_OPENAI if model is None else (model, None)))
    except ClipUnavailable as error:
        offline = why_offline()
        hint = f"; {offline}: `model:` of the metric can name a folder" if offline else ""
        raise UserError(f"clipscore: {error}{hint}") from error


def _score(answers: Answers, options: MetricOptions) -> dict[str, Scores]:
    clip = _loaded(options.model)
    parts = []
    for start in range(0, len(answers.ids), _BATCH):
        rows = slice(start, start + _BATCH)
        images = [files[0] if files else "" for files in answers.image_files[rows]]
        captions = [text or "" for text in answers.texts[rows]]
        parts.append(clip_scores(clip, images, captions, answers.references[rows]))
    plain, with_references = (np.concatenate(part) for part in zip(*parts, strict=True))
    silent = np.array([text is None for text in answers.texts])
    lost = int(np.isnan(plain).sum())
    model = options.model or "OpenAI ViT-B/32"
    variant = f"{model}, prefix {PREFIX.strip()!r}" + (
        f"; {lost:,} rows without a readable image left out" if lost else ""
    )
    return {
        "": _mean_of_known(plain, silent, f"2.5 × cosine of image and caption, {variant}"),
        "_ref": _mean_of_known(with_references, silent, f"harmonic mean with the nearest reference, {variant}"),
    }


def _mean_of_known(values: Floats, silent: np.ndarray, variant: str) -> Scores:
    known = np.isfinite(values)
    values = np.where(silent & known, 0.0, values)
    sums = np.stack([np.where(known, values, 0.0), known.astype(np.float64)], axis=1)
    return Scores(per_row=values, sums=sums, estimate=mean_of_sums, variant=variant)


CLIPSCORE = Metric(
    name="clipscore",
    about="How well captions fit their images by CLIP, without and with references (Hessel et al. 2021).",
    numbers={
        "": Quantity(title="CLIPScore", unit="", top=None, best_row=WEIGHT),
        "_ref": Quantity(title="RefCLIPScore", unit="", top=None, best_row=2 * WEIGHT / (WEIGHT + 1)),
    },
    score=_score,
    options=("model",),
    needs=("image_files",),
)
