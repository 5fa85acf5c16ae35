"""What images of well-known shapes cost in tokens, with the recipe's image settings and without them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from copy import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from PIL import Image
from rich.table import Table

from finetune.data.image_costs import Size, added_tokens, chat_about
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings, apply_to_processor, cap_before, scaled_down

STANDARD_IMAGES: dict[str, Size] = {
    "small, square": (224, 224), "small, 4:3": (320, 240), "photo, 4:3": (4032, 3024), "screen, 16:9": (1920, 1080),
    "panorama, 4:1": (4000, 1000), "page, A4": (2480, 3508),
}  # fmt: skip


@dataclass(frozen=True)
class StandardCosts:
    """Tokens of the standard images; None where the processor refuses the shape.

    Attributes:
        tokens: with the settings.
        plain: with the checkpoint's own processor; None if there are no image settings.
        warnings: a sentence for each setting that changes none of these images.
    """

    tokens: Mapping[str, int | None]
    plain: Mapping[str, int | None] | None
    warnings: list[str]


_Outputs = dict[str, tuple[int | None, str]]  # name of an image → its tokens, digest of its pixels


def standard_costs(plain: Any, settings: InputSettings) -> StandardCosts:
    """Measure the standard images.

    Args:
        plain: the checkpoint's processor, without the settings.

    Raises:
        UserError: the processor does not take the settings.
    """
    given = [("max_pixels", replace(settings, max_pixels=None))] if settings.max_pixels is not None else []
    for key in settings.processor:
        others = {name: value for name, value in settings.processor.items() if name != key}
        given.append((f"processor: {key}", replace(settings, processor=others)))
    outputs = _outputs(plain, settings)
    if not given:
        return StandardCosts(_tokens(outputs), None, [])
    unset = _outputs(plain, replace(settings, max_pixels=None, processor={}))
    warnings = []
    for name, rest in given:
        try:
            without = unset if len(given) == 1 else _outputs(plain, rest)
        except UserError:  # the others need it
            continue
        if without == outputs:
            warnings.append(f"{name} has no effect with {type(plain).__name__}")
        elif name == "max_pixels" and _tokens(without) == _tokens(outputs):
            warnings.append(f"max_pixels saves no token with {type(plain).__name__}, images only lose detail")
    return StandardCosts(_tokens(outputs), _tokens(unset), warnings)


def standard_table(costs: StandardCosts) -> Table:
    """``standard_costs`` for the terminal."""
    table = Table("image", "size", "tokens", title="tokens of an image, by shape", title_justify="left")
    if costs.plain is not None:
        table.add_column("with the model's own settings")
    for name, (width, height) in STANDARD_IMAGES.items():
        counts = [costs.tokens[name], *([] if costs.plain is None else [costs.plain[name]])]
        table.add_row(name, f"{width:,} × {height:,}", *("refused" if n is None else f"{n:,}" for n in counts))
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def _outputs(plain: Any, settings: InputSettings) -> _Outputs:
    processor = copy(plain)
    apply_to_processor(processor, settings)
    cap, found = cap_before(processor, settings), _Outputs()
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8))
    for name, size in STANDARD_IMAGES.items():
        try:
            text, output = chat_about(processor, settings, [scaled_down(noise.resize(size), cap)])
        except ValueError:
            found[name] = None, ""
            continue
        pixels = output["pixel_values"]
        arrays = [np.asarray(part) for part in (pixels if isinstance(pixels, list) else [pixels])]
        digest = hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()
        found[name] = added_tokens(processor, text, output), digest
    return found


def _tokens(outputs: _Outputs) -> dict[str, int | None]:
    return {name: tokens for name, (tokens, _) in outputs.items()}
