"""Raw formats in, samples out; one file per format.

Each module has ``iter_samples(settings) -> Iterator[Sample | BadRow]`` (streaming) and
``image_root(settings) -> Path``, the folder that the samples' image paths are relative to.

Usage::

    opened = open_source(settings)
    for row in opened.rows():
        if isinstance(row, BadRow):
            ...  # row.where, row.reason, row.position: one line of the ledger
        else:
            ...  # a Sample; image paths are relative to opened.image_root
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from curate.sample import BadRow, Sample
from curate.settings import SourceSettings


@dataclass(frozen=True)
class OpenedSource:
    """A source whose layout is known.

    Attributes:
        layout: key of ``SOURCES``.
        image_root: folder that image paths are relative to.
        rows: call it to stream the rows from the start, as often as you like.
    """

    layout: str
    image_root: Path
    rows: Callable[[], Iterator[Sample | BadRow]]


def open_source(settings: SourceSettings) -> OpenedSource:
    """Recognise the layout and prepare streaming.

    Raises:
        UserError: nothing there, or no known layout.
    """
    raise NotImplementedError
