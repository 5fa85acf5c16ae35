"""Imports that the first page of a session would otherwise wait for: two seconds of a processor."""

from __future__ import annotations

import importlib
import threading

# What pages draw and count with, and the rules of the metrics, which the sample page explains.
_MODULES = (
    "pandas",
    "altair",
    "scipy.special",
    "dashboards.components.charts",
    "dashboards.components.provenance",
    "dashboards.components.review",
    "dashboards.data.scores",
    "evalsuite.analysis.explain",
)


def preload() -> None:
    """Import them in the background, while the browser still loads the app's own files."""
    threading.Thread(target=import_all, name="preload", daemon=True).start()


def import_all() -> None:
    """Import them now."""
    for name in _MODULES:
        importlib.import_module(name)
