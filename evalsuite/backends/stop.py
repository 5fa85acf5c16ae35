"""Where a stop text ends an answer: behind the model's thinking and behind its first word."""

from __future__ import annotations

import re

from evalsuite.reading import strip

_OPENS = r"(?:<think(?:ing)?>|◁think▷|\[THINK\])"
_THINKS = re.compile(rf"\s*{_OPENS}", re.IGNORECASE)
_PROMPT_OPENS = re.compile(rf"{_OPENS}\s*$", re.IGNORECASE)
_CLOSES = re.compile(r"</think(?:ing)?>|◁/think▷|\[/THINK\]", re.IGNORECASE)


def opens_thinking(text: str) -> bool:
    """Whether a reply begins with the model's thinking."""
    return bool(_THINKS.match(text))


def prompt_opens_thinking(chat: str) -> bool:
    """Whether a chat template has opened the thinking that the reply goes on with."""
    return bool(_PROMPT_OPENS.search(chat))


def after_thinking(text: str, *, opened: bool = False) -> int:
    """Where the answer begins: behind the last closing tag; at the end while the thinking goes on.

    Args:
        opened: the prompt has opened the thinking.
    """
    begin = max((found.end() for found in _CLOSES.finditer(text)), default=0)
    return len(text) if not begin and (opened or opens_thinking(text)) else begin


def cut_at_stop(text: str, stop: tuple[str, ...], *, opened: bool = False) -> tuple[str, bool]:
    """``text`` up to the first stop text that follows a word of the answer, and whether there was one.

    A stop text in the thinking, or before any word (a model that begins with a line break), ends nothing.
    """
    begin = after_thinking(text, opened=opened)
    kept = text[:begin] + strip.cut_at_stop(text[begin:], stop)
    return kept, len(kept) < len(text)
