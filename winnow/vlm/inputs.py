"""How rows become model inputs: what is decided once for a training run and holds wherever its model answers.

The settings are stored beside the weights, so that evaluation, comparison and export prepare the same inputs.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from winnow.errors import UserError, did_you_mean
from winnow.files import write_json

if TYPE_CHECKING:
    from PIL.Image import Image

INPUT_SETTINGS = "input_settings.json"
_CALL_ONLY = {"data_format", "device", "disable_grouping", "input_data_format", "return_tensors"}  # never saved


@dataclass(frozen=True)
class InputSettings:
    """What is done to images, videos and chats before and in the processor.

    Attributes:
        max_pixels: larger images are scaled down to this area, by the processor if it can, else before it.
        max_frames: most frames that are taken of a video.
        processor: settings of the image processor that replace the checkpoint's own.
        chat_template_kwargs: variables of the chat template, such as ``enable_thinking``.
        train_reasoning: whether the reasoning before an answer is trained too; of no effect at inference.
    """

    max_pixels: int | None = None
    max_frames: int = 16
    processor: Mapping[str, Any] = field(default_factory=dict)
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict)
    train_reasoning: bool = True


def save_input_settings(folder: Path, settings: InputSettings) -> None:
    """Write the settings beside the weights in ``folder``."""
    write_json(folder / INPUT_SETTINGS, asdict(settings))


def read_input_settings(folder: Path) -> InputSettings:
    """The settings that ``folder`` was saved with; the defaults if it has none.

    Raises:
        UserError: the file is not one that ``save_input_settings`` wrote.
    """
    path = folder / INPUT_SETTINGS
    if not path.is_file():
        return InputSettings()
    try:
        return InputSettings(**json.loads(path.read_text(encoding="utf-8")))
    except (TypeError, ValueError) as error:
        raise UserError(f"{path}: not written by Winnow ({error}); merge or train the model again") from error


def apply_to_processor(processor: Any, settings: InputSettings) -> None:
    """Give ``processor`` the settings, in place: a saved copy of it then gives the same tokens in any program.

    ``max_pixels`` becomes the area limit of image processors that have one; for others see ``cap_before``.

    Raises:
        UserError: the image processor has no such setting, or does not take its value.
    """
    images = getattr(processor, "image_processor", None)
    changes = dict(settings.processor)
    if images is None:
        if changes:
            raise UserError(f"processor: {type(processor).__name__} has no image processor")
        return
    name = type(images).__name__
    known = sorted(set(images.valid_kwargs.__annotations__) - _CALL_ONLY)
    for key in changes:
        if key not in known:
            raise UserError(f"processor: {name} has no setting {key!r}; {did_you_mean(key, known)}")
    given = changes.get("size")
    if isinstance(given, dict) and given.keys() <= _entries(images.size).keys():
        changes["size"] = {**_entries(images.size), **given}
    limit = _area_limit(images)
    if settings.max_pixels is not None and limit is not None:
        low, high, factor = limit
        if "max_pixels" in changes or (isinstance(given, dict) and high in given):
            raise UserError(f"max_pixels and processor both limit the area of {name}; leave one of them out")
        size = dict(changes.get("size") or _entries(images.size))
        size[high] = settings.max_pixels * factor
        changes["size"] = {**size, low: min(size[low], size[high])}
    if not changes:
        return
    processor.image_processor = _changed(images, changes)
    if (limits := area_limits(processor)) is not None and limits[0] > limits[1]:
        raise UserError(
            f"processor: {name} would scale images to {limits[0]:,} pixels at least and {limits[1]:,} at most"
        )


def _changed(images: Any, changes: dict[str, Any]) -> Any:
    """The image processor with other settings, tried on an image."""
    from huggingface_hub.dataclasses import validate_typed_dict
    from huggingface_hub.errors import StrictDataclassError
    from PIL import Image

    try:
        validate_typed_dict(images.valid_kwargs, changes)
        changed = type(images).from_dict({**images.to_dict(), **changes})
        changed(images=[Image.new("RGB", (64, 48))])
    except (AttributeError, KeyError, RuntimeError, StrictDataclassError, TypeError, ValueError) as error:
        reason = " ".join(str(error).split())
        raise UserError(f"processor: {type(images).__name__} does not take {changes} ({reason:.200})") from error
    return changed


def apply_to_model(model: Any, settings: InputSettings) -> None:
    """Give the model's configuration the processor's settings that it has as well, such as ``image_grid_pinpoints``."""
    for key, value in settings.processor.items():
        if hasattr(model.config, key):
            setattr(model.config, key, value)


def cap_before(processor: Any, settings: InputSettings) -> int | None:
    """The area that images are scaled down to before ``processor`` sees them; None: they are not.

    That is so where the processor itself keeps to the area, see ``apply_to_processor``.
    """
    images = getattr(processor, "image_processor", None)
    if settings.max_pixels is None or images is None:
        return None
    limits = area_limits(processor)
    return None if limits is not None and limits[1] <= settings.max_pixels else settings.max_pixels


def area_limits(processor: Any) -> tuple[int, int] | None:
    """Least and most pixels that the processor itself scales an image to; None if it has no such limits."""
    images = getattr(processor, "image_processor", None)
    if images is None or (limit := _area_limit(images)) is None:
        return None
    low, high, factor = limit
    size = _entries(images.size)
    return size[low] // factor, size[high] // factor


def scaled_down(image: Image, max_pixels: int | None) -> Image:
    """The image with an area of at most ``max_pixels``, see ``capped_size``."""
    size = capped_size(image.size, max_pixels)
    return image if size == image.size else image.resize(size)


def capped_size(size: tuple[int, int], max_pixels: int | None) -> tuple[int, int]:
    """(width, height) scaled down to an area of at most ``max_pixels``, aspect ratio kept, sides at least 1."""
    width, height = size
    if max_pixels is None or width * height <= max_pixels:
        return size
    scale = math.sqrt(max_pixels / (width * height))
    width, height = max(1, math.floor(width * scale)), max(1, math.floor(height * scale))
    height = max(1, min(height, max_pixels // width))  # a thin strip: one side is 1, the other still too long
    return min(width, max_pixels // height), height


def _entries(size: Any) -> dict[str, Any]:
    """``size`` of an image processor as a dict; empty if it has none."""
    return {key: value for key, value in dict(size or {}).items() if value is not None}


@lru_cache(maxsize=16)
def _area_limit(images: Any) -> tuple[str, str, int] | None:
    """The entries of ``size`` that bound an image's area from below and above, and their value for each pixel.

    Found by what the image processor does: some read ``longest_edge`` as a length, some as an area, and some
    of these count each image as two frames. None if it has no such limit.
    """
    from PIL import Image

    names = _entries(images.size).keys()
    low, high = ("min_pixels", "max_pixels") if "max_pixels" in names else ("shortest_edge", "longest_edge")
    if names != {low, high}:
        return None

    def values(side: int, limit: int) -> int:
        output = images(images=[Image.new("RGB", (side, side))], size={low: 1, high: limit}, return_tensors="pt")
        return int(output["pixel_values"].numel())

    try:
        limited = values(1200, 160_000)
        if values(1200, 40_000) > limited / 2:  # not an area: both limits are far above the sides
            return None
    except (RuntimeError, ValueError):  # as a length, the lower limit makes no image
        return None
    return low, high, round(values(400, 100_000_000) / limited)
