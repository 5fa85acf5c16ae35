"""Texts beside an image: ``1.txt`` or ``1.caption`` as kohya's scripts read them, ``1.json`` as of img2dataset."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from winnow.media.locate import locate
from winnow.rows.lines import parse_json

ENDINGS = (".txt", ".caption", ".json")
_MAX_BYTES = 1 << 20
_BOXES = re.compile(r"(\s*[\d.eE+-]+){5,}\s*")  # a line of YOLO: class and coordinates
_KNOWN = frozenset(  # fields of img2dataset's file
    {"caption", "url", "key", "status", "error_message", "width", "height", "original_width", "original_height", "exif",
     "sha256", "md5"}
)  # fmt: skip


@dataclass(frozen=True)
class SidecarText:
    """What lies beside an image.

    Attributes:
        caption: '' if there is none.
        meta: all fields of the ``.json`` but its caption.
        unclaimed: those of them that img2dataset does not write.
    """

    caption: str = ""
    meta: Mapping[str, Any] = field(default_factory=dict)
    unclaimed: tuple[str, ...] = ()


class Sidecars:
    """The texts beside the images below ``root``; links may lead into ``bound``."""

    def __init__(self, root: Path, bound: Path) -> None:
        self._root, self._bound = str(root.resolve()), str(bound)

    def text(self, image: Path, endings: Sequence[str]) -> SidecarText | None:
        """The text of an image, None if no file beside it is one: lines of numbers, as of YOLO, are not.

        Args:
            image: relative to the root.
            endings: of the files that lie beside it under its name, some of ``ENDINGS``.

        Raises:
            ValueError: such a file is too large, or is not UTF-8 or JSON.
        """
        captions: list[str] = []
        fields: dict[str, Any] | None = None
        for ending in endings:
            path = image.with_suffix(ending)
            data = self._bytes(path)
            if data is None:
                continue
            if ending == ".json":
                fields = _object(data, path)
            elif text := _caption(data, path):
                captions.append(text)
        if not captions and fields is None:
            return None
        fields = fields or {}
        own = fields.get("caption")
        captions += [own] if isinstance(own, str) and own else []
        caption = captions[0] if captions else ""
        meta = {name: value for name, value in fields.items() if name != "caption" or value != caption}
        return SidecarText(caption, meta, tuple(name for name in meta if name not in _KNOWN))

    def _bytes(self, path: Path) -> bytes | None:
        """What a file holds; None if it is no file, or a link that must not be followed."""
        found = locate(path.as_posix(), self._root, max_bytes=_MAX_BYTES, links_within=self._bound)
        if found.error == "too_large_bytes":
            raise ValueError(f"{path}: {found.detail}")
        try:
            return Path(found.file).read_bytes() if found.file is not None else None
        except OSError as error:
            raise ValueError(f"{path}: {error.strerror}") from None


def _caption(data: bytes, path: Path) -> str:
    try:
        text = data.decode("utf-8-sig").strip()
    except UnicodeDecodeError as error:
        raise ValueError(f"{path}: not UTF-8 ({error.reason})") from None
    return "" if all(_BOXES.fullmatch(line) for line in text.splitlines()) else text


def _object(data: bytes, path: Path) -> dict[str, Any] | None:
    """The object of a ``.json`` that describes an image; None for another one, such as LabelMe's outlines."""
    try:
        value = parse_json(data)
    except ValueError as error:
        raise ValueError(f"{path}: not JSON ({error})") from None
    return value if isinstance(value, dict) and {"caption", "url", "key"} & value.keys() else None
