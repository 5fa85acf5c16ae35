"""Models without a chat (PaliGemma): a prompt after the images, and the answer as its suffix."""

from __future__ import annotations

import inspect
from functools import lru_cache
from typing import Any

from curate.sample import IMAGE_MARKER, Sample
from finetune.conversation import Conversation


@lru_cache(maxsize=4)
def by_suffix(processor: Any) -> bool:
    """Whether the processor has no chat template but takes an answer as ``suffix``."""
    has_template = getattr(processor, "chat_template", None) is not None
    return not has_template and "suffix" in inspect.signature(type(processor).__call__).parameters


def suffix_problem(sample: Sample) -> str | None:
    """Why a row cannot be a prompt and its suffix; None if it can."""
    roles = [turn.role for turn in sample.conversations]
    return (
        None if roles == ["user", "assistant"] else f"one question and one answer are possible, not {' '.join(roles)}"
    )


def prompt_and_answer(conversation: Conversation) -> tuple[str, str]:
    """Prompt (image markers first, where the model was trained to find them) and answer."""
    question, answer = conversation.turns[-2].value, conversation.turns[-1].value
    words = " ".join(piece.strip() for piece in question.split(IMAGE_MARKER) if piece.strip())
    return IMAGE_MARKER * len(conversation.images) + words, answer
