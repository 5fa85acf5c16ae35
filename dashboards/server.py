"""The server: Streamlit's app, the images' routes, and a guard on the Host header."""

from __future__ import annotations

import importlib
import threading
from pathlib import Path

import streamlit as st
from starlette.datastructures import MutableHeaders
from starlette.middleware import Middleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from dashboards.images.routes import routes
from dashboards.review.api import review_routes
from dashboards.review.guard import OwnPagesOnly
from dashboards.settings import LOCAL_HOSTS, allowed_hosts, data_root, framing_origins, runs_allowed
from dashboards.views.exports import export_routes

# What pages draw and count with, and the rules of the metrics, which the sample page explains. Imported in the
# background: the first page of a session would otherwise wait for two seconds of a processor.
_PRELOADED = (
    "pandas",
    "altair",
    "scipy.special",
    "dashboards.components.charts",
    "dashboards.components.provenance",
    "dashboards.components.review",
    "dashboards.data.scores",
    "evalsuite.analysis.explain",
)


# The page may load from and talk to this server only, whatever text a data set contains.
# Streamlit's own bundle needs inline styles, and WebAssembly and eval for its charts.
_POLICY = (
    "default-src 'self' data: blob:; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; "
    f"style-src 'self' 'unsafe-inline'; frame-ancestors {' '.join(framing_origins()) or repr('none')};"
    " form-action 'self'; base-uri 'self'"
)
_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
}


class SafeHeaders:
    """Adds the security headers to every HTTP response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(_HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers if scope["type"] == "http" else send)


def _preload() -> None:
    if runs_allowed():  # after a restart, jobs that waited go on
        importlib.import_module("dashboards.jobs.worker").ensure_workers(data_root())
    for name in _PRELOADED:
        importlib.import_module(name)


threading.Thread(target=_preload, name="preload", daemon=True).start()
app = st.App(
    Path(__file__).with_name("app.py"),
    routes=[*routes(data_root()), *review_routes(data_root()), *export_routes(data_root())],
    middleware=[
        Middleware(SafeHeaders),
        Middleware(TrustedHostMiddleware, allowed_hosts=allowed_hosts(), www_redirect=False),
        Middleware(OwnPagesOnly, named_hosts=[name for name in allowed_hosts() if name not in LOCAL_HOSTS]),
    ],
)
