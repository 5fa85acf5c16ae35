"""Scores between 0 and 1 that are read off a stored CLIP embedding: no image is opened for them.

A prompt set has texts that describe what is sought and texts that describe what else an image may show. The score
is the share of the former in the softmax over all cosines × ``scale`` (zero-shot classification, Radford et al. 2021,
arXiv:2103.00020, section 3.1). A linear head is the sigmoid of weight · embedding + bias.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

VERSION = 1
Half = NDArray[np.float16]
Scores = NDArray[np.float64]

# Name → (what is sought, what else there may be). The second half keeps neighbours apart that a plain "a photo"
# would not: skin and swimwear from nudity, sport and staged scenes from violence.
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
COLUMNS = {
    name: f"0–1: share of the shipped prompts for it in CLIP's softmax; null unless `prompts:` has `{name}: shipped`"
    for name in SHIPPED
}


class HeadUnusable(ValueError):
    """A file that is no linear head; the message says why."""


def prompt_scores(images: Half, positive: Half, negative: Half, scale: float) -> Scores:
    """(n,) shares for (n, width) image embeddings and (p, width), (q, width) text embeddings."""
    cosines = images.astype(np.float32) @ np.concatenate([positive, negative]).astype(np.float32).T
    powers = scale * cosines.astype(np.float64)
    shares = np.exp(powers - powers.max(axis=1, keepdims=True))
    found: Scores = shares[:, : len(positive)].sum(axis=1) / shares.sum(axis=1)
    return found


def head_scores(images: Half, weight: NDArray[np.float32], bias: float) -> Scores:
    """(n,) sigmoids for (n, width) image embeddings and a (width,) weight."""
    from scipy.special import expit

    found: Scores = expit((images.astype(np.float32) @ weight).astype(np.float64) + bias)
    return found


def read_head(path: Path, width: int) -> tuple[NDArray[np.float32], float]:
    """Weight and bias of a safetensors file with one tensor named ``weight``, or ``….weight``, and perhaps a bias.

    Raises:
        HeadUnusable: the file is not readable, or its tensors do not fit embeddings of ``width`` numbers.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    try:
        tensors = {name.rpartition(".")[2]: value for name, value in load_file(path).items()}
    except (OSError, SafetensorError) as error:
        raise HeadUnusable(f"{path}: not readable as safetensors ({error})") from error
    weight, bias = tensors.get("weight"), tensors.get("bias", np.zeros(1))
    if weight is None or not set(tensors) <= {"weight", "bias"} or weight.size != width or bias.size != 1:
        shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()) or "nothing"
        raise HeadUnusable(f"{path}: a linear head has weight [1, {width}] and bias [1] for this CLIP, not {shapes}")
    return weight.reshape(-1).astype(np.float32), float(bias.reshape(-1)[0])
