from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from streamlit.testing.v1 import AppTest

from dashboards.jobs import access, requests
from dashboards.jobs.commands import RECIPE
from dashboards.jobs.recipe_text import values_of
from dashboards.jobs.store import LOG, all_jobs, begin_next, end, folder_of
from dashboards.settings import RUNS_VARIABLE
from tests.dashboards.jobs.runs import put
from tests.dashboards.pages import captions, open_page, texts


@pytest.fixture
def allowed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The harness has no connection, so it is taken for a browser on this machine; nobody takes the jobs."""
    monkeypatch.setenv(RUNS_VARIABLE, "1")
    monkeypatch.setattr(access, "is_local", lambda headers, address: True)
    monkeypatch.setattr(requests, "ensure_workers", lambda root: None)
    for module in ("dashboards.jobs.worker", "dashboards.components.run_jobs"):
        monkeypatch.setattr(f"{module}.ensure_workers", lambda root: None)


def _field(app: AppTest, kind: str, label: str) -> Any:
    return next(widget for widget in app.get(kind) if widget.label.removesuffix(" *") == label)


def _button(app: AppTest, label: str) -> Any:
    return next(button for button in app.button if button.label == label)


def _labels(app: AppTest) -> set[str]:
    return {button.label for button in app.button}


def test_without_the_option_the_page_says_how_to_allow_runs(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(RUNS_VARIABLE, raising=False)
    job = put(own, "name: a\n", "a", "run")
    app = open_page(own, monkeypatch, "run")
    assert any("--allow-runs" in text for text in texts(app))
    assert not {"Check", "Start", "Stop"} & _labels(app), "others' jobs are seen, not touched"
    assert any("number 1 in the queue" in text for text in texts(app)) and all_jobs(own, "run") == [job]


def test_somebody_elsewhere_is_told_why(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(RUNS_VARIABLE, "1")
    app = open_page(own, monkeypatch, "run")
    assert any("read-only for you" in text for text in texts(app)) and "Check" not in _labels(app)


@pytest.mark.usefixtures("allowed")
def test_fields_are_checked_then_started(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "run", stage="Curate data")
    assert _button(app, "Start").disabled and "Relative paths start from" in captions(app)
    assert _field(app, "text_input", "name").value == "demo"
    _field(app, "text_input", "name").set_value("other").run()
    _field(app, "checkbox", "duplicates").set_value(True).run()
    _field(app, "text_input", "radius").set_value("4").run()
    _button(app, "Check").click().run()
    assert not app.exception
    (check,) = all_jobs(own, "check")
    text = (folder_of(own, check) / RECIPE).read_text()
    recipe = values_of(text)
    assert recipe["name"] == "other" and recipe["duplicates"] == {"radius": 4}
    assert recipe["out"] == str(own / "curated" / "demo")
    assert _button(app, "Start").disabled, "the check has not ended"

    begun = begin_next(own, "check")
    assert begun
    (folder_of(own, check) / LOG).write_text("ok **not bold**\n")
    end(own, begun, "failed", code=1)
    app.run()
    assert any("ok **not bold**" in code.value for code in app.code), "a log is text"
    _button(app, "Start anyway").click().run()
    (job,) = all_jobs(own, "run")
    assert (folder_of(own, job) / RECIPE).read_text() == text and job.state == "waiting"
    _button(app, "Stop").click().run()
    assert all_jobs(own, "run")[0].state == "stopped"
    _button(app, "Continue").click().run()
    assert all_jobs(own, "run")[0].state == "waiting"


@pytest.mark.usefixtures("allowed")
def test_a_changed_recipe_has_to_be_checked_again(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "run")
    _button(app, "Check").click().run()
    begun = begin_next(own, "check")
    assert begun
    end(own, begun, "finished", code=0)
    app.run()
    assert not _button(app, "Start").disabled
    _field(app, "text_input", "name").set_value("other").run()
    assert _button(app, "Start").disabled and any("was changed since" in text for text in texts(app))


@pytest.mark.usefixtures("allowed")
def test_form_and_yaml_hold_the_same_recipe(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "run", stage="Fine-tune")
    app.selectbox(key="start_finetune").set_value("shipped demo").run()
    _field(app, "text_input", "lora_rank").set_value("8").run()
    app.get("button_group")[1].set_value("YAML").run()
    assert not app.exception
    (editor,) = app.text_area
    written = values_of(editor.value)
    assert written["lora_rank"] == 8 and written["learning_rate"] == {"decoder": 6.0e-4, "projector": 1.0e-4}
    assert written["out"] == str(own / "runs" / "demo"), "where these pages show the result"
    editor.set_value(editor.value.replace("lora_rank: 8", "lora_rank: 4")).run()
    app.get("button_group")[1].set_value("Form").run()
    assert _field(app, "text_input", "lora_rank").value == "4" and _field(app, "selectbox", "method").value is None


@pytest.mark.usefixtures("allowed")
def test_the_stages_own_sentence_is_shown(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "run", stage="Fine-tune")
    app.selectbox(key="start_finetune").set_value("shipped demo").run()
    _field(app, "text_input", "epochs").set_value("-1").run()
    _button(app, "Check").click().run()
    assert "recipe: epochs: Input should be greater than 0 (got -1)" in texts(app) and all_jobs(own, "check") == []
    _field(app, "text_input", "epochs").set_value("{").run()
    assert any(text.startswith("epochs: line 1: not valid YAML") for text in texts(app))


@pytest.mark.usefixtures("allowed")
def test_code_in_a_recipe_is_warned_about(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    app = open_page(own, monkeypatch, "run", stage="Evaluate")
    app.selectbox(key="start_evalsuite").set_value("shipped demo_base").run()
    _field(app, "selectbox", "allow_code").set_value(True).run()
    _button(app, "Check").click().run()
    assert any(text.startswith("allow_code: runs the Python code") for text in texts(app))


@pytest.mark.usefixtures("allowed")
@pytest.mark.parametrize("stage", ["Curate data", "Fine-tune", "Evaluate", "Merge an adapter"])
def test_every_recipe_to_start_from_is_drawn(own: Path, monkeypatch: pytest.MonkeyPatch, stage: str) -> None:
    app = open_page(own, monkeypatch, "run", stage=stage)
    choice = next(box for box in app.selectbox if box.label == "Start from")
    for source in choice.options:
        next(box for box in app.selectbox if box.label == "Start from").set_value(source).run()
        assert not app.exception, source


def test_what_to_run_next_leads_to_the_form(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dashboards.components.run_jobs import start_button

    shown: dict[str, Any] = {}
    monkeypatch.setattr("streamlit.button", lambda *_, **__: True)
    monkeypatch.setattr("streamlit.switch_page", lambda page, query_params: shown.update(query_params, page=page))
    start_button("finetune train RECIPE --fresh")
    assert shown == {"page": "app_pages/run.py", "stage": "Fine-tune"}
