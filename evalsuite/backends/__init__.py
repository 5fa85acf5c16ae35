"""Where answers come from. Every backend takes ``Request`` and gives ``Reply``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

FinishReason = Literal["stop", "length", "error"]


@dataclass(frozen=True, slots=True)
class Request:
    """One question to a model.

    Attributes:
        key: digest of everything the answer depends on; equal keys have equal answers.
        chat: the rendered chat up to where the answer begins.
        images: absolute paths, in the order of their placeholders.
        image_keys: sha256 of each image's bytes.
        max_new_tokens: limit of the answer.
        stop: texts that end it; they are cut off.
    """

    key: str
    chat: str
    images: tuple[str, ...]
    image_keys: tuple[str, ...]
    max_new_tokens: int
    stop: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Reply:
    """What came back.

    Attributes:
        raw: the model's words, before any reading of them.
        finish_reason: ``stop`` (end token or stop text), ``length`` (cut off), ``error`` (not asked).
        input_tokens, output_tokens: image tokens included; the end token is not counted.
        seconds: this row's share of the time its batch took.
        error: why there is no answer.
    """

    key: str
    raw: str
    finish_reason: FinishReason
    input_tokens: int
    output_tokens: int
    seconds: float
    error: str | None = None
