"""Views of a text without what stands between its words."""

from __future__ import annotations

import re

_BETWEEN = re.compile(r"[\W_]+")
# A full stop with nothing after it is one of an address.
_END_OF_SENTENCE = re.compile(r"[.;!?]\W*\s|\s\W*[.;!?]|[。！？।]")


def spaced(view: str) -> str:
    """Words with single spaces, and `` . `` where a sentence ends."""
    return _BETWEEN.sub(lambda gap: " . " if _END_OF_SENTENCE.search(gap[0]) else " ", f" {view} ")


def squeezed(spaced_view: str) -> str:
    """The same without any space."""
    return spaced_view.replace(" ", "")
