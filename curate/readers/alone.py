"""Reading a range of a file alone: without the rows before it, on which a few ways to read rows depend."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

_alone: ContextVar[bool] = ContextVar("alone", default=False)


class NotAloneError(Exception):
    """A row cannot be read without other rows of its source: the whole source has to be read in order."""


@contextlib.contextmanager
def alone() -> Iterator[None]:
    """Within the block, ``needs_other_rows`` raises."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


def needs_other_rows() -> None:
    """Say that what a row becomes depends on rows of its source other than the first ones.

    Raises:
        NotAloneError: only a range of its file is being read.
    """
    if _alone.get():
        raise NotAloneError
