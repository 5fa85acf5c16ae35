"""Views of a text without what stands between its words."""

from __future__ import annotations

import re

_BETWEEN = re.compile(r"[\W_]+")
_END_OF_SENTENCE = re.compile(r"[.;!?]")
_FULL_WIDTH_END = re.compile(r"[。！？।]")
_BLANK = re.compile(r"\s")


def spaced(view: str) -> str:
    """Words with single spaces, and `` . `` where a sentence ends."""
    return _BETWEEN.sub(_gap, f" {view} ")


def _gap(found: re.Match[str]) -> str:
    between = found[0]
    # A full stop with nothing after it is one of an address.
    ends = _END_OF_SENTENCE.search(between) and _BLANK.search(between)
    return " . " if ends or _FULL_WIDTH_END.search(between) else " "


def squeezed(spaced_view: str) -> str:
    """The same without any space."""
    return spaced_view.replace(" ", "")
