"""Heads on CLIP's embeddings: a linear layer, or a few of them, that somebody has trained and published.

The forms that published ones have are read by their structure: LAION's aesthetic predictors (one linear layer in
``sa_0_4_vit_l_14_linear.pth``, five without activation between them in ``sac+logos+ava1-l14-linearMSE.pth``) and
the NSFW detectors for PyTorch (layers with ReLU between). They expect the L2-normalised embedding of the CLIP that they
were trained on. Layers are taken in the order of the numbers in their names.
"""

from __future__ import annotations

import pickle
import re
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
_MOST_BYTES = 1 << 28
_UNREADABLE = (OSError, RuntimeError, ValueError, LookupError, EOFError, TypeError, AttributeError, pickle.PickleError,
               zipfile.BadZipFile)  # fmt: skip


class HeadUnusable(ValueError):
    """A file does not hold a head that fits; the message says why."""


@dataclass(frozen=True, eq=False)
class Head:
    """Linear layers, one after another.

    Attributes:
        layers: weight (out, in) and bias (out,) of each; the last one has one output.
        relu: whether max(0, x) stands between two layers.
        sigmoid: whether the output is 1 / (1 + exp(−x)), else x itself.
    """

    layers: tuple[tuple[Floats, Floats], ...]
    relu: bool
    sigmoid: bool

    def scores(self, images: NDArray[np.float16]) -> NDArray[np.float64]:
        """(n,) scores of (n, width) embeddings."""
        from scipy.special import expit

        values = images.astype(np.float32)
        for number, (weight, bias) in enumerate(self.layers):
            values = (np.maximum(values, 0) if self.relu and number else values) @ weight.T + bias
        raw = values[:, 0].astype(np.float64)
        found: NDArray[np.float64] = expit(raw) if self.sigmoid else raw
        return found


def read_head(path: Path, width: int, *, relu: bool, sigmoid: bool) -> Head:
    """Read ``.safetensors``, a state dict of PyTorch (``.pth``, ``.pt``, ``.bin``; runs no pickle), or ``.npz``.

    Args:
        width: of the embeddings.

    Raises:
        HeadUnusable: the file is not readable, or its tensors are no layers from ``width`` numbers to one.
    """
    tensors = _tensors(path)
    shapes = ", ".join(f"{name} {list(value.shape)}" for name, value in tensors.items()) or "nothing"
    names = sorted((name for name in tensors if _role(name) == "weight"), key=_natural)
    if any(value.dtype.kind not in "fiu" for value in tensors.values()):
        raise HeadUnusable(f"{path}: holds something else than numbers")
    weights = [np.atleast_2d(tensors[name]).astype(np.float32) for name in names]
    prefixes = [name[: -len("weight")] for name in names]
    biases = [
        tensors.get(f"{prefix}bias", np.zeros(len(weight))).reshape(-1).astype(np.float32)
        for prefix, weight in zip(prefixes, weights, strict=True)
    ]
    known = {f"{prefix}{role}" for prefix in prefixes for role in ("weight", "bias")}
    fit = (
        weights
        and set(tensors) <= known
        and all(weight.ndim == 2 and len(bias) == len(weight) for weight, bias in zip(weights, biases, strict=True))
        and weights[0].shape[1] == width
        and all(len(one) == other.shape[1] for one, other in pairwise(weights))
        and len(weights[-1]) == 1
    )
    if not fit:
        raise HeadUnusable(
            f"{path}: a head for this CLIP has linear layers from {width} numbers to 1, as weight [1, {width}] and bias"
            f" [1]; this file has {shapes:.400}; name the CLIP that it was trained on as `clip:`"
        )
    if not all(np.isfinite(value).all() for value in (*weights, *biases)):
        raise HeadUnusable(f"{path}: has weights that are no finite numbers")
    return Head(tuple(zip(weights, biases, strict=True)), relu, sigmoid)


def _tensors(path: Path) -> Mapping[str, NDArray[Any]]:
    kind = path.suffix.lower()
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise ValueError(f"larger than {_MOST_BYTES >> 20} MB")
        if kind == ".npz":
            with np.load(path, allow_pickle=False) as stored:
                tensors = {name: stored[name] for name in stored.files}
            if not all(isinstance(value, np.ndarray) for value in tensors.values()):
                raise ValueError("it holds something else than arrays")
            return tensors
        if kind in (".pth", ".pt", ".bin"):
            return _state_dict(path)
        from safetensors import SafetensorError
        from safetensors.numpy import load_file
    except _UNREADABLE as error:
        raise HeadUnusable(f"{path}: not readable as a head ({error!s:.200})") from error
    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise HeadUnusable(f"{path}: not readable as safetensors ({error})") from error


def _state_dict(path: Path) -> Mapping[str, NDArray[Any]]:
    import torch

    loaded = torch.load(path, map_location="cpu", weights_only=True)
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else {}
    if not state or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise ValueError("it is no state dict of tensors")
    return {name: value.float().numpy() for name, value in state.items()}


def _role(name: str) -> str:
    return name.rpartition(".")[2]


def _natural(name: str) -> list[tuple[int, str]]:
    """Numbers in a name sort by their value."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name)]
