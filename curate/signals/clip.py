"""CLIP embeddings of images and texts, and their alignment, with any open_clip model.

The embeddings are L2-normalised and kept as float16; alignment is the cosine of two of them
(Radford et al. 2021, arXiv:2103.00020), −1 to 1. What value fits depends on the model: look at its histogram.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from curate.signals.clip_input import ClipInput

VERSION = 1
COLUMNS = {
    "clip_embedding": "float16 list of the model's width, L2-normalised image embedding; null without `clip`",
    "clip_alignment": "−1 to 1: the lowest of clip_alignments; null without `clip` or a measured image",
    "clip_alignments": "−1 to 1 for each assistant turn: cosine of 'question answer' with the worst fitting image",
}
CONFIG, WEIGHTS = "open_clip_config.json", "open_clip_model.safetensors"

Half = NDArray[np.float16]


class ClipUnavailable(ValueError):
    """The model cannot be loaded; the message says why and what to do."""


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


def alignment(image_embeddings: Half, text_embedding: Half) -> float:
    """Cosine of a text with the worst fitting of (n, width) images."""
    return float((image_embeddings.astype(np.float32) @ text_embedding.astype(np.float32)).min())


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
    try:
        loaded = open_clip.create_model(name, pretrained=pretrained, device=device)
        tokenizer = open_clip.get_tokenizer(name)
    except (OSError, RuntimeError, ValueError, LookupError, TypeError, AssertionError, SafetensorError) as error:
        raise ClipUnavailable(f"clip model {model!r} cannot be loaded: {' '.join(str(error).split())[:300]}") from error
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
