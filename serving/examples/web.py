"""A web page that asks a served model: ``python -m serving.examples.web http://127.0.0.1:8080/v1 8600``.

The page never sees the key: this server asks, with the one in ``OPENAI_API_KEY``. It is for this machine; put your own
log-in before it for others.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import uvicorn
from openai import APIStatusError, AsyncOpenAI
from pydantic import BaseModel, ValidationError
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, JSONResponse, Response
from starlette.routing import Route

HERE = Path(__file__).parent
_POLICY = "default-src 'self'; img-src data:; style-src 'unsafe-inline'; frame-ancestors 'none'"
_LONGEST = 15_000_000  # bytes of a request: an image of 10 MB


class Question(BaseModel):
    """What the page sends; the image is an address with its data in it."""

    image: str
    question: str


def app(url: str) -> Starlette:
    """The page and its one question.

    Args:
        url: of the guard, up to and with ``/v1``.
    """
    client = AsyncOpenAI(base_url=url, api_key=os.environ.get("OPENAI_API_KEY", "none"), max_retries=0, timeout=120)

    async def page(request: Request) -> Response:
        name = "page.js" if request.url.path == "/page.js" else "page.html"
        return FileResponse(HERE / name, headers={"Content-Security-Policy": _POLICY})

    async def ask(request: Request) -> Response:
        if request.headers.get("content-type") != "application/json":  # what a form of another site cannot send
            return JSONResponse({"answer": "not JSON"}, 415)
        length = request.headers.get("content-length", "")
        if not (length.isascii() and length.isdecimal()):
            return JSONResponse({"answer": "The length of the request is missing."}, 411)
        if len(length) > 9 or int(length) > _LONGEST:
            return JSONResponse({"answer": "The image is too large."}, 413)
        try:
            asked = Question.model_validate_json(await request.body(), strict=True)
        except ValidationError:
            return JSONResponse({"answer": "The request has no image and question."}, 400)
        blocks = [
            {"type": "image_url", "image_url": {"url": asked.image}},
            {"type": "text", "text": asked.question},
        ]
        models = await client.models.list()
        try:
            create = client.chat.completions.create
            reply = await create(model=models.data[0].id, messages=[{"role": "user", "content": blocks}], max_tokens=64)  # type: ignore[list-item,misc]  # blocks are dicts
        except APIStatusError as error:
            return JSONResponse({"answer": f"Refused: {error.message}"})
        return JSONResponse({"answer": reply.choices[0].message.content})

    routes = [Route("/", page), Route("/page.js", page), Route("/ask", ask, methods=["POST"])]
    return Starlette(
        routes=routes, middleware=[Middleware(TrustedHostMiddleware, allowed_hosts=["127.0.0.1", "localhost"])]
    )


if __name__ == "__main__":
    uvicorn.run(app(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]), log_level="warning")
