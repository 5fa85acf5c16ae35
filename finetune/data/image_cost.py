"""What images cost: tokens, and later memory, under several caps on their pixels."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from PIL import Image
from rich.table import Table

from finetune.data.chat import TrainingConversation, chat_text, prompt_and_suffix, uses_prompt_suffix
from finetune.data.rows import capped_size
from winnow.records import Turn

IMAGE_COSTS = "image_costs.json"
_CAPS = (1024 * 1024, 768 * 768, 512 * 512, 336 * 336)
_MOST_SIZES = 32
Size = tuple[int, int]


def image_token_counter(processor: Any) -> Callable[[Size], int]:
    """A function that gives the tokens per image of (width, height) adds to a chat; measured once per size."""

    @cache
    def count(size: Size) -> int:
        conversation = TrainingConversation((Turn("user", "a"), Turn("assistant", "b")), ("",), (0,))
        text = chat_text(processor, conversation)
        parts = {"text": [text]}
        if uses_prompt_suffix(processor):
            prompt, answer = prompt_and_suffix(conversation)
            parts = {"text": [prompt], "suffix": [answer]}
        output = processor(**parts, images=[[Image.new("RGB", size)]], add_special_tokens=True)
        return len(output["input_ids"][0]) - len(processor.tokenizer(text, add_special_tokens=True)["input_ids"])

    return count


def image_costs(
    sizes: Mapping[Size, int], count_tokens: Callable[[Size], int], longest_text: int, max_pixels: int | None
) -> list[dict[str, Any]]:
    """Tokens of the images and of the longest row under the recipe's cap and tighter ones, a dict for each cap.

    Args:
        sizes: (width, height) → number of images; of more than 32 sizes, 32 across the range of areas are used.
        count_tokens: tokens of an image of (width, height).
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
    caps = [max_pixels, *(cap for cap in _CAPS if cap < limit)]
    lines = []
    for cap in caps:
        tokens = {size: count_tokens(capped_size(size, cap)) for size in taken}
        weight = sum(sizes[size] for size in taken)
        mean = sum(tokens[size] * sizes[size] for size in taken) / weight
        most = max(tokens.values())
        lines.append(
            {"max_pixels": cap, "image_mean": round(mean, 1), "image_max": most, "longest": longest_text + most}
        )
    return lines


def image_cost_table(lines: Sequence[dict[str, Any]], batch_size: int) -> Table:
    """``image_costs`` for the terminal; the first line is the recipe as it is."""
    table = Table("max_pixels", "tokens per image", "at most", "longest row", "longest batch", title="what images cost",
                  title_justify="left")  # fmt: skip
    with_memory = any("memory" in line for line in lines)
    if with_memory:
        table.add_column("memory, about")
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
