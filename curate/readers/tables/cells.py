"""What the cells of a table hold.

An image cell is a path, a URL, bytes, Hugging Face's ``{"bytes": …, "path": …}``, base64 or a data URI, or a list of
these. An answer cell is one text or several. Everything else becomes JSON.
"""

from __future__ import annotations

import ast
import base64
import datetime
import decimal
import io
import json
import math
import re
import tokenize
from collections.abc import Mapping
from typing import Any, NamedTuple

from curate.readers.images.store import embed, is_encoded

_SIZED = (str, bytes, list, dict)
_IN_JSON = frozenset({str, int, float, bool, type(None)})  # and none of their subclasses, which numpy has
_MAX_LITERAL = 100_000
_MAX_IMAGES = 64 << 20  # characters of a list of base64 texts


class ImageCell(NamedTuple):
    """What an image cell holds.

    Attributes:
        paths: of all its images, in order; see ``winnow.rows.records.Sample``.
        embedded: bytes of those that the table carries, by path.
        names: what the table calls the images it carries.
    """

    paths: tuple[str, ...] = ()
    embedded: Mapping[str, bytes] = {}
    names: tuple[str, ...] = ()


def image_cell(value: Any, where: str) -> ImageCell:
    """Read a path, URL, bytes, base64, data URI, ``{"bytes": …, "path": …}``, or a list of these.

    Raises:
        ValueError: something else.
    """
    if isinstance(value, str):
        if value.startswith("[") and value.rstrip().endswith("]"):
            value = list_literal(value, _MAX_IMAGES) or value
        elif value and not is_encoded(value):
            return ImageCell((value,))
    paths: list[str] = []
    embedded: dict[str, bytes] = {}
    names: list[str] = []
    for item in value if isinstance(value, list) else [value]:
        if item in (None, "", b""):
            continue
        data = item
        if isinstance(item, dict):
            data = item.get("bytes") or path_in(item)
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


def path_in(item: Any) -> str:
    """The path or URL that an item of an image cell names, '' for none."""
    if isinstance(item, dict):
        item = next((item[key] for key in ("path", "url", "image_url", "file_name") if item.get(key)), "")
        item = item.get("url") if isinstance(item, dict) else item
    return item if isinstance(item, str) else ""


def is_empty(value: Any) -> bool:
    """Whether a cell holds nothing: null, an empty text, list, object or bytes, or NaN (pandas' null)."""
    if isinstance(value, _SIZED):
        return not value
    return value is None or (isinstance(value, float) and math.isnan(value))


_TEXT_KEYS = ("answer", "caption", "raw", "text", "value", "content")


def texts(value: Any) -> tuple[tuple[str, ...], Any]:
    """Texts of an answer or caption, and the cell itself where its texts do not restore it.

    A cell is a text, a number, an object with ``answer``, ``caption`` or ``text``, a list of these, or
    ``{"text": […]}``. A list that holds a number is one answer, not several: its JSON. A text is never read as a list.

    Raises:
        ValueError: something else.
    """
    if type(value) is str:
        return ((value,) if value else ()), None
    if type(value) is dict and value and type(text := _text_in(value)) is str and text:
        return (text,), value
    value = value.tolist() if hasattr(value, "tolist") else value
    if is_empty(value):
        return (), None
    if isinstance(value, dict) and (listed := _text_in(value)):
        return texts(listed)[0], value
    items = value if isinstance(value, list) else [value]
    if isinstance(value, list) and any(isinstance(item, int | float | list) for item in items):
        return (json.dumps(json_value(value), ensure_ascii=False),), value
    if any(isinstance(item, dict) and item and item.keys().isdisjoint(_TEXT_KEYS) for item in items):
        raise ValueError(f"an answer is an object without any of {', '.join(_TEXT_KEYS)}")
    found = [_text_in(item) if isinstance(item, dict) else item for item in items]
    found = [item for item in found if not is_empty(item)]
    if not all(isinstance(text, str | int | float) for text in found):
        raise ValueError("an answer is neither a text nor a number")
    plain = all(isinstance(item, str) for item in items)
    return tuple(str(text) for text in found), None if plain else value


def references(value: Any) -> tuple[tuple[str, ...], Any]:
    """As ``texts``, of a cell that holds every reference: a list may be of numbers, or written as text.

    Raises:
        ValueError: something else.
    """
    if value is None:
        return (), None
    listed = list_literal(value) if isinstance(value, str) and value.startswith("[") else None
    items = listed if listed is not None else value.tolist() if hasattr(value, "tolist") else value
    if not isinstance(items, list) or any(isinstance(item, list) for item in items):
        return texts(value)
    plain = all(isinstance(item, str) for item in items) and listed is None
    return tuple(text for item in items for text in texts(item)[0]), None if plain else value


def _text_in(item: dict[str, Any]) -> Any:
    for key in _TEXT_KEYS:
        if key in item:
            return item[key]
    return None


def list_literal(text: str, longest: int = _MAX_LITERAL) -> list[Any] | None:
    """The list that ``text`` spells, or None; see ``literal``."""
    value = literal(text, longest)
    return value if isinstance(value, list) else None


def literal(text: str, longest: int = _MAX_LITERAL) -> Any:
    """The value that ``text`` spells as JSON, as a Python literal, or as numpy prints an array; or None."""
    if len(text) > longest:
        return None
    array = re.fullmatch(r"array\((\[.*\])(?:,\s*dtype=\w+)?\)", text.strip(), re.DOTALL)
    text = array[1] if array else text
    for parse in (json.loads, _printed_array, ast.literal_eval):
        try:
            return parse(text)
        except (ValueError, SyntaxError, RecursionError, MemoryError, tokenize.TokenError):
            continue
    return None


def _printed_array(text: str) -> list[str]:
    """The texts of ``['a' 'b']``, which Python would read as the one text ``ab``.

    Raises:
        ValueError: two texts do not stand side by side in it.
    """
    blank = (tokenize.NL, tokenize.NEWLINE, tokenize.ENDMARKER)
    found = [token for token in tokenize.generate_tokens(io.StringIO(text.strip()).readline) if token.type not in blank]
    inner = found[1:-1]
    if len(inner) < 2 or [found[0].string, found[-1].string] != ["[", "]"]:
        raise ValueError("not a printed array")
    if any(token.type != tokenize.STRING for token in inner):
        raise ValueError("not a printed array of texts")
    return [str(ast.literal_eval(token.string)) for token in inner]


def json_value(value: Any) -> Any:
    """``value`` with what JSON cannot hold written as text (dates as ISO, decimals, bytes as base64)."""
    if type(value) in _IN_JSON:
        return value
    try:
        return _json_value(value)
    except RecursionError:
        return value  # only JSON is nested so deeply, and it holds none of these


def _json_value(value: Any) -> Any:
    value = value.tolist() if hasattr(value, "tolist") else value
    if isinstance(value, dict):
        return {str(key): item if type(item) in _IN_JSON else _json_value(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [item if type(item) in _IN_JSON else _json_value(item) for item in value]
    if isinstance(value, datetime.datetime | datetime.date | datetime.time):
        return value.isoformat()
    if isinstance(value, bytes):
        return base64.b64encode(value).decode()
    return str(value) if isinstance(value, decimal.Decimal | datetime.timedelta) else value
