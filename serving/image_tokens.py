"""How many tokens an image costs at a server, and in training: a prompt's length with its images and without them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.spans import prompt_text
from finetune.export.parity import ask_server
from finetune.training.prompts import Prompt
from winnow.rows.conversations import IMAGE_MARKER
from winnow.vlm.inputs import InputSettings


@dataclass(frozen=True, slots=True)
class ImageTokens:
    """Tokens that images add to their prompts.

    Attributes:
        prompts: with images, that were compared; 0 if the server reports no lengths.
        trained, served: of all their images together.
        differing: sample_id, tokens in training, tokens at the server.
    """

    prompts: int
    trained: int
    served: int
    differing: list[tuple[str, int, int]]


def compare_image_tokens(
    url: str, asked: tuple[str, list[tuple[str, int | None]]], prompts: Sequence[Prompt], processor: Any,
    settings: InputSettings, cap: int | None,
) -> ImageTokens:  # fmt: skip
    """Ask the same prompts without their images, and compare the difference with training's.

    Args:
        asked: what ``ask_server`` gave for ``prompts``.
        cap: larger images were scaled down to this area.
    """
    name, answers = asked
    pairs = [
        (prompt, length) for prompt, (_, length) in zip(prompts, answers, strict=True)
        if length is not None and prompt.images and _has_words(prompt)
    ]  # fmt: skip
    bare = [without_images(prompt) for prompt, _ in pairs]
    _, lengths = ask_server(url, name, bare, settings, cap, max_tokens=1)
    found = []
    for (prompt, length), plain, (_, served) in zip(pairs, bare, lengths, strict=True):
        own = len(prompt.tokens) - _length(plain, processor, settings)
        found.append((prompt.sample_id, own, length - (served or 0)))
    differing = [entry for entry in found if entry[1] != entry[2]]
    return ImageTokens(len(found), sum(own for _, own, _ in found), sum(its for _, _, its in found), differing)


def _has_words(prompt: Prompt) -> bool:
    """Whether every turn says something without its images; templates and servers refuse empty ones."""
    return all(str(turn["value"]).replace(IMAGE_MARKER, "").strip() for turn in prompt.turns)


def without_images(prompt: Prompt) -> Prompt:
    """The prompt with its words alone."""
    turns = [{**turn, "value": str(turn["value"]).replace(IMAGE_MARKER, "").strip()} for turn in prompt.turns]
    return replace(prompt, turns=turns, images=[])


def _length(prompt: Prompt, processor: Any, settings: InputSettings) -> int:
    """Tokens of a prompt without images, as the processor counts them."""
    text = prompt_text(processor, prompt.conversation(), settings)
    bos = processor.tokenizer.bos_token
    ids = processor.tokenizer(text, add_special_tokens=not (bos and text.startswith(bos)))["input_ids"]
    return len(ids)
