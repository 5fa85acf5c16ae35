"""The one place where the bytes of image files become pixels.

Every stage sees the same image: EXIF orientation applied and every mode turned into 8-bit RGB
(``winnow.media.colours``), with one cap on bytes and one on pixels, both checked before anything is decoded. What is
wrong with a file is a class (``CLASSES``), which becomes a row of the ledger.
"""

from __future__ import annotations

import contextlib
import math
import re
import struct
import warnings
import zlib
from dataclasses import dataclass, replace
from io import BytesIO
from typing import cast

from PIL import Image, UnidentifiedImageError
from PIL.IcnsImagePlugin import IcnsFile
from PIL.IcoImagePlugin import IcoFile

from winnow.media.colours import WITHOUT_RANGE, to_rgb

# Class → meaning, of images that are not files. Those of remote images begin with `remote_`.
UNAVAILABLE: dict[str, str] = {
    "bad_base64": "the image is given as base64 text that cannot be decoded",
    "too_large_bytes": "more bytes than the cap; not read",
    "outside_root": "the path leaves the image root (absolute, '..', or a link that points out)",
    "remote_scheme": "on a storage that is not read here (ftp://, swift:// …); download it first",
    "remote_bucket": "on object storage, in a place that the recipe does not name; `remote: {buckets: […]}` reads it",
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


# The caps of decoding where nothing else is set.
DEFAULT_MAX_BYTES = 100_000_000
DEFAULT_MAX_PIXELS = 80_000_000

Image.init()
# Formats that are recognised by how they begin and have a decoder in this process (EPS would start another program)
# whose header gives the size that it allocates (`_pixels_inside` for the two that do not). JPEG includes
# multi-image JPEG, which Pillow calls MPO. HEIF is decoded by pillow-heif, TGA is recognised by `_is_tga`.
_WANTED = (
    "JPEG", "PNG", "GIF", "WEBP", "BMP", "DIB", "TIFF", "PPM", "JPEG2000", "AVIF", "QOI", "ICO", "CUR", "ICNS", "PSD",
    "DDS", "PCX", "SGI", "SUN", "XBM", "XPM", "MSP",
)  # fmt: skip
_FORMATS = tuple(name for name in _WANTED if name in Image.OPEN)

_NO_IMAGES = ("BUFR", "GRIB", "HDF5", "MPEG")
# Ending → format, of all files that are meant as images, whether or not they can be decoded here.
IMAGE_SUFFIXES: dict[str, str] = {
    **{suffix: name for suffix, name in Image.registered_extensions().items() if name not in _NO_IMAGES},
    **dict.fromkeys((".mpo", ".pjpeg", ".pjp"), "JPEG"), **dict.fromkeys((".avif", ".avifs"), "AVIF"),
    **dict.fromkeys((".heic", ".heif", ".heics", ".hif"), "HEIF"), ".jxl": "JPEG XL",
    ".jxr": "JPEG XR", ".exr": "EXR", ".hdr": "HDR", **dict.fromkeys((".svg", ".svgz"), "SVG"),
    **dict.fromkeys((".dng", ".nef", ".cr2", ".cr3", ".arw", ".orf", ".rw2", ".raf"), "camera raw"),
}  # fmt: skip

_STARTS = {
    b"\xff\xd8\xff": ".jpg", b"\x89PNG": ".png", b"GIF8": ".gif", b"II*\0": ".tif", b"MM\0*": ".tif", b"II+\0": ".tif",
    b"MM\0+": ".tif", b"\0\0\0\x0cjP": ".jp2", b"\xff\x4f\xff\x51": ".j2k", b"qoif": ".qoi", b"8BPS": ".psd",
    b"DDS |\0\0\0": ".dds", b"icns": ".icns", b"\x01\xda\x00": ".sgi", b"\x01\xda\x01": ".sgi",
    b"\x59\xa6\x6a\x95": ".ras", b"/* XPM */": ".xpm",
}  # fmt: skip
_BRANDS = {
    **dict.fromkeys((b"avif", b"avis"), ".avif"),
    **dict.fromkeys((b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"mif1", b"msf1"), ".heic"),
}
_BMP_HEADERS = {length.to_bytes(4, "little") for length in (12, 16, 40, 52, 56, 64, 108, 124)}


def suffix_of(data: bytes) -> str:
    """The usual ending of an image by how its file begins (32 bytes are enough), e.g. ``.jpg``; '' if unknown."""
    for start, suffix in _STARTS.items():
        if data.startswith(start):
            return suffix
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return ".webp"
    if data[4:8] == b"ftyp" and data[8:12] in _BRANDS:
        return ".avif" if b"avif" in data[8:32] else _BRANDS[data[8:12]]
    if data[:2] == b"BM" and data[14:18] in _BMP_HEADERS:
        return ".bmp"
    if data[:4] in (b"\0\0\1\0", b"\0\0\2\0") and 0 < int.from_bytes(data[4:6], "little") < 256 and data[9:10] == b"\0":
        return ".ico" if data[2] == 1 else ".cur"
    if data[:1] == b"P" and data[1:2] in b"123456fF" and data[2:3].isspace():
        return ".ppm"
    if (
        len(data) > 3
        and data[:1] == b"\n"
        and data[1:2] in b"\0\2\3\4\5"
        and data[2:3] in b"\0\1"
        and data[3:4] in b"\1\2\4\x08"
    ):
        return ".pcx"
    return ".xbm" if data[:8] == b"#define " and b"_width " in data[:64] else ""


# What Pillow's decoders are known to raise on damaged input; they wrap little of it.
_DAMAGE = (
    OSError, SyntaxError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError, AssertionError, EOFError,
    RuntimeError, MemoryError, struct.error, zlib.error,
)  # fmt: skip
_BOMB = (Image.DecompressionBombError, Image.DecompressionBombWarning)
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
_TIFF_COUNTED = 1000  # pages that Pillow counts itself; it looks each up in a list of all before it


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
        original: the same pixels in the file's own mode, neither turned nor blended with white; as RGB where that
            mode says nothing of black and white (``I``, ``F``, ``LAB``).
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
    found = _decoded(data, facts, max_pixels)
    if found.facts.error == "truncated" and data.startswith(_PNG) and (bare := _without_texts(data)) != data:
        return _decoded(bare, facts, max_pixels)  # texts or a profile that Pillow finds too long, or faulty
    return found


def _decoded(data: bytes, facts: ImageFacts, max_pixels: int) -> Decoded:
    try:
        inside = _pixels_inside(data)
        if inside > max_pixels:
            return _undecoded(facts, "too_large_pixels", f"holds {inside} pixels, the cap is {max_pixels}")
        opened = _open(data)
    except _BOMB as error:
        return _undecoded(facts, "too_large_pixels", error)
    except UnidentifiedImageError:
        return Decoded(None, None, _unidentified(data, facts))
    except _DAMAGE as error:
        return _undecoded(facts, _class_of(error) if suffix_of(data) else "not_an_image", error)
    width, height = opened.size
    facts = replace(facts, format=opened.format, width=width, height=height, mode=opened.mode)
    if width * height > max_pixels:
        return _undecoded(facts, "too_large_pixels", f"{width} × {height} pixels, the cap is {max_pixels}")
    try:
        facts = replace(facts, frames=_frames(opened, data))
        turned_by_pillow = _orientation(opened) if opened.format == "TIFF" else 1
        opened.load()
        image = to_rgb(opened)
    except _BOMB as error:
        return _undecoded(facts, "too_large_pixels", error)
    except _DAMAGE as error:
        return _undecoded(facts, _class_of(error), error)
    if image is None:
        return _undecoded(facts, "unreadable_mode", opened.mode)
    original = image if opened.mode in WITHOUT_RANGE else opened
    orientation = _orientation(opened)
    if orientation in _TURNS:
        image = image.transpose(_TURNS[orientation])
    orientation = max(orientation, turned_by_pillow)  # one of them is 1
    facts = replace(facts, width=image.width, height=image.height, exif_orientation=orientation)
    if facts.frames != 1 and opened.format not in STILLS:
        facts = _failed(facts, "animated", f"{facts.frames} frames")
    return Decoded(image, original, facts)


def pixels_of(data: bytes) -> int:
    """Pixels of an image by its header; 0 where that cannot be read, of which ``decode`` gives the class."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return _pixels_inside(data) or math.prod(_open(data).size)
    except Image.DecompressionBombError:
        return 1 << 62
    except _DAMAGE:
        return 0


def _open(data: bytes) -> Image.Image:
    if suffix_of(data) == ".heic":
        try:
            # Not by its `register_heif_opener`, which would change what every library of this process opens.
            from pillow_heif import HeifImageFile
        except ImportError:
            raise UnidentifiedImageError from None
        return cast(Image.Image, HeifImageFile(BytesIO(data)))
    if _is_tga(data):
        return Image.open(BytesIO(data), formats=("TGA",))
    return Image.open(BytesIO(data), formats=_FORMATS)


def _is_tga(data: bytes) -> bool:
    """Whether the bytes are a TGA file, which has no signature: its footer, or a header that fits the length."""
    if len(data) < 18 or data[1] > 1 or data[2] not in (1, 2, 3, 9, 10, 11) or data[16] not in (8, 15, 16, 24, 32):
        return False
    if data[-18:] == b"TRUEVISION-XFILE.\0":
        return True
    width, height = struct.unpack_from("<HH", data, 12)
    colours = struct.unpack_from("<H", data, 5)[0] * ((data[7] + 7) // 8) if data[1] else 0
    pixels = width * height * ((data[16] + 7) // 8) if data[2] < 4 else 1
    return bool(pixels) and len(data) - 18 - data[0] - colours - pixels >= 0 and (data[2] > 3 or data[17] & 0xC0 == 0)


def _pixels_inside(data: bytes) -> int:
    """Pixels of the image that Pillow takes of an ICO or ICNS, whose own header does not bind them; else 0."""
    if data.startswith(b"\0\0\1\0"):
        starts = [IcoFile(BytesIO(data)).entry[0].offset]
    elif data.startswith(b"icns"):
        icons = IcnsFile(BytesIO(data))
        starts = [icons.dct[code][0] for code, _ in icons.SIZES[icons.bestsize()] if code in icons.dct]
    else:
        return 0
    pixels = 0
    for start in starts:
        with contextlib.suppress(UnidentifiedImageError):  # older kinds of icon have at most 128 × 128 pixels
            inner = Image.open(BytesIO(data[start:]), formats=("PNG", "JPEG2000", "DIB"))
            pixels = max(pixels, inner.width * inner.height // (2 if inner.format == "DIB" else 1))
    return pixels


_PNG = b"\x89PNG\r\n\x1a\n"
_TEXTS = (b"tEXt", b"zTXt", b"iTXt", b"iCCP")


def _without_texts(data: bytes) -> bytes:
    """A PNG without its texts and its colour profile, which no pixel here depends on."""
    kept, at = [_PNG], len(_PNG)
    while at + 8 <= len(data):
        end = at + 12 + int.from_bytes(data[at : at + 4], "big")
        if data[at + 4 : at + 8] not in _TEXTS:
            kept.append(data[at:end])
        at = end
    return b"".join(kept)


# Formats whose other images are previews, layers or smaller versions of the first, not frames of an animation.
STILLS = ("MPO", "HEIF", "PSD", "ICO", "ICNS", "CUR")


def _frames(image: Image.Image, data: bytes) -> int:
    if image.format == "PSD":
        return 1
    if image.format == "GIF" and len(data) > _GIF_COUNTED:
        return 2 if image.is_animated else 1  # type: ignore[attr-defined]
    if image.format == "TIFF" and (pages := _tiff_pages(data)) > _TIFF_COUNTED:
        return pages
    return int(getattr(image, "n_frames", 1))


def _tiff_pages(data: bytes) -> int:
    """Directories in the chain of a TIFF or BigTIFF, as far as they are whole."""
    order, is_big = "<" if data[:1] == b"I" else ">", b"+" in data[2:4]
    count, entry, link = ("Q", 20, "Q") if is_big else ("H", 12, "I")
    seen: set[int] = set()
    with contextlib.suppress(struct.error):
        (place,) = struct.unpack_from(order + link, data, 8 if is_big else 4)
        while place and place not in seen:
            (entries,) = struct.unpack_from(order + count, data, place)
            (following,) = struct.unpack_from(order + link, data, place + struct.calcsize(count) + entry * entries)
            seen.add(place)
            place = following
    return len(seen)


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


# How files that are not decoded here begin → format and class.
_UNDECODED = {
    b"%PDF-": ("PDF", "document"), b"%!PS": ("EPS", "vector_image"), b"\xc5\xd0\xd3\xc6": ("EPS", "vector_image"),
    b"\xd7\xcd\xc6\x9a": ("WMF", "vector_image"), b"\xff\x0a": ("JPEG XL", "unsupported_format"),
    b"\0\0\0\x0cJXL ": ("JPEG XL", "unsupported_format"), b"II\xbc": ("JPEG XR", "unsupported_format"),
    b"\x76\x2f\x31\x01": ("EXR", "unsupported_format"), b"#?RADIANCE": ("HDR", "unsupported_format"),
    b"SIMPLE  =": ("FITS", "unsupported_format"), b"Image type:": ("IM", "unsupported_format"),
    b"BLP1": ("BLP", "unsupported_format"), b"BLP2": ("BLP", "unsupported_format"),
}  # fmt: skip
_CONVERT = {"document": "convert its pages to PNG", "vector_image": "convert it to PNG"}


# What decoders say of a sound file of a kind that they do not read.
_UNREAD = re.compile(
    r"unknown pixel mode|un(supported|implemented)|not (supported|implemented)|cannot handle", re.IGNORECASE
)


def _class_of(error: BaseException | str) -> str:
    if isinstance(error, MemoryError):  # of this machine: the caps bound what a file may ask for
        return NOT_MEASURED
    return "unsupported_format" if _UNREAD.search(str(error)) else "truncated"


def _refusal(data: bytes, suffix: str) -> str:
    """Why Pillow does not open a file that begins as an image, which ``Image.open`` does not say."""
    if suffix == ".psd" and data[22:24] in (b"\0\x10", b"\0\x20"):
        return f"not supported: {data[23]} bits a channel"
    opener = Image.OPEN.get(IMAGE_SUFFIXES[suffix])
    try:
        if opener is not None:
            opener[0](BytesIO(data), "")
    except _DAMAGE as error:
        return str(error) if _UNREAD.search(str(error)) else "the header of the format is damaged"
    return "the header of the format is damaged"


def _unidentified(data: bytes, facts: ImageFacts) -> ImageFacts:
    start = data[:1024].removeprefix(b"\xef\xbb\xbf").lstrip()
    name, error = next((named for begin, named in _UNDECODED.items() if data.startswith(begin)), ("", ""))
    if start.startswith(b"<") and b"<svg" in start and b"<html" not in start.lower():
        name, error = "SVG", "vector_image"
    elif data[:4] == b"\1\0\0\0" and data[40:44] == b" EMF":
        name, error = "WMF", "vector_image"
    facts = replace(facts, format=name or None)
    if error:
        return _failed(facts, error, f"{name}: {_CONVERT.get(error, 'convert it to PNG or JPEG')}")
    suffix = suffix_of(data)
    if suffix == ".heic":
        hint = "HEIC: install the extra `heif` (pip install 'winnow-vlm[heif]')"
        return _failed(replace(facts, format="HEIF"), "unsupported_format", hint)
    if suffix:
        why = _refusal(data, suffix)
        return _failed(facts, _class_of(why), why)
    return _failed(facts, "not_an_image", f"begins with {data[:12]!r}")


# The class of an image that nothing is known about: its store, or the machine that worked on it, failed.
NOT_MEASURED = "not_measured"
# Class → meaning. Images of the classes `animated` and `wrong_extension` decode; the others do not.
CLASSES: dict[str, str] = {
    "missing": "no such file, or it may not be read",
    "empty": "zero bytes",
    "not_an_image": "no known image format, or no regular file",
    "truncated": "begins as an image, but its data is cut off or damaged",
    "wrong_extension": "decodes, but the name says another format",
    "animated": "decodes, but has more than one frame; the first is used",
    "too_large_pixels": "more pixels than the cap; not decoded",
    "unreadable_mode": "pixels of a kind that has no defined colours",
    "unsupported_format": "an image of a format or depth that is not decoded here; convert it to PNG or JPEG",
    "vector_image": "a drawing without pixels (SVG, EPS, WMF); convert it to PNG",
    "document": "a PDF, not an image; convert its pages to PNG",
    NOT_MEASURED: "its storage or the machine failed, not the image; the next run tries again",
    **UNAVAILABLE,
}


LINKED_OUT = "a link on the way points out of the image root; `follow_links: true` (or `--follow-links`) reads it"
