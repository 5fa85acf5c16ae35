"""The one place where image files are found and their bytes become pixels.

Every stage sees the same image: EXIF orientation applied, alpha composited on white, palettes, grey, 1-bit,
16-bit and CMYK turned into 8-bit RGB, with one cap on bytes and one on pixels, both checked before anything
is decoded. What is wrong with a file is a class (``CLASSES``), which becomes a row of the ledger.

An image that a row names but that cannot be fetched is written in place of its path as ``<class>:<what>``
(``unavailable``). The row keeps its id, question and answers, and ``locate`` gives its class, so that rules,
ledger and card treat it like a missing file.
"""

from __future__ import annotations

import functools
import os
import stat
import struct
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image, UnidentifiedImageError

# Class → meaning, of images that are not files. Those of remote images begin with `remote_`.
UNAVAILABLE: dict[str, str] = {
    "bad_base64": "the image is given as base64 text that cannot be decoded",
    "too_large_bytes": "more bytes than the cap; not read",
    "remote_off": "the image is a URL; `remote: {}` in the recipe fetches such images",
    "remote_bad_url": "not a URL that can be fetched",
    "remote_private": "the address is private, loopback or link-local; `remote: {allow_private: true}` allows it",
    "remote_404": "the server says it is not there, or no longer (404, 410)",
    "remote_denied": "the server does not hand it out (401, 402, 403, 407, 451)",
    "remote_http": "the server answers with a status that is no image and not worth a retry",
    "remote_redirects": "redirects in a loop, or too many of them",
    "remote_not_an_image": "what the server sends is no image, whatever it is called",
    "remote_too_large": "more bytes or pixels than the cap",
    "remote_unavailable": "no whole answer in any attempt; the next run tries again",
}
_PROTOCOLS = ("http://", "https://")


def is_url(path: str) -> bool:
    """Whether an image field holds a web address."""
    return path[:8].lower().startswith(_PROTOCOLS)


def unavailable(kind: str, what: str) -> str:
    """The notation for an image of class ``kind``; ``what`` is its URL or name."""
    return f"{kind}:{what}"


def unavailable_class(path: str) -> tuple[str, str] | None:
    """Class and detail if ``path`` is in the notation of ``unavailable`` or a URL not fetched, else None."""
    if is_url(path):
        return "remote_off", UNAVAILABLE["remote_off"]
    kind, colon, what = path.partition(":")
    return (kind, what) if colon and kind in UNAVAILABLE else None


# The caps of decoding where nothing else is set.
DEFAULT_MAX_BYTES = 100_000_000
DEFAULT_MAX_PIXELS = 80_000_000

# Formats with a decoder that runs in this process (EPS would start another program) and a header that gives the
# size that decoding allocates (an ICO's header does not bind the PNG inside it). JPEG includes multi-image JPEG,
# which Pillow calls MPO.
Image.init()
_WANTED = ("JPEG", "PNG", "GIF", "WEBP", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI")
_FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)
_SIGNATURES = (
    b"\xff\xd8\xff", b"\x89PNG", b"GIF8", b"II*\0", b"MM\0*", b"\0\0\0\x0cjP", b"\xff\x4f\xff\x51",
    b"qoif",
)  # fmt: skip
_BMP_HEADERS = {length.to_bytes(4, "little") for length in (12, 16, 40, 52, 56, 64, 108, 124)}
_HEIF_BRANDS = {b"heic", b"heix", b"mif1", b"msf1", b"hevc"}
# What Pillow's decoders are known to raise on damaged input; they wrap little of it.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, EOFError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
_PLAIN_MODES = {"1", "L", "P", "RGB", "RGBX", "CMYK", "YCbCr", "HSV"}
_ORIENTATION_TAG = 0x0112
_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
_GIF_COUNTED = 8 << 20


@dataclass(frozen=True, slots=True)
class ImageFacts:
    """Facts about an image file.

    Attributes:
        bytes: length of the file.
        format: Pillow's name of the content's format, None if unknown.
        width, height: in pixels, as seen (after EXIF orientation).
        mode: Pillow mode before conversion (``P``, ``CMYK``, ``I;16`` …).
        frames: number of frames; for a GIF above 8 MiB only 1 or 2 (more than one).
        exif_orientation: 1 to 8; 1 where there is none.
        error: one of ``CLASSES``, or None.
        error_detail: the decoder's message.
    """

    bytes: int
    format: str | None = None
    width: int | None = None
    height: int | None = None
    mode: str | None = None
    frames: int | None = None
    exif_orientation: int | None = None
    error: str | None = None
    error_detail: str | None = None


