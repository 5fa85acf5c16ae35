"""What a signal is, and the decoded image that the classical ones read."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from PIL import Image

Grey = NDArray[np.uint8]
BOXES = 16  # a side


@dataclass(frozen=True)
class Signal:
    """Some columns that are measured together.

    Attributes:
        version: raise it when the numbers change; stored values of another version are then remeasured.
        columns: name → range, unit and meaning.
        compute: the columns of a decoded image; None for signals of models and of texts.
        types: Arrow types of the columns that are not float64.
        validated: of the columns that guess what an image or text shows, the labelled data that they were tried on with
            the figures, or None: not validated. Other columns are facts: there is nothing to validate.
    """

    name: str
    version: int
    columns: Mapping[str, str]
    compute: Callable[[Pixels], Mapping[str, Any]] | None = None
    types: Mapping[str, pa.DataType] = field(default_factory=dict)
    validated: Mapping[str, str | None] = field(default_factory=dict)

    def fields(self) -> list[tuple[str, pa.DataType]]:
        """Its columns with their Arrow types."""
        return [(name, self.types.get(name, pa.float64())) for name in self.columns]


class ModelUnavailable(ValueError):
    """A model or its weights are not installed; the message says what to do."""


@dataclass(frozen=True)
class ImageModel:
    """A model that reads one image at a time in a stage of its own, because it is slow; and the columns that it fills.

    A module of ``curate.signals`` lists its own in ``IMAGE_MODELS``; a setting of the same name in ``signals:``
    switches one on.

    Attributes:
        name: of its folder, its view in SQL and its setting.
        version: what identifies model, weights and settings, as JSON; values of another version are made again.
        columns: name → range, unit and meaning.
        types: name → Arrow type; rules can use those of columns that are no lists.
        read: the columns of one RGB image. Runs in worker processes: picklable, loads its weights on the first call
            and uses one thread. An exception costs the image, unless it is ``ModelUnavailable``.
        check: loads the model; raises ``ModelUnavailable`` if it cannot be had.
        for_evaluation: whether evaluation sets are read too.
        validated: as that of a ``Signal``.
    """

    name: str
    version: Any
    columns: Mapping[str, str]
    types: Mapping[str, pa.DataType]
    read: Callable[[Image.Image], Mapping[str, Any]]
    check: Callable[[], object]
    for_evaluation: bool = False
    validated: Mapping[str, str | None] = field(default_factory=dict)

    @property
    def schema(self) -> pa.Schema:
        """Of its parts: image_key, then the columns; the version is kept in the metadata."""
        columns = [(name, self.types[name]) for name in self.columns]
        metadata = {b"winnow": json.dumps(self.version, sort_keys=True).encode()}
        return pa.schema([("image_key", pa.string()), *columns], metadata=metadata)


@dataclass(frozen=True, eq=False)
class Pixels:
    """One decoded image and views of it, each made once.

    Attributes:
        rgb: the image as seen, 8-bit RGB.
        original: the image in the file's own mode, neither rotated nor blended; ``rgb`` if that is the same.
    """

    rgb: Image.Image
    original: Image.Image

    @functools.cached_property
    def words(self) -> NDArray[np.uint32]:
        """(height, width) pixels as ``words_of`` gives them."""
        return words_of(self.rgb)

    @property
    def levels(self) -> Grey:
        """(height, width) luminance, 0–255: Pillow's mode L, ITU-R 601, (299 R + 587 G + 114 B) / 1000."""
        return self._once[0]

    @property
    def histogram(self) -> NDArray[np.int64]:
        """(256,) number of pixels of each luminance level."""
        return self._once[1]

    @property
    def boxes(self) -> Grey:
        """(16, 16, 3) means of Pillow's boxes over the picture; of a picture of fewer pixels a side without meaning."""
        return self._once[2]

    @functools.cached_property
    def _once(self) -> tuple[Grey, NDArray[np.int64], Grey]:
        from curate.signals.kernels.levels import look_over

        height, width = self.words.shape
        levels, counts = np.empty((height, width), np.uint8), np.empty(256, np.int64)
        means = np.empty((BOXES, BOXES, 3), np.uint8)
        look_over(self.words, _edges(width), _edges(height), levels, counts, means)
        return levels, counts, means

    @functools.cached_property
    def lines(self) -> tuple[Grey, Grey]:
        """At most 96 rows, and as many columns, as lines."""
        return lines_of(self.levels, 96)


@functools.lru_cache(maxsize=256)
def _edges(length: int) -> NDArray[np.int64]:
    """Where Pillow's boxes begin, and the end of the last one."""
    return (2 * length * np.arange(BOXES + 1) + BOXES) // (2 * BOXES)


def lines_of(levels: Grey, most: int) -> tuple[Grey, Grey]:
    """At most so many rows, and so many columns, evenly spread; both as lines."""
    from curate.signals.kernels.lines import columns

    height, width = levels.shape
    step = -(-width // most)
    made = np.empty((-(-width // step), height), np.uint8)
    columns(levels, step, made)
    return np.ascontiguousarray(levels[:: -(-height // most)]), made


def words_of(rgb: Image.Image) -> NDArray[np.uint32]:
    """(height, width) pixels of an RGB image: red in the lowest byte, then green, blue and an unused byte.

    A view of the image's own memory; a copy where Pillow cannot share it.
    """
    if hasattr(rgb, "__arrow_c_array__"):
        try:
            return np.frombuffer(pa.array(rgb).buffers()[-1], "<u4").reshape(rgb.height, rgb.width)
        except ValueError:  # a large image lies in several blocks
            pass
    return np.asarray(rgb.convert("RGBX")).view("<u4")[:, :, 0]
