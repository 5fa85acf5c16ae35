"""Pages in Streamlit's own test harness, and what is on them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.settings import DATA_VARIABLE

_APP = Path(__file__).parents[2] / "dashboards" / "app.py"


def open_page(data: Path, monkeypatch: pytest.MonkeyPatch, name: str, /, **parameters: Any) -> AppTest:
    """Run the app on a data folder with these URL parameters, then the page."""
    monkeypatch.setenv(DATA_VARIABLE, str(data))
    app = AppTest.from_file(str(_APP), default_timeout=300)
    for parameter, value in parameters.items():
        app.query_params[parameter] = value
    app.run()
    assert not app.exception, app.exception
    app.switch_page(f"app_pages/{name}.py").run()
    assert not app.exception, app.exception
    return app


def cards(app: AppTest) -> list[dict[str, Any]]:
    """The cards of the gallery."""
    found = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return next((data["cards"] for data in found if "cards" in data), [])


def reviewed(app: AppTest) -> dict[str, Any]:
    """What the review panel was given."""
    found = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return next(data for data in found if "verdicts" in data)


def captions(app: AppTest) -> str:
    return "\n".join(caption.value for caption in app.caption)


def markdown(app: AppTest) -> str:
    return "\n".join(text.value for text in app.markdown)


def texts(app: AppTest) -> list[str]:
    return [text.value for text in app.text]


def metrics(app: AppTest) -> dict[str, str]:
    return {metric.label: metric.value for metric in app.metric}


def table(app: AppTest, label: str) -> list[list[dict[str, Any]]] | None:
    """The rows of the table of links with this label; None where it is not drawn."""
    found = [json.loads(component.proto.json) for component in app.get("bidi_component")]
    return next((data["rows"] for data in found if data.get("label") == label), None)
