"""RefCOCO, RefCOCO+ and RefCOCOg as Parquet of the hub: a box, and the expressions that name what is in it.

Columns ``question_id, image, question, answer, segmentation, bbox, iscrowd, file_name``; ``answer`` lists the
expressions. Each expression is a row: it is the question, and ``bbox`` (left, top, width, height in pixels) is the
answer, as the text of a list. ``width`` and ``height`` of the image are added to ``meta``. Source:
https://huggingface.co/datasets/lmms-lab/RefCOCO.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from PIL import Image

from curate.readers.base import Layout, Reading
from curate.readers.files.json import RawRow
from curate.readers.files.rows import iter_rows
from curate.readers.location import Probe, table_files
from curate.readers.tables.columns import Columns
from curate.settings.sources import SourceSettings
from winnow.errors import UserError
from winnow.rows.records import BadRow

_COLUMNS = {"question_id", "image", "answer", "bbox", "segmentation"}
_ROLES = {"id": "id", "image": "image", "question": "question", "answer": "answer"}


def looks_like(probe: Probe) -> bool:
    """Rows with boxes and lists of expressions."""
    return probe.is_file and probe.first.keys() >= _COLUMNS and isinstance(probe.first["answer"], list)


def readings(settings: SourceSettings) -> Iterator[Reading]:
    """Each file."""
    files = table_files(settings.location, settings.split)
    if not files:
        raise UserError(f"{settings.location}: no Parquet file there")
    named = settings.model_copy(update={"columns": _ROLES | settings.columns})
    columns = Columns(named, lambda: _rows(files[0][0]), near=files[0][0].parent)
    for file, split in files:
        yield Reading(_rows(file), columns.of_split(split).sample, near=file.parent)


def _rows(file: Path) -> Iterator[RawRow | BadRow]:
    """A row for each expression."""
    for row in iter_rows(file):
        if isinstance(row, BadRow):
            yield row
            continue
        fields = row.fields
        expressions, box = fields.get("answer"), fields.get("bbox")
        if not isinstance(expressions, list) or not isinstance(box, list) or len(box) != 4:
            yield BadRow(row.where, "needs a list of expressions and a bbox of four numbers", row.position)
            continue
        size = _size(fields.get("image"))
        for number, expression in enumerate(expressions):
            asked = {"id": f"{fields['question_id']}-{number}", "question": expression, "answer": json.dumps(box)}
            yield dataclasses.replace(row, value={**fields, **size, **asked})


def _size(image: Any) -> dict[str, int]:
    """Width and height in pixels of an image that the table carries; empty where they cannot be read."""
    data = image.get("bytes") if isinstance(image, dict) else image
    try:
        with Image.open(io.BytesIO(data or b"")) as opened:
            return {"width": opened.width, "height": opened.height}
    except (OSError, TypeError, ValueError, Image.DecompressionBombError):
        return {}


LAYOUT = Layout(__doc__, "{location: data/raw/refcoco/data/val-00000-of-00001.parquet}", looks_like, readings)
