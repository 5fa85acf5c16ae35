"""Remembering what a function made of texts that come again and again, as questions and answers do."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

Made = TypeVar("Made")
_LONGEST = 256  # characters of a text that is remembered; longer ones hardly repeat
_MOST = 1 << 15


class Remembered(dict[str, Made]):
    """What a function makes of a text, by text: looked up where it is known, else made; at most 32,768 are kept."""

    def __init__(self, function: Callable[[str], Made]) -> None:
        super().__init__()
        self._function = function

    def __missing__(self, text: str) -> Made:
        made = self._function(text)
        if len(text) <= _LONGEST:
            if len(self) >= _MOST:
                self.clear()
            self[text] = made
        return made
