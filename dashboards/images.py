"""Images of samples: found by id and never by a path from a URL, shrunk, kept on disk, and served over HTTP.

The address of a thumbnail is ``/app/static/thumb/{kind}/{folder}/{size}/{image_key}?id={sample_id}``: Streamlit's
image element takes an address below ``/app/static/`` without changing it.
"""

from __future__ import annotations

import contextlib
import io
import re
import tempfile
import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from PIL import Image
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from curate.recipe import MeasureSettings
from dashboards.data.catalog import Folder, find_folder, image_root
from dashboards.data.engine import fetch
from winnow.errors import UserError
from winnow.files import sha256_bytes
from winnow.images import decode, locate

SIZES = {"tile": 320, "full": 1280}  # longest side in pixels
REASONS = {
    "missing": "image missing",
    "outside": "outside the image root",
    "changed": "changed since the run",
    "too_large": "too large to show",
    "unreadable": "not readable",
    "none": "no image",
}
_BASE = "/app/static/thumb"
_KEY = re.compile(r"[0-9a-f]{64}")
_IMMUTABLE = {"Cache-Control": "private, max-age=86400, immutable"}
_SHORT = {"Cache-Control": "no-store"}
_TABLES = {"curated": "samples.parquet", "evals": "predictions.parquet"}
_EDITION = "3"  # of what ``render`` makes: thumbnails of another edition are not used
_MAGNIFIED_TO = 640  # pixels: tiny images grow by whole factors, so that a screen shows their pixels unsmoothed
_LOSSLESS_BELOW = 256  # small images suffer from JPEG, and PNG is small enough
_LIMITS = MeasureSettings()  # the same caps as curation
_DECODING = threading.BoundedSemaphore(2)  # bounds memory: a page requests dozens at once


