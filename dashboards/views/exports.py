"""The route that streams a view's rows as a file: ``/export/{page}.{format}?{the page's own parameters}``."""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import parse_qs, urlencode

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route

from dashboards.settings import address
from dashboards.views.formats import FORMATS
from dashboards.views.rows import reading
from winnow.errors import UserError

_PATH = "/export"
_AT_ONCE = threading.BoundedSemaphore(2)  # bounds memory
_NO_STORE = {"Cache-Control": "no-store"}


def export_link(page: str, format: str, parameters: dict[str, str | list[str]]) -> str:
    """Address of a view's rows as a file, relative to the app."""
    return f"{_PATH[1:]}/{page}.{format}?{urlencode(parameters, doseq=True)}"


def export_routes(root: Path) -> list[Route]:
    """The route that exports views of the data folder ``root``."""

    def export(request: Request) -> Response:
        page, format = request.path_params["page"], request.path_params["format"]
        if format not in FORMATS:
            return PlainTextResponse(f"no format {format!r}; there are {', '.join(FORMATS)}", 404, headers=_NO_STORE)
        parameters = parse_qs(request.url.query)
        if not _AT_ONCE.acquire(blocking=False):
            return PlainTextResponse("Two exports are running; try again when one is done.", 503, headers=_NO_STORE)
        media, pieces = FORMATS[format]
        with ExitStack() as stack:
            stack.callback(_AT_ONCE.release)
            try:
                reader = stack.enter_context(reading(root, page, parameters))
            except UserError as error:
                return PlainTextResponse(str(error), 404, headers=_NO_STORE)
            stream = _then_close(pieces(reader), stack.pop_all())
            next(stream)  # one that was begun is closed even if the browser is gone before the first piece
        name = re.sub(r"[^A-Za-z0-9._-]+", "_", "-".join([page, *parameters.get("run", ())]))
        headers = {"Content-Disposition": f'attachment; filename="{name}.{format}"', **_NO_STORE}
        return StreamingResponse(stream, media_type=media, headers=headers)

    return [Route(address(f"{_PATH}/{{page}}.{{format}}"), export, methods=["GET"])]


def _then_close(pieces: Iterator[bytes], stack: ExitStack) -> Iterator[bytes]:
    """Nothing, then the pieces; an error breaks the download off, so that half a file is not taken for a whole one."""
    with stack:
        yield b""
        yield from pieces
