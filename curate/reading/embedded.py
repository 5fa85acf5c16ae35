"""Images that a dataset carries as bytes or base64 text, named by their content."""

from __future__ import annotations

import base64
import binascii
import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from curate.reading.unavailable import unavailable
from curate.sample import Sample
from winnow.files import sha256_bytes

# How the base64 text of an image file begins: JPEG, PNG, GIF, RIFF, TIFF, JPEG 2000, AVIF.
_BASE64_STARTS = (
    "/9j/",
    "iVBORw0KGgo",
    "R0lGOD",
    "UklGR",
    "SUkqA",
    "TU0AK",
    "AAAADGpQ",
    "AAAAIGZ0eXBhdmlm",
    "AAAAHGZ0eX",
)
_FTYP_BRANDS = {
    b"avif": ".avif", b"avis": ".avif", b"heic": ".heic", b"heix": ".heic", b"mif1": ".heic", b"hevc": ".heic",
}  # fmt: skip
_STARTS = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"BM": ".bmp", b"II*\0": ".tif", b"MM\0*": ".tif",
    b"\0\0\0\x0cjP": ".jp2", b"\xff\x4f\xff\x51": ".j2k", b"qoif": ".qoi",
}  # fmt: skip
_SHORTEST = 64  # characters; no image file is smaller, and hardly a path begins like one
_LONGEST_PATH = 4096
_DATA_URI = re.compile(r"data:[\w.+/-]*(;[\w.+=-]*)*,", re.IGNORECASE)
_BLANKS = str.maketrans("", "", " \t\r\n")
_URL_SAFE = str.maketrans("-_", "+/")


def suffix_of(data: bytes) -> str:
    """The file suffix of an image by its first bytes, e.g. ``.jpg``; '' if it is none that is known."""
    for start, suffix in _STARTS.items():
        if data.startswith(start):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp" and data[8:12] in _FTYP_BRANDS:
        return _FTYP_BRANDS[data[8:12]]
    return ".ppm" if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace() else ""


def content_path(data: bytes) -> str:
    """Where ``materialise.ImageStore`` keeps these bytes: ``images/ab/<sha256><suffix>``."""
    digest = sha256_bytes(data)
    return f"images/{digest[:2]}/{digest}{suffix_of(data)}"


def is_encoded(text: str) -> bool:
    """Whether a text in an image field is a data URI or base64 rather than a path or URL.

    Base64 is known by how the base64 of image files begins, or by being longer than any path.
    """
    if text[:5].lower() == "data:":
        return True
    return len(text) > _LONGEST_PATH or (len(text) >= _SHORTEST and text.lstrip()[:16].startswith(_BASE64_STARTS))


def decoded(text: str) -> bytes:
    """The bytes of a data URI or base64 text (also URL-safe, wrapped in lines, or without its padding).

    Raises:
        ValueError: not base64.
    """
    found = _DATA_URI.match(text[:200]) if text[:5].lower() == "data:" else None
    if found and not found.group().lower().endswith(";base64,"):
        raise ValueError("a data URI that is not base64")
    plain = text[found.end() if found else 0 :].translate(_BLANKS).translate(_URL_SAFE)
    if not plain:
        raise ValueError("empty")
    try:
        return base64.b64decode(plain + "=" * (-len(plain) % 4), validate=True)
    except binascii.Error as error:
        raise ValueError(str(error)) from None


def embed(data: bytes | str, where: str) -> tuple[str, dict[str, bytes]]:
    """Path of an embedded image and its bytes by that path; base64 that cannot be decoded has no bytes."""
    if isinstance(data, str):
        try:
            data = decoded(data)
        except ValueError as error:
            return unavailable("bad_base64", f"{where} ({error})"), {}
    path = content_path(data)
    return path, {path: data}


def with_embedded(sample: Sample, location: str, position: int) -> Sample:
    """Row ``position`` of a source, with data URIs and base64 texts of its image field moved to ``embedded``.

    ``sample.to_original`` still gives the field as it was.
    """
    if not any(is_encoded(path) for path in sample.image):
        return sample
    paths: list[str] = []
    images: dict[str, bytes] = dict(sample.embedded)
    for path in sample.image:
        if is_encoded(path):
            path, image = embed(path, f"{location}: row {position + 1}")
            images.update(image)
        paths.append(path)
    return _moved(sample, tuple(paths), images)


def _moved(sample: Sample, paths: tuple[str, ...], images: Mapping[str, bytes]) -> Sample:
    form = sample.form
    before: Any = list(sample.image) if form.image_is_list else sample.image[0]
    form = dataclasses.replace(form, verbatim={form.image_key: before, **form.verbatim})
    return dataclasses.replace(sample, image=paths, embedded=images, form=form)
