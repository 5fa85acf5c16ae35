"""The example page's server: what is no question gets an answer that says so, and never reaches the model."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

from serving.examples.web import app


@pytest.mark.parametrize(
    ("headers", "body", "status"),
    [
        ({}, b"{}", 415),
        ({"Content-Type": "application/json"}, b"{}", 400),
        ({"Content-Type": "application/json"}, b"[", 400),
        ({"Content-Type": "application/json"}, b'{"image": 1, "question": "x"}', 400),
        ({"Content-Type": "application/json", "Content-Length": "abc"}, b"{}", 411),
        ({"Content-Type": "application/json", "Content-Length": "-5"}, b"{}", 411),
        ({"Content-Type": "application/json", "Content-Length": "9" * 5000}, b"{}", 413),
        ({"Content-Type": "application/json", "Content-Length": "16000000"}, b"{}", 413),
    ],
)
def test_what_is_no_question_is_refused(headers, body, status):
    with TestClient(app("http://127.0.0.1:9/v1"), base_url="http://127.0.0.1") as client:
        assert client.post("/ask", content=body, headers=headers).status_code == status
