"""The routes that serve images: thumbnails, tiles, and placeholders that say why there is none."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path

from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from dashboards.data.catalog import find_folder
from dashboards.images import KEY, SIZES, THUMBS, TILES
from dashboards.images.store import REASONS, NoImageError, image_bytes
from dashboards.images.thumbnails import cached, media_type, placeholder, render
from dashboards.images.tiles import info_of, opened, tile_of
from dashboards.settings import address

_IMMUTABLE = {"Cache-Control": "private, max-age=86400, immutable"}  # an address holds the hash of its image
_SHORT = {"Cache-Control": "no-store"}


def routes(root: Path) -> list[Route]:
    """The routes that serve images of the data folder ``root``."""
    thumbnails, pyramids = root / "cache" / "thumbnails", root / "cache" / "tiles"

    def thumb(request: Request) -> Response:
        size = request.path_params["size"]
        try:
            key, read = _asked(root, request)
            if size not in SIZES:
                raise NoImageError("missing")
            image = cached(thumbnails, key, size, lambda: render(read(), SIZES[size]))
        except NoImageError as problem:
            return _placeholder(problem.reason, 404 if problem.reason in ("missing", "outside") else 200)
        return Response(image, media_type=media_type(image), headers=_IMMUTABLE)

    def info(request: Request) -> Response:
        try:
            with opened(pyramids, *_asked(root, request)) as pyramid:
                return JSONResponse(asdict(info_of(pyramid)), headers=_IMMUTABLE)
        except NoImageError as problem:
            return JSONResponse({"problem": REASONS[problem.reason]}, 404, _SHORT)

    def tile(request: Request) -> Response:
        try:
            level, x, y = (_number(request.path_params[part]) for part in ("level", "x", "y"))
            with opened(pyramids, *_asked(root, request)) as pyramid:
                image = tile_of(pyramid, level, x, y)
        except NoImageError as problem:
            return _placeholder(problem.reason, 404)
        return Response(image, media_type=media_type(image), headers=_IMMUTABLE)

    def reason_image(request: Request) -> Response:
        reason = request.path_params["reason"]
        return _placeholder(reason, 200 if reason in REASONS else 404)

    found = {
        f"{THUMBS}/{{kind}}/{{folder}}/{{size}}/{{key}}": thumb,
        f"{THUMBS}/{{reason}}": reason_image,
        f"{TILES}/{{kind}}/{{folder}}/{{key}}/info": info,
        f"{TILES}/{{kind}}/{{folder}}/{{key}}/{{level}}/{{x}}-{{y}}": tile,
    }
    return [Route(address(path), answer, methods=["GET"]) for path, answer in found.items()]


def _asked(root: Path, request: Request) -> tuple[str, Callable[[], bytes]]:
    """Key of the image that a request names, and what reads its file.

    Raises:
        NoImageError: ``missing``: there is no such folder, or the key is none.
    """
    kind, name, key = (request.path_params[part] for part in ("kind", "folder", "key"))
    folder = find_folder(root, kind, name) if kind in ("curated", "evals") else None
    if folder is None or folder.problem or not KEY.fullmatch(key):
        raise NoImageError("missing")
    sample_id = request.query_params.get("id", "")
    return key, lambda: image_bytes(folder, sample_id, key)


def _number(text: str) -> int:
    """A part of a tile's address; raises NoImageError where no tile has such a number."""
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise NoImageError("none")
    return int(text)


def _placeholder(reason: str, status: int) -> Response:
    return Response(placeholder(reason), status_code=status, media_type="image/svg+xml", headers=_SHORT)