@dataclass(frozen=True, slots=True)
class Decoded:
    """A decoded image.

    Attributes:
        image: 8-bit RGB as seen, or None.
        original: the same pixels in the file's own mode, neither turned nor blended with white.
        facts: ``facts.error`` is set whenever the image is None, and to ``animated`` for an image with several
            frames, whose first one is given.
    """

    image: Image.Image | None
    original: Image.Image | None
    facts: ImageFacts


def decode(data: bytes, *, max_bytes: int, max_pixels: int) -> tuple[Image.Image | None, ImageFacts]:
    """The image and the facts of ``decode_whole``, which see."""
    found = decode_whole(data, max_bytes=max_bytes, max_pixels=max_pixels)
    return found.image, found.facts


def decode_whole(data: bytes, *, max_bytes: int, max_pixels: int) -> Decoded:
    """Decode a file's bytes to an 8-bit RGB image. Bad bytes never raise; they give ``facts.error``.

    Args:
        max_bytes, max_pixels: caps; beyond them nothing is decoded.
    """
    facts = ImageFacts(len(data))
    if not data:
        return Decoded(None, None, replace(facts, error="empty"))
    if len(data) > max_bytes:
        return _undecoded(facts, "too_large_bytes", f"{len(data)} bytes, the cap is {max_bytes}")
    try:
        opened = Image.open(BytesIO(data), formats=_FORMATS)
    except _BOMB as error:
        return _undecoded(facts, "too_large_pixels", error)
    except UnidentifiedImageError:
        return Decoded(None, None, _unidentified(data))
    except _DAMAGE as error:
        return _undecoded(facts, "truncated" if _has_signature(data) else "not_an_image", error)
    width, height = opened.size
    facts = replace(facts, format=opened.format, width=width, height=height, mode=opened.mode)
    if width * height > max_pixels:
        return _undecoded(facts, "too_large_pixels", f"{width} × {height} pixels, the cap is {max_pixels}")
    try:
        facts = replace(facts, frames=_frames(opened, len(data)))
        turned_by_pillow = _orientation(opened) if opened.format == "TIFF" else 1
        opened.load()
        image = to_rgb(opened)
    except _BOMB as error:
        return _undecoded(facts, "too_large_pixels", error)
    except _DAMAGE as error:
        return _undecoded(facts, "truncated", error)
    if image is None:
        return _undecoded(facts, "unreadable_mode", opened.mode)
    orientation = _orientation(opened)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    orientation = max(orientation, turned_by_pillow)  # one of them is 1
    facts = replace(facts, width=image.width, height=image.height, exif_orientation=orientation)
    # A multi-image JPEG is a photograph with its own preview, not an animation.
    if facts.frames != 1 and opened.format != "MPO":
        facts = _failed(facts, "animated", f"{facts.frames} frames")
    return Decoded(image, opened, facts)


