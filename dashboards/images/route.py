"""HTTP route of the thumbnails: ``/app/static/thumb/{kind}/{folder}/{size}/{image_key}?id={sample_id}``.

Below ``/app/static/`` because Streamlit's image element takes such an address as it stands.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote, urlencode

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.images.store import NoImageError, image_bytes
from dashboards.images.thumbnails import REASONS, SIZES, cached, media_type, placeholder, render
from dashboards.query.catalog import Folder, find_folder
from dashboards.query.engine import Connection, connect

_BASE = "/app/static/thumb"
_KEY = re.compile(r"[0-9a-f]{64}")
_IMMUTABLE = {"Cache-Control": "private, max-age=86400, immutable"}
_SHORT = {"Cache-Control": "no-store"}


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

    @functools.cache
    def connection() -> Connection:
        return connect(root)

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
                lambda: render(image_bytes(connection(), folder, sample_id, key), SIZES[size]),
            )  # fmt: skip
        except NoImageError as problem:
            return _placeholder(problem.reason, 404 if problem.reason in ("missing", "outside") else 200)
        return Response(image, media_type=media_type(image), headers=_IMMUTABLE)

    def stated(request: Request) -> Response:
        reason = request.path_params["reason"]
        return _placeholder(reason, 200 if reason in REASONS else 404)

    return [
        Route(f"{_BASE}/{{kind}}/{{folder}}/{{size}}/{{key}}", thumb, methods=["GET"]),
        Route(f"{_BASE}/{{reason}}", stated, methods=["GET"]),
    ]


def _placeholder(reason: str, status: int) -> Response:
    return Response(placeholder(reason), status_code=status, media_type="image/svg+xml", headers=_SHORT)
