"""Language models that know no images: their tokenizer in the place of a processor."""

from __future__ import annotations

from typing import Any

from winnow.errors import UserError


class TextProcessor:
    """A tokenizer that is called like the processor of a vision-language model, for chats without images.

    Attributes:
        tokenizer: the tokenizer.
        chat_template: of the tokenizer, or None.
    """

    def __init__(self, tokenizer: Any) -> None:
        self.tokenizer = tokenizer
        self.chat_template = tokenizer.chat_template

    def apply_chat_template(self, messages: list[dict[str, Any]], **options: Any) -> Any:
        """The chat as text; templates of language models take a message's content as one text.

        Raises:
            UserError: the chat shows an image.
        """
        return self.tokenizer.apply_chat_template([{**turn, "content": _text_of(turn)} for turn in messages], **options)

    def __call__(self, text: list[str], images: None = None, **options: Any) -> Any:
        """Token ids and attention mask, as tensors."""
        from transformers import BatchFeature

        return BatchFeature(dict(self.tokenizer(text, **options)))


def _text_of(turn: dict[str, Any]) -> str:
    content = turn["content"]
    if isinstance(content, str):
        return content
    if any(block["type"] != "text" for block in content):
        raise UserError("this model knows no images; ask it `blind: true`, or another model")
    return "\n".join(block["text"] for block in content)
