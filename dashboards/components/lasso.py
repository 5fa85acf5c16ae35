"""A map of points on a canvas; a lasso drawn around some of them comes back as a polygon."""

from __future__ import annotations

import base64
from pathlib import Path

import numpy as np
import streamlit as st

from dashboards.find.layout import Layout
from dashboards.find.points import Groups

_HERE = Path(__file__)
_STEPS = 32_000  # of a coordinate: finer than any screen
_component = st.components.v2.component(
    "winnow_lasso",
    html='<div class="map"></div>\n',
    css=_HERE.with_suffix(".css").read_text(encoding="utf-8"),
    js=_HERE.with_suffix(".js").read_text(encoding="utf-8"),
)


def lasso(layout: Layout, groups: Groups, key: str) -> np.ndarray | None:
    """Draw the points, each group in a colour and shape of its own.

    Args:
        key: names what the map shows; another key forgets the lasso.

    Returns: the corners of the lasso, float32 (corners, 2) in the map's units; None without one.
    """
    data = {
        "points": base64.b64encode((layout.xy * _STEPS).astype("<i2").tobytes()).decode(),
        "codes": base64.b64encode(groups.codes.astype(np.uint8).tobytes()).decode(),
        "groups": [
            {"name": name, "quiet": quiet, "count": int((groups.codes == code).sum())}
            for code, (name, quiet) in enumerate(zip(groups.names, groups.quiet, strict=True))
        ],
        "steps": _STEPS,
    }
    result = _component(data=data, key=key, default={"polygon": None}, on_polygon_change=lambda: None)
    return polygon_of(result.polygon)


def polygon_of(given: object) -> np.ndarray | None:
    """Corners from what the browser sent, (corners, 2) float32; None for anything that is no polygon."""
    if not isinstance(given, list) or not 3 <= len(given) <= 2000:
        return None
    try:
        corners = np.array(given, dtype=np.float32)
    except (TypeError, ValueError):
        return None
    return corners if corners.ndim == 2 and corners.shape[1] == 2 and np.isfinite(corners).all() else None