def to_rgb(image: Image.Image) -> Image.Image | None:
    """8-bit RGB of a loaded image; transparent parts become white. None for modes without defined colours."""
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.has_transparency_data:
        rgba = image.convert("RGBA")
        white = Image.new("RGB", image.size, (255, 255, 255))
        white.paste(rgba, mask=rgba.getchannel("A"))
        return white
    if image.mode in _PLAIN_MODES:
        return image.convert("RGB")
    if image.mode == "I" or image.mode.startswith("I;16"):
        values = np.asarray(image).astype(np.int64)
        if values.min() >= 0 and values.max() <= 0xFFFF:
            return Image.fromarray(((values + 128) // 257).astype(np.uint8)).convert("RGB")
    return None


def _frames(image: Image.Image, size: int) -> int:
    if image.format == "GIF" and size > _GIF_COUNTED:
        return 2 if image.is_animated else 1  # type: ignore[attr-defined]
    return int(getattr(image, "n_frames", 1))


def _orientation(image: Image.Image) -> int:
    """EXIF orientation; 1 if there is none or the EXIF block is damaged, which harms no pixel."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except _DAMAGE:
        return 1
    return value if isinstance(value, int) and value in _TURNS else 1


def _failed(facts: ImageFacts, error: str, detail: str | BaseException) -> ImageFacts:
    words = " ".join(str(detail).split())[:200] or type(detail).__name__
    return replace(facts, error=error, error_detail=words)


def _undecoded(facts: ImageFacts, error: str, detail: str | BaseException) -> Decoded:
    return Decoded(None, None, _failed(facts, error, detail))


def _unidentified(data: bytes) -> ImageFacts:
    facts = ImageFacts(len(data))
    if data[4:8] == b"ftyp" and data[8:12] in _HEIF_BRANDS:
        return _failed(replace(facts, format="HEIF"), "not_an_image", "HEIF/HEIC, which Pillow cannot read")
    if _has_signature(data):
        return _failed(facts, "truncated", "the header of the format is damaged")
    return _failed(facts, "not_an_image", f"begins with {data[:12]!r}")


def _has_signature(data: bytes) -> bool:
    """Whether the bytes begin like a known format; two-letter signatures need a plausible header too."""
    if data.startswith(b"RIFF"):
        return data[8:12] in (b"WEBP", b"")
    if data.startswith(b"BM"):
        return data[14:18] in _BMP_HEADERS
    if data[:1] == b"P" and data[1:2] in b"123456" and data[2:3].isspace():
        return True
    return data.startswith(_SIGNATURES) or data[4:12] == b"ftypavif"


# Class → meaning. Images of the classes `animated` and `wrong_extension` decode; the others do not.
CLASSES: dict[str, str] = {
    "missing": "no such file, or it may not be read",
    "empty": "zero bytes",
    "not_an_image": "no known image format, or no regular file",
    "truncated": "begins as an image, but its data is cut off or damaged",
    "wrong_extension": "decodes, but the name says another format",
    "animated": "decodes, but has more than one frame; the first is used",
    "too_large_pixels": "more pixels than the cap; not decoded",
    "unreadable_mode": "pixels of a kind that has no defined colours (float, 32-bit, LAB)",
    "outside_root": "the path leaves the image root (absolute, '..', or a link that points out)",
    **UNAVAILABLE,
}

_FORMAT_OF_SUFFIX = {
    ".jpg": "JPEG", ".jpeg": "JPEG", ".jpe": "JPEG", ".jfif": "JPEG", ".png": "PNG", ".apng": "PNG", ".gif": "GIF",
    ".webp": "WEBP", ".bmp": "BMP", ".dib": "BMP", ".tif": "TIFF", ".tiff": "TIFF", ".jp2": "JPEG2000",
    ".j2k": "JPEG2000", ".jpx": "JPEG2000", ".avif": "AVIF", ".ico": "ICO", ".qoi": "QOI", ".ppm": "PPM",
    ".pgm": "PPM", ".pbm": "PPM", ".pnm": "PPM", ".heic": "HEIF", ".heif": "HEIF", ".svg": "SVG", ".pdf": "PDF",
}  # fmt: skip


@dataclass(frozen=True, slots=True)
class Located:
    """The result of ``locate``.

    Attributes:
        file: path to read, or None if ``error`` says why it must not be read.
        size: in bytes.
        mtime_ns: time of the last change, by which an unchanged file is recognised.
        error, detail: one of ``CLASSES`` with an explanation, or None.
    """

    file: str | None
    size: int = 0
    mtime_ns: int = 0
    error: str | None = None
    detail: str | None = None


def locate(path: str, root: str, *, max_bytes: int) -> Located:
    """Find an image file without reading it, and without following a path or a link out of ``root``.

    Classes given here: outside_root, missing, not_an_image (folders, devices), too_large_bytes, and those of
    ``UNAVAILABLE``.

    Args:
        path: relative to ``root``, or in the notation of ``unavailable``.
        root: a resolved folder.
    """
    gone = unavailable_class(path)
    if gone is not None:
        return Located(None, error=gone[0], detail=gone[1])
    if path.startswith("/") or "\0" in path or ".." in Path(path).parts or Path(path).is_absolute():
        return Located(None, error="outside_root", detail="not a plain path below the image root")
    file = f"{root}/{path}"
    try:
        status = os.lstat(file)
        linked = stat.S_ISLNK(status.st_mode)
        real = os.path.realpath(file) if linked else f"{_real_folder(os.path.dirname(file))}/"  # noqa: PTH120 (speed)
        if os.path.commonpath([real, root]) != root:
            return Located(None, error="outside_root", detail="a link on the way points out of the image root")
        if linked:
            status = Path(file).stat()
    except (OSError, ValueError) as error:
        return Located(None, error="missing", detail=getattr(error, "strerror", None) or str(error))
    if not stat.S_ISREG(status.st_mode):
        return Located(None, error="not_an_image", detail="a folder or device, not a file")
    if status.st_size > max_bytes:
        return Located(
            None,
            status.st_size,
            status.st_mtime_ns,
            "too_large_bytes",
            f"{status.st_size} bytes, the cap is {max_bytes}",
        )
    return Located(file, status.st_size, status.st_mtime_ns)


@functools.lru_cache(maxsize=1024)
def _real_folder(folder: str) -> str:
    return os.path.realpath(folder)


def wrong_extension(path: str, content_format: str) -> str | None:
    """What is wrong with the file's suffix, or None. Names without a known image suffix are accepted."""
    suffix = Path(path).suffix.lower()
    named = _FORMAT_OF_SUFFIX.get(suffix)
    if named is None or named == content_format or (named == "JPEG" and content_format == "MPO"):
        return None
    return f"named {suffix}, but the content is {content_format}"
