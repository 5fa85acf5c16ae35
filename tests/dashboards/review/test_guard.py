"""What a page of another origin sends: writes and websockets are refused, whatever the app behind would say."""

from __future__ import annotations

import pytest
from starlette.applications import Starlette
from starlette.responses import PlainTextResponse
from starlette.routing import Route, WebSocketRoute
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from dashboards.review.guard import OwnPagesOnly

HERE = {"Host": "127.0.0.1:8501"}
OTHERS = [
    HERE | {"Origin": "http://127.0.0.1:8888"},  # a notebook, say, on the same machine
    HERE | {"Origin": "http://localhost:8501"},
    HERE | {"Origin": "http://evil.example"},
    HERE | {"Origin": "null"},
    HERE | {"Origin": "http://["},
    HERE | {"Origin": ""},
    HERE | {"Sec-Fetch-Site": "same-site", "Origin": "http://127.0.0.1:8501"},
    {"Host": "winnow.example:81", "Origin": "http://winnow.example:82"},
    {"Host": "winnow.example", "Origin": "http://other.example", "X-Forwarded-Host": "winnow.example"},
]
OURS = [
    HERE,  # a script, which could say what it wants
    HERE | {"Origin": "http://127.0.0.1:8501"},
    {"Host": "WINNOW.example", "Origin": "https://winnow.example"},
    HERE | {"Origin": "https://winnow.example", "X-Forwarded-Host": "winnow.example"},
    HERE | {"Origin": "https://winnow.example"},  # a proxy that replaces Host
    HERE | {"Origin": "https://winnow.example", "Sec-Fetch-Site": "same-origin"},
]


@pytest.fixture
def client():
    async def greet(socket):
        await socket.accept()
        await socket.send_text("hello")
        await socket.close()

    answers = Route("/", lambda _: PlainTextResponse("done"), methods=["GET", "POST", "PUT", "DELETE"])
    app = Starlette(routes=[answers, WebSocketRoute("/stream", greet)])
    return TestClient(OwnPagesOnly(app, ["Winnow.example"]))


def _greeted(client, headers):
    try:
        with client.websocket_connect("/stream", headers=headers) as socket:
            return socket.receive_text()
    except WebSocketDisconnect as closed:
        return closed.code


@pytest.mark.parametrize("headers", OTHERS)
def test_pages_of_others_only_read(client, headers):
    assert _greeted(client, headers) == 1008
    for method in ("POST", "PUT", "DELETE"):
        answer = client.request(method, "/", headers=headers)
        assert answer.status_code == 403 and "own pages" in answer.text
    assert client.get("/", headers=headers).text == "done"


@pytest.mark.parametrize("headers", OURS)
def test_our_pages_do_both(client, headers):
    assert _greeted(client, headers) == "hello"
    assert client.post("/", headers=headers).text == "done"
