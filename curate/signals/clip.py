"""CLIP embeddings of images and texts with any open_clip model, and what is read off them.

The embeddings are L2-normalised and stored as float16. Alignment is the cosine of two of them (Radford et al. 2021,
arXiv:2103.00020), −1 to 1; which value is good depends on the model, so look at its histogram.

Scores between 0 and 1 come from a stored embedding, without opening the image. A prompt set has texts that describe
what is sought and texts that describe what else an image may show; the score is the share of the former in the softmax
over all cosines × ``scale`` (zero-shot classification, the same paper, section 3.1). ``curate.signals.heads``
are trained.

``clip_pixels`` needs no torch, so the processes that decode images can prepare the model's input. It equals
``open_clip.transform.image_transform`` (inference) up to its last two stages, which ``Clip`` does on whole batches.
"""

from __future__ import annotations

import hashlib
import json
import logging
import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from curate.signals.base import Signal

CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"
Half = NDArray[np.float16]
Scores = NDArray[np.float64]
_MAX_ASPECT = 64


@dataclass(frozen=True, slots=True)
class ClipInput:
    """How a model wants its images resized.

    Attributes:
        height, width: of the model's input in pixels.
        resize_mode: ``shortest`` (then centre crop), ``longest`` (then pad) or ``squash``.
        bilinear: otherwise bicubic.
        fill: grey level of the padding.
    """

    height: int
    width: int
    resize_mode: str = "shortest"
    bilinear: bool = False
    fill: int = 0


def clip_pixels(image: Image.Image, wanted: ClipInput) -> NDArray[np.uint8]:
    """(height, width, 3) uint8 for the model.

    An image more than 64 times longer than wide is cropped to that at its centre first, so that
    its enlargement fits in memory; the model sees only its centre anyway.
    """
    size = (wanted.width, wanted.height)
    method = Image.Resampling.BILINEAR if wanted.bilinear else Image.Resampling.BICUBIC
    if wanted.resize_mode == "squash":
        return np.asarray(image.resize(size, method))
    if max(image.size) > _MAX_ASPECT * min(image.size):
        limit = _MAX_ASPECT * min(image.size)
        image = _centre(image, min(image.width, limit), min(image.height, limit))
    if wanted.resize_mode == "longest":
        ratio = max(image.height / wanted.height, image.width / wanted.width)
        small = image.resize((max(round(image.width / ratio), 1), max(round(image.height / ratio), 1)), method)
        return np.asarray(_padded(small, *size, wanted.fill))
    if wanted.height == wanted.width:
        side, (short, long) = wanted.width, sorted(image.size)
        scaled = int(side * long / short)
        target = (side, scaled) if image.width <= image.height else (scaled, side)
    else:
        ratio = min(image.height / wanted.height, image.width / wanted.width)
        target, method = (round(image.width / ratio), round(image.height / ratio)), Image.Resampling.BICUBIC
    small = image if target == image.size else image.resize(target, method)
    return np.asarray(_centre(small, *size))


def _centre(image: Image.Image, width: int, height: int) -> Image.Image:
    left, top = round((image.width - width) / 2), round((image.height - height) / 2)
    return image.crop((left, top, left + width, top + height))


