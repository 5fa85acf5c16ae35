"""What the cells of a table hold.

An image cell is a path, a URL, bytes, Hugging Face's ``{"bytes": …, "path": …}``, base64 or a data URI, or a list of
these. An answer cell is one text or several. Everything else becomes JSON.
"""

from __future__ import annotations

import ast
import base64
import datetime
import decimal
import json
from dataclasses import dataclass, field
from typing import Any

from curate.readers.images import embed, is_encoded

_MAX_LITERAL = 100_000
_MAX_IMAGES = 64 << 20  # characters of a list of base64 texts


@dataclass(frozen=True)
class ImageCell:
    """What an image cell holds.

    Attributes:
        paths: of all its images, in order; see ``winnow.records.Sample``.
        embedded: bytes of those that the table carries, by path.
        names: what the table calls the images it carries.
    """

    paths: tuple[str, ...] = ()
    embedded: dict[str, bytes] = field(default_factory=dict)
    names: tuple[str, ...] = ()


def image_cell(value: Any, where: str) -> ImageCell:
    """Read a path, URL, bytes, base64, data URI, ``{"bytes": …, "path": …}``, or a list of these.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        value = list_literal(value, _MAX_IMAGES) or value
    paths: list[str] = []
    embedded: dict[str, bytes] = {}
    names: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if item in (None, "", b""):
            continue
        data = item
        if isinstance(item, dict):
            data = item.get("bytes") or item.get("path") or ""
            if item.get("bytes") and isinstance(item.get("path"), str):
                names.append(item["path"])
        if isinstance(data, bytes) or (isinstance(data, str) and is_encoded(data)):
            path, image = embed(data, where)
            embedded.update(image)
        elif isinstance(data, str) and data:
            path = data
        elif isinstance(item, dict) and not data:
            continue
        else:
            raise ValueError("the image is neither a path or URL nor bytes or base64")
        paths.append(path)
    return ImageCell(tuple(paths), embedded, tuple(names))


def texts(value: Any) -> tuple[tuple[str, ...], Any]:
    """Texts of an answer cell, and the cell itself where its texts do not restore it.

    A cell is a text, a number, a list of these, a list of ``{"answer": …}``, or a list written
    as JSON or as a Python literal (as pandas writes them to CSV).
    """
    if isinstance(value, str) and value.startswith("[") and value.rstrip().endswith("]"):
        parsed = list_literal(value)
        if parsed is not None:
            return texts(parsed)[0], value
    if value is None:
        return (), None
    items = value if isinstance(value, list) else [value]
    found = [item.get("answer") if isinstance(item, dict) else item for item in items]
    if not all(isinstance(text, str | int | float) for text in found):
        raise ValueError("an answer is neither a text nor a number")
    plain = all(isinstance(item, str) for item in items)
    return tuple(str(text) for text in found if text != ""), None if plain else value


def list_literal(text: str, longest: int = _MAX_LITERAL) -> list[Any] | None:
    """The list that ``text`` spells as JSON or as a Python literal, or None."""
    if len(text) > longest:
        return None
    for parse in (json.loads, ast.literal_eval):
        try:
            value = parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError):
            continue
        if isinstance(value, list):
            return value
    return None


def json_value(value: Any) -> Any:
    """``value`` with what JSON cannot hold written as text (dates as ISO, decimals, bytes as base64)."""
    if isinstance(value, dict):
        return {str(key): json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [json_value(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value