class NoImageError(Exception):
    """Why an image cannot be shown: a key of ``REASONS``."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def thumb_url(folder: Folder, sample_id: str, image_keys: Sequence[str | None], size: str, number: int = 0) -> str:
    """Address of a sample's image, or of the placeholder when it has no readable one.

    Args:
        size: a key of ``SIZES``.
        number: which of the sample's images.
    """
    if number >= len(image_keys):
        return f"{_BASE}/none"
    key = image_keys[number]
    if key is None or not _KEY.fullmatch(key):
        return f"{_BASE}/missing"
    where = "/".join(quote(part, safe="") for part in (folder.kind, folder.name, size, key))
    return f"{_BASE}/{where}?{urlencode({'id': sample_id})}"


def routes(root: Path) -> list[Route]:
    """The routes that serve images of the data folder ``root``."""

    def thumb(request: Request) -> Response:
        kind, name, size, key = (request.path_params[part] for part in ("kind", "folder", "size", "key"))
        if size not in SIZES or not _KEY.fullmatch(key):
            return _placeholder("missing", 404)
        folder = find_folder(root, kind, name) if kind in ("curated", "evals") else None
        if folder is None or folder.problem:
            return _placeholder("missing", 404)
        sample_id = request.query_params.get("id", "")
        try:
            image = cached(
                root / "cache" / "thumbnails", key, size,
                lambda: render(image_bytes(folder, sample_id, key), SIZES[size]),
            )  # fmt: skip
        except NoImageError as problem:
            return _placeholder(problem.reason, 404 if problem.reason in ("missing", "outside") else 200)
        return Response(image, media_type=media_type(image), headers=_IMMUTABLE)

    def reason_image(request: Request) -> Response:
        reason = request.path_params["reason"]
        return _placeholder(reason, 200 if reason in REASONS else 404)

    return [
        Route(f"{_BASE}/{{kind}}/{{folder}}/{{size}}/{{key}}", thumb, methods=["GET"]),
        Route(f"{_BASE}/{{reason}}", reason_image, methods=["GET"]),
    ]


def _placeholder(reason: str, status: int) -> Response:
    return Response(placeholder(reason), status_code=status, media_type="image/svg+xml", headers=_SHORT)


def image_bytes(folder: Folder, sample_id: str, image_key: str) -> bytes:
    """The bytes of the image ``image_key`` of a sample, exactly those that the run read.

    The path comes from the folder's own table and must lie below the image root of its
    manifest, symbolic links followed.

    Raises:
        NoImageError: the sample or image is not there, is too large, or its bytes changed.
    """
    try:
        data = _path_of(folder, sample_id, image_key).read_bytes()
    except (UserError, OSError) as error:
        raise NoImageError("missing") from error
    if sha256_bytes(data) != image_key:
        raise NoImageError("changed")
    return data


_REASON_OF = {"outside_root": "outside", "too_large_bytes": "too_large"}


def contained(root: Path, relative: str) -> Path:
    """The regular file ``relative`` below ``root``, symbolic links followed.

    Raises:
        NoImageError: it lies outside the root, is too large, or does not exist.
    """
    found = locate(relative, str(root.resolve()), max_bytes=_LIMITS.max_bytes)
    if found.file is None:
        raise NoImageError(_REASON_OF.get(found.error or "", "missing"))
    return Path(found.file)


def _path_of(folder: Folder, sample_id: str, image_key: str) -> Path:
    task = "task" if folder.kind == "evals" else "'' AS task"
    rows = fetch(
        folder.connection,
        f"SELECT {task}, images, image_keys FROM read_parquet(?) WHERE sample_id = ?",
        [folder.file(_TABLES[folder.kind]), sample_id],
    )
    for row in rows:
        for relative, key in zip(row["images"] or (), row["image_keys"] or (), strict=False):
            root = image_root(folder, row["task"])
            if key == image_key and root is not None:
                return contained(root, relative)
    raise NoImageError("missing")


def render(data: bytes, size: int) -> bytes:
    """The image that curation and evaluation see, at most ``size`` pixels on its longest side.

    A browser would smooth a tiny image as it enlarges it, and a sharp one would look blurred.

    Returns: PNG for small images, JPEG for the others.

    Raises:
        NoImageError: ``too_large`` above the caps of curation, ``unreadable`` for anything else.
    """
    with _DECODING:
        image, facts = decode(data, max_bytes=_LIMITS.max_bytes, max_pixels=_LIMITS.max_pixels)
        if image is None:
            raise NoImageError("too_large" if (facts.error or "").startswith("too_large") else "unreadable")
        return _encode(image, size)


def _encode(image: Image.Image, size: int) -> bytes:
    buffer = io.BytesIO()
    if max(image.size) <= _LOSSLESS_BELOW:
        factor = min(size, _MAGNIFIED_TO) // max(image.size)
        if factor > 1:
            image = image.resize((image.width * factor, image.height * factor), Image.Resampling.NEAREST)
        image.save(buffer, "PNG")
    else:
        image.thumbnail((size, size), Image.Resampling.LANCZOS)
        image.save(buffer, "JPEG", quality=85)
    return buffer.getvalue()


def cached(cache: Path, image_key: str, size: str, make: Callable[[], bytes]) -> bytes:
    """The thumbnail of ``image_key`` (hex sha256) at a key of ``SIZES``, rendered by ``make`` only once.

    The cache is content-addressed, so folders share it and nothing in it goes stale. A
    write that fails (disk full, read-only folder) costs only the next look-up.
    """
    path = cache / f"{size}-{_EDITION}" / image_key[:2] / image_key
    with contextlib.suppress(OSError):
        return path.read_bytes()
    made = make()
    with contextlib.suppress(OSError):
        path.parent.mkdir(parents=True, exist_ok=True)
        # A name of its own: two requests may render the same image at once.
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".", delete=False) as handle:
            handle.write(made)
        Path(handle.name).replace(path)
    return made


def placeholder(reason: str) -> bytes:
    """A grey SVG image that states one of ``REASONS``."""
    label = REASONS.get(reason, REASONS["missing"])
    return (
        '<svg xmlns="http://www.w3.org/2000/svg" width="320" height="320" viewBox="0 0 320 320">'
        '<rect width="320" height="320" fill="#8a93a3" fill-opacity="0.14"/>'
        '<g fill="none" stroke="#8a93a3" stroke-width="5"><rect x="120" y="98" width="80" height="64" rx="8"/>'
        '<path d="M124 156l24-26 16 16 12-12 22 22M116 176l88-92"/></g>'
        '<text x="160" y="216" text-anchor="middle" font-family="sans-serif" font-size="20" fill="#8a93a3">'
        f"{label}</text></svg>"
    ).encode()


def media_type(data: bytes) -> str:
    """The type of what ``render`` made."""
    return "image/png" if data.startswith(b"\x89PNG") else "image/jpeg"
