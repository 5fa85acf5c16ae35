"""What images cost in tokens, under the recipe's cap on their pixels and tighter ones."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from finetune.data.chat import TrainingConversation, prompt_and_suffix, uses_prompt_suffix
from finetune.data.spans import chat_text
from winnow.rows.records import Turn
from winnow.vlm.inputs import InputSettings, cap_before, capped_size

IMAGE_COSTS = "image_costs.json"
_PIXEL_CAPS = (1024 * 1024, 768 * 768, 512 * 512, 336 * 336)
_MOST_SIZES = 32
Size = tuple[int, int]


def image_token_counter(processor: Any, settings: InputSettings) -> Callable[..., float]:
    """A function of (width, height) and the images in a row: tokens that such an image adds to the chat.

    Measured by the processor, once for each size and number: some processors cut only a single image into crops.
    Where many sizes differ from the processor's own arithmetic by one and the same number of tokens, further ones
    are calculated, which takes a thousandth of the time. Processors that refuse a size raise ValueError.
    """
    cap = cap_before(processor, settings)
    apart: list[float] = []  # measured − calculated, for each single image

    @cache
    def measured(size: Size, images: int) -> float:
        blank = Image.new("RGB", capped_size(size, cap))
        text, output = chat_about(processor, settings, [blank] * images)
        return added_tokens(processor, text, output) / images

    def difference(size: Size) -> float:
        try:
            return measured(size, 1) - (_calculated_tokens(processor, capped_size(size, cap)) or 0)
        except ValueError:  # refused: nothing is known of such shapes
            return math.nan

    @cache
    def count(size: Size, images: int = 1) -> float:
        calculated = None if images > 1 else _calculated_tokens(processor, capped_size(size, cap))
        if calculated is None:
            return measured(size, images)
        if len(apart) == _MEASURED:
            apart.extend(map(difference, _PROBES))
        if len(apart) > _MEASURED and len(set(apart)) == 1:
            return calculated + apart[0]
        found = measured(size, 1)
        if len(apart) < _MEASURED:
            apart.append(found - calculated)
        return found

    return count


_MEASURED = 16
_PROBES = (30, 40), (500, 500), (2000, 400), (300, 1500), (1700, 2200)  # shapes that the first sizes may lack


def _calculated_tokens(processor: Any, size: Size) -> float | None:
    """Image tokens by the processor's own arithmetic; None if it has none."""
    try:
        found: int = processor._get_num_multimodal_tokens(image_sizes=[size[::-1]])["num_image_tokens"][0]
    except (AttributeError, KeyError, NotImplementedError, TypeError):
        return None
    return found


def chat_about(processor: Any, settings: InputSettings, images: list[Image.Image]) -> tuple[str, Any]:
    """A short chat about the images as text, and the processor's output for it."""
    turns = Turn("user", "a"), Turn("assistant", "b")
    conversation = TrainingConversation(turns, ("",) * len(images), (0,))
    text = chat_text(processor, conversation, settings)
    parts = {"text": [text]}
    if uses_prompt_suffix(processor):
        prompt, answer = prompt_and_suffix(conversation)
        parts = {"text": [prompt], "suffix": [answer]}
    return text, processor(**parts, images=[images], add_special_tokens=True)


def added_tokens(processor: Any, text: str, output: Any) -> int:
    """Tokens of ``chat_about`` beyond those of its text."""
    return len(output["input_ids"][0]) - len(processor.tokenizer(text, add_special_tokens=True)["input_ids"])


def image_costs(
    sizes: Mapping[Size, int], counter_for: Callable[[int | None], Callable[[Size], float]], longest_text: int,
    max_pixels: int | None,
) -> list[dict[str, Any]]:  # fmt: skip
    """Tokens of the images and of the longest row under the recipe's cap and tighter ones, a dict for each cap.

    Args:
        sizes: (width, height) → number of images; of more than 32 sizes, 32 across the range of areas are used.
        counter_for: a cap → the function that counts the tokens of an image of (width, height) under it.
        longest_text: text tokens of the longest row.
        max_pixels: the recipe's cap, the first of the list.
    """
    ordered = sorted(sizes, key=lambda size: size[0] * size[1])
    if not ordered:
        return [{"max_pixels": None, "image_mean": 0.0, "image_max": 0, "longest": longest_text}]
    step = max(1, (len(ordered) - 1) / (_MOST_SIZES - 1))
    taken = {ordered[round(place * step)] for place in range(int((len(ordered) - 1) / step) + 1)} | {ordered[-1]}
    largest = ordered[-1][0] * ordered[-1][1]
    limit = largest if max_pixels is None else min(max_pixels, largest)
    caps = [max_pixels, *(cap for cap in _PIXEL_CAPS if cap < limit)]
    lines = []
    for cap in caps:
        count = counter_for(cap)
        tokens = {size: count(size) for size in taken}
        weight = sum(sizes[size] for size in taken)
        mean = sum(tokens[size] * sizes[size] for size in taken) / weight
        most = round(max(tokens.values()))
        lines.append(
            {"max_pixels": cap, "image_mean": round(mean, 1), "image_max": most, "longest": longest_text + most}
        )
    return lines


def image_cost_table(lines: Sequence[dict[str, Any]], batch_size: int) -> Table:
    """``image_costs`` for the terminal; the first line is the recipe as it is."""
    table = Table(
        "max_pixels", "per image", "at most", "longest row", "longest batch",
        title="tokens of this data", title_justify="left",
    )  # fmt: skip
    with_memory = any("memory" in line for line in lines)
    if with_memory:
        table.add_column("memory")
    for line in lines:
        cap = "none" if line["max_pixels"] is None else f"{line['max_pixels']:,}"
        cells = [cap, f"{line['image_mean']:,.0f}", f"{line['image_max']:,}", f"{line['longest']:,}",
                 f"{line['longest'] * batch_size:,}"]  # fmt: skip
        table.add_row(*cells, *([f"{line['memory'] / 2**30:.1f} GiB"] if with_memory else []))
    for column in table.columns:
        column.justify = "right"
    return table


def read_image_costs(path: Path) -> list[dict[str, Any]]:
    """The entries of an ``image_costs.json``; empty if there is no such file."""
    lines: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8")) if path.is_file() else []
    return lines
