"""A task's row as the chat that a model reads."""

from __future__ import annotations

from typing import Any

from winnow.conversations import IMAGE_MARKER


def messages(prompt: str, images: int, system: str | None) -> list[dict[str, Any]]:
    """Chat-template messages with image and text blocks.

    Markers in ``prompt`` become images where they stand; without markers the images come first.
    """
    pieces = prompt.split(IMAGE_MARKER)
    if len(pieces) == 1:
        pieces = [""] * images + pieces
    blocks: list[dict[str, Any]] = []
    for number, piece in enumerate(pieces):
        if number:
            blocks.append({"type": "image"})
        if piece.strip():
            blocks.append({"type": "text", "text": piece.strip()})
    chat = [{"role": "user", "content": blocks}]
    if system:
        chat.insert(0, {"role": "system", "content": [{"type": "text", "text": system}]})
    return chat


def render(processor: Any, prompt: str, images: int, system: str | None) -> str:
    """The chat as text, ending where the answer begins."""
    text: str = processor.apply_chat_template(
        messages(prompt, images, system), tokenize=False, add_generation_prompt=True
    )
    return text


def control_token_in(prompt: str, tokenizer: Any) -> str | None:
    """A token with a meaning to the model (``<|im_end|>`` …) that stands in the text of a row, or None.

    Such a row would not be asked what it says: the token could end the turn or claim an image.
    """
    text = prompt.replace(IMAGE_MARKER, "")
    special = {*tokenizer.all_special_tokens, getattr(tokenizer, "image_token", None) or IMAGE_MARKER}
    return next((token for token in sorted(special) if token in text), None)
