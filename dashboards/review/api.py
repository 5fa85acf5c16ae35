"""What the review panel asks and tells the server over HTTP: a queue, its rows, decisions, and rendered texts."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from dashboards.data.catalog import scan
from dashboards.data.reviews import read_decisions
from dashboards.people import person, plain_name
from dashboards.review.decided import decided, visible_to
from dashboards.review.entries import last, rows_of_ids, snapshot_of, undecided
from dashboards.review.evaluated import other_answers
from dashboards.review.guard import RefusedError, body_of
from dashboards.review.queues import Queue, entries
from dashboards.review.row import Reader
from dashboards.review.rows import row_of_id, rows_at
from dashboards.review.writing import Sent, sentence_of, write
from dashboards.settings import address
from winnow.errors import UserError
from winnow.files import strict_json

PATH = "/review"
_MOST_ROWS = 48  # in one answer
_AGAIN = "5"  # seconds after which a request that could not be answered may be sent again
_CHANGED = "The rows of this list have changed since you opened it. Your decisions are kept: reload the page to go on."
_NOBODY = "The proxy in front of this server named nobody in its header, so nothing can be decided; sign in there"
_NO_STORE = {"Cache-Control": "no-store"}


class Texts(BaseModel):
    """Texts to be rendered."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    texts: tuple[Annotated[str, Field(max_length=200_000)], ...] = Field(max_length=48)


def review_routes(root: Path) -> list[Route]:
    """The routes of the review panel for the data folder ``root``."""

    def queue(request: Request) -> Response:
        who = _reviewer(request)
        found = entries(scan(root), _view(request), who)
        left = undecided(found, decided(root / "corrections").person(who))
        place: int | None = None
        if wanted := request.query_params.get("id", ""):
            places = [
                found.place_of(folder, int(row)) for folder in found.folders for row in rows_of_ids(folder, [wanted])
            ]
            place = next((at for at in places if at is not None), None)
        elif len(found):
            place = int(np.argmax(left))
        return _json(
            {
                "title": found.title,
                "total": len(found),
                "place": place,
                "left": int(left.sum()),
                "problem": found.problem,
                "snapshot": snapshot_of(found),
            }
        )

    def rows(request: Request) -> Response:
        """Rows of the queue from ``start`` on; with ``id`` that row, be it in the queue or not."""
        catalog, who, queue = scan(root), _reviewer(request), _view(request)
        decisions = read_decisions(root / "corrections")
        if queue.is_blind:
            decisions = visible_to(decisions, who, decided(root / "corrections"))
        values = queue.values()
        reader = Reader(who, decisions, last(values, "base"))
        if sample_id := request.query_params.get("id", ""):
            row = row_of_id(catalog, sample_id, last(values, "run") or last(values, "set"), reader)
            return _json({"rows": [row.to_json()] if row else []})
        found = entries(catalog, queue, who)
        opened = request.query_params.get("snapshot", "")
        if opened and opened != snapshot_of(found):
            return _json({"error": _CHANGED}, 409)
        start = _number(request.query_params.get("start", "0"))
        count = min(_number(request.query_params.get("count", "24")), _MOST_ROWS)
        made = rows_at(catalog, found, range(start, start + count), reader)
        return _json({"rows": [row.to_json() for row in made]})

    def others(request: Request) -> Response:
        """What other runs answered to the row ``row`` of the evaluation ``run``."""
        catalog = scan(root)
        folder = catalog.find("evals", request.query_params.get("run", ""))
        row, base = _number(request.query_params.get("row", "")), last(_view(request).values(), "base")
        return _json({"others": other_answers(catalog, folder, row, base) if folder else []})

    def decide(request: Request, body: bytes) -> Response:
        """Write decisions; ``{"written": [id …], "refused": [{"correction_id", "error"} …]}``, or 503 to send again."""
        sent = Sent.model_validate_json(body)
        who = person(request.headers, request.cookies)
        if who.is_trusted and not who.name:
            return _json({"error": _NOBODY}, 403)
        name = who.name if who.is_trusted else plain_name(sent.reviewer)
        if not name:
            return _json({"error": "Enter your name first: every decision carries it"}, 400)
        found = write(root, scan(root), sent, name)
        refused = [{"correction_id": key, "error": sentence} for key, sentence in found.refused]
        return _json({"written": list(found.written), "refused": refused})

    def render(_: Request, body: bytes) -> Response:
        """Markdown and LaTeX as safe HTML, ``{"texts": […]}`` → ``{"html": […]}``."""
        from dashboards.review.markdown import render as rendered

        return _json({"html": [rendered(text) for text in Texts.model_validate_json(body).texts]})

    return [
        Route(address(f"{PATH}/queue"), _told(queue), methods=["GET"]),
        Route(address(f"{PATH}/rows"), _told(rows), methods=["GET"]),
        Route(address(f"{PATH}/others"), _told(others), methods=["GET"]),
        Route(address(f"{PATH}/decisions"), _posted(decide), methods=["POST"]),
        Route(address(f"{PATH}/render"), _posted(render), methods=["POST"]),
    ]


def _told(handler: Callable[..., Response]) -> Callable[..., Response]:
    """``handler`` with its UserError as a sentence for the panel: what it needs cannot be read or written now."""

    def answer(*args: Any) -> Response:
        try:
            return handler(*args)
        except UserError as error:
            return _json({"error": str(error)}, 503, {"Retry-After": _AGAIN})

    return answer


def _posted(handler: Callable[[Request, bytes], Response]) -> Callable[[Request], Awaitable[Response]]:
    """``handler`` for requests of our own pages with a JSON body."""

    async def answer(request: Request) -> Response:
        try:
            body = await body_of(request)
            return await run_in_threadpool(_told(handler), request, body)
        except RefusedError as error:
            return _json({"error": str(error)}, error.status)
        except ValidationError as error:
            return _json({"error": sentence_of(error)}, 400)

    return answer


def _view(request: Request) -> Queue:
    return Queue.from_parameter(request.query_params.get("view", ""))


def _reviewer(request: Request) -> str:
    who = person(request.headers, request.cookies)
    return who.name if who.is_trusted else request.query_params.get("reviewer", who.name)


def _number(text: str) -> int:
    return min(int(text), 2**31) if text.isascii() and text.isdigit() and len(text) < 20 else 0


def _json(content: Any, status: int = 200, headers: dict[str, str] | None = None) -> Response:
    text = strict_json(content)
    return Response(text, status, {**_NO_STORE, **(headers or {})}, media_type="application/json")
