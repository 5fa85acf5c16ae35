"""The first step of a curation: rows of all sources in one table, their images as files."""

from __future__ import annotations

import contextlib
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from curate.readers.images import Fetcher, ImageStore
from curate.readers.ingest import open_sources, write_rows
from curate.settings import MeasureSettings, RemoteSettings, SourceSettings
from curate.steps import Steps
from curate.workspace import Workspace

# Raise it when these modules make other rows from the same input.
VERSION = 3
# What changes how images are fetched, but not which ones arrive.
HOW_TO_FETCH = frozenset(
    {"concurrency", "per_host", "timeout", "deadline", "attempts", "backoff", "max_wait", "max_redirects"}
)


def read_sources(
    sources: Sequence[SourceSettings], inputs: dict[str, str], settings: MeasureSettings,
    remote: RemoteSettings | None, space: Workspace, steps: Steps, label: str = "",
) -> Path:  # fmt: skip
    """Write the rows of one set to ``space.rows``, unless they are there and nothing has changed.

    Images that sources carry or that are fetched become files below ``space.folder``. Ones that could not be had
    for now leave the step undone: the next run tries them again.

    Returns:
        The folder that image paths are relative to.

    Raises:
        UserError: bad input, or something cannot be written.
    """
    opened = open_sources(sources)
    wanted = remote and remote.model_dump(mode="json", exclude=set(HOW_TO_FETCH))
    key = [
        VERSION,
        [str(source.image_root) for _, source in opened],
        [[one.model_dump(mode="json", exclude={"license"}), inputs[one.location]] for one in sources],
        [settings.max_bytes, wanted and settings.max_pixels, wanted],
    ]
    counts: Counter[str] = Counter()

    def read() -> None:
        store = ImageStore(space.folder)
        with contextlib.ExitStack() as stack:
            fetcher: Fetcher | None = None
            if remote is not None:
                from curate.readers.http import RemoteImages

                images = RemoteImages(store, remote, settings, counts)
                fetcher = stack.enter_context(images)
            title = f"{label}read{' and fetch' if remote else ''}"
            root = write_rows(opened, space.rows, store, max_bytes=settings.max_bytes, fetcher=fetcher, label=title)
        steps.note(f"{label}root", str(root))
        steps.note(f"{label}unfetched", counts["remote_unavailable"])

    steps.unless_done(f"{label}read", key, [space.rows], read)
    if counts:
        _say(counts, label)
    if counts["remote_unavailable"]:
        steps.note(f"{label}read", None)
    return Path(steps.noted(f"{label}root"))


def all_fetched(steps: Steps, labels: Sequence[str]) -> bool:
    """Whether no image of the sets is left that another run may get."""
    return not any(steps.noted(f"{label}unfetched") for label in labels)


def _say(counts: Counter[str], label: str) -> None:
    failed: dict[str, Any] = {kind: count for kind, count in counts.items() if kind.startswith("remote_")}
    text = f"{label}images: {counts['fetched']:,} fetched, {counts['known']:,} known"
    if failed:
        text += "; failed: " + ", ".join(f"{kind} {count:,}" for kind, count in sorted(failed.items()))
    if "remote_unavailable" in failed:
        text += "; run again to try what was unavailable"
    print(text, file=sys.stderr)