def _padded(image: Image.Image, width: int, height: int, fill: int) -> Image.Image:
    across, down = width - image.width, height - image.height
    border = (across // 2, down // 2, (across + 1) // 2, (down + 1) // 2)
    return ImageOps.expand(image, border, (fill, fill, fill))


class ClipUnavailable(ValueError):
    """The model cannot be loaded; the message says why and what to do."""


class ClipNotLoaded(ClipUnavailable):
    """The model is one that open_clip knows, but its files cannot be had or read."""


@dataclass(frozen=True)
class Clip:
    """A loaded model.

    Attributes:
        input: what ``clip_pixels`` must prepare.
        width: of the embeddings.
        name: architecture, tag and digest of local weights: two models of one name embed alike.
    """

    input: ClipInput
    width: int
    name: str
    _model: Any
    _tokenizer: Any
    _device: Any
    _mean: Any
    _std: Any

    def embed_images(self, pixels: NDArray[np.uint8]) -> Half:
        """(n, width) embeddings of (n, height, width, 3) uint8 pixels of ``clip_pixels``."""
        import torch

        with torch.inference_mode():
            batch = torch.tensor(pixels, device=self._device).permute(0, 3, 1, 2).float().div_(255)
            batch = (batch - self._mean) / self._std
            return _as_half(self._model.encode_image(batch, normalize=True))

    def embed_texts(self, texts: Sequence[str]) -> Half:
        """(n, width) embeddings of n texts; a longer one is cut at the model's context length."""
        import torch

        with torch.inference_mode():
            tokens = self._tokenizer(list(texts)).to(self._device)
            return _as_half(self._model.encode_text(tokens, normalize=True))


def model_name(model: str, pretrained: str | None) -> str:
    """A name that changes when the weights do, without loading them: digests of a local folder's two files."""
    folder = Path(model)
    if not folder.is_dir():
        return f"{model}:{pretrained or ''}"
    _check_folder(folder)
    digest = hashlib.sha256((folder / CONFIG).read_bytes())
    with (folder / WEIGHTS).open("rb") as weights:
        while chunk := weights.read(1 << 20):
            digest.update(chunk)
    return f"local:{digest.hexdigest()[:16]}"


def load_clip(model: str, pretrained: str | None) -> Clip:
    """Load a local folder (config and safetensors), ``hf-hub:<repo>``, or an architecture with a tag.

    Raises:
        ClipUnavailable: files are missing, the name is unknown, or loading fails.
    """
    import open_clip
    import torch
    from safetensors import SafetensorError

    folder = Path(model)
    if folder.is_dir():
        _check_folder(folder)
        name = f"local-dir:{folder}"
    elif model.startswith("hf-hub:") or (model in open_clip.list_models() and pretrained):
        name = model
    else:
        raise ClipUnavailable(
            f"clip model {model!r} is neither a folder with {CONFIG} and {WEIGHTS}, nor hf-hub:<repo>,"
            " nor an open_clip architecture with `pretrained:` naming its weights"
        )
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    logged = logging.root.manager.disable
    logging.disable()  # open_clip logs what it raises
    try:
        loaded = open_clip.create_model(name, pretrained=pretrained, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AssertionError, SafetensorError) as error:
        reason = textwrap.shorten(str(error), 300, placeholder=" …") or type(error).__name__
        raise ClipNotLoaded(f"clip model {model!r} cannot be loaded: {reason}") from error
    finally:
        logging.disable(logged)
    loaded.eval()
    wanted = open_clip.get_model_preprocess_cfg(loaded)
    size = wanted["size"]
    height, width = (size, size) if isinstance(size, int) else size[-2:]
    with torch.inference_mode():
        embedded = loaded.encode_image(torch.zeros(1, 3, height, width, device=device))
    return Clip(
        input=ClipInput(
            height,
            width,
            wanted.get("resize_mode") or "shortest",
            wanted.get("interpolation") == "bilinear",
            wanted.get("fill_color") or 0,
        ),
        width=int(embedded.shape[-1]),
        name=model_name(model, pretrained),
        _model=loaded,
        _tokenizer=tokenizer,
        _device=device,
        _mean=torch.tensor(wanted["mean"], device=device).view(1, 3, 1, 1),
        _std=torch.tensor(wanted["std"], device=device).view(1, 3, 1, 1),
    )


def _check_folder(folder: Path) -> None:
    missing = [name for name in (CONFIG, WEIGHTS) if not (folder / name).is_file()]
    if missing:
        raise ClipUnavailable(f"clip model folder {folder}: has no {missing[0]}")
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ClipUnavailable(f"{folder / CONFIG}: not valid JSON ({error})") from error
    if not isinstance(config, dict) or "model_cfg" not in config:
        raise ClipUnavailable(f"{folder / CONFIG}: has no 'model_cfg'")


def _as_half(embedded: Any) -> Half:
    found: Half = embedded.float().cpu().numpy().astype(np.float16)
    return found


# Name → (what is sought, what else there may be). The second half separates neighbours that a plain "a photo" would
# not: skin and swimwear from nudity, sport and staged scenes from violence.
SHIPPED: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "nsfw_clip": (
        (
            "a pornographic photo",
            "a photo of a naked person",
            "a photo of people having sex",
            "an explicit nude photo showing genitals",
            "a photo of bare breasts",
            "a sexually explicit drawing",
        ),
        (
            "a photo of a person wearing clothes",
            "a portrait of a person",
            "people at the beach in swimwear",
            "an athlete in sportswear",
            "a medical illustration",
            "a photo of an animal",
            "a photo of a landscape or a building",
            "a photo of food or an object",
            "a drawing, chart or document",
        ),
    ),
    "violence": (
        (
            "a photo of a bloody, injured person",
            "a photo of a dead body",
            "a gory scene with blood",
            "a person being beaten or attacked",
            "a person pointing a gun at someone",
            "an execution or torture",
        ),
        (
            "a photo of people doing everyday things",
            "people playing sports",
            "a portrait of a person",
            "a doctor with a patient",
            "a photo of red paint, sauce or flowers",
            "a photo of an animal",
            "a photo of a landscape or a building",
            "a photo of food or an object",
            "a drawing, chart or document",
        ),
    ),
}


def prompt_scores(images: Half, positive: Half, negative: Half, scale: float) -> Scores:
    """(n,) shares for (n, width) image embeddings and (p, width), (q, width) text embeddings."""
    cosines = images.astype(np.float32) @ np.concatenate([positive, negative]).astype(np.float32).T
    powers = scale * cosines.astype(np.float64)
    shares = np.exp(powers - powers.max(axis=1, keepdims=True))
    found: Scores = shares[:, : len(positive)].sum(axis=1) / shares.sum(axis=1)
    return found


SIGNALS = (
    Signal(
        "clip",
        1,
        {
            "clip_embedding": "float16 list of the model's width, L2-normalised image embedding; null without `clip`",
            "clip_alignment": "−1 to 1: the lowest of clip_alignments; null without `clip` or a measured image",
            "clip_alignments": "−1 to 1 for each assistant turn: cosine of 'question answer' with the worst fitting"
            " image",
        },
        validated={"clip_alignment": None},
    ),
    Signal(
        "itm",
        1,
        {
            "itm": "the lowest score of an image with 'question answer', by the model that `itm:` names: BLIP's"
            " and SigLIP's probability, CLIP's cosine; null without `itm` or a measured image"
        },
        validated={"itm": None},
    ),
)
ZERO_SHOT = Signal(
    "zero_shot",
    1,
    {
        name: f"0–1: share of the shipped prompts for it in CLIP's softmax; null unless `prompts:` has"
        f" `{name}: shipped`"
        for name in SHIPPED
    },
)
