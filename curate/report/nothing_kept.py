"""Why a curation kept no row, in one sentence."""

from __future__ import annotations

from typing import Any

from winnow.media.images import CLASSES
from winnow.media.locate import is_url
from winnow.text import counted


def why_nothing_is_kept(counts: dict[str, Any]) -> str | None:
    """The likeliest cause and what to do; None if a row was kept.

    Args:
        counts: of ``curate.report.counts.count_rows``.
    """
    rows = counts["rows"]
    if counts["keep"] + counts["flag"]:
        return None
    if not rows:
        return "the sources hold no rows; look at one with `curate inspect`"
    rule = max(counts["rules"], key=lambda each: int(each["reason"]))
    if rule["rule"] == "bad_row":
        first = next(each["first_bad"] for each in counts["read"] if each["first_bad"])
        return f"{rule['reason']:,} of {counted(rows, 'row')} could not be read, the first: {first}"
    errors = counts["image_errors"]
    if errors and "error" in rule["columns"]:
        first = errors[0]
        same = sum(each["images"] for each in errors if each["error"] == first["error"])
        detail = first["detail"] or CLASSES[first["error"]]
        images = counted(counts["paths"], "image")
        return (
            f"{same:,} of {images}: {first['error']!r}, such as {first['example']} ({detail});"
            f" {_what_to_do(first)}, then run it again"
        )
    return (
        f"rule {rule['rule']!r} took {rule['reason']:,} of them; edit it and decide again, or see with `curate explain`"
        " what it fired on"
    )


def _what_to_do(images: dict[str, Any]) -> str:
    if is_url(images["example"]):
        return "add `remote: {}` to the recipe to fetch them"
    if images["error"] in ("missing", "outside_root"):
        return "set `image_root:` of the source (or --image-root) to the folder that its image paths start from"
    return "mend the files"
