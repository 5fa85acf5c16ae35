"""`evalsuite check`, and the same check before a run: what is asked, what stops a run, what the report keeps."""

import json

import pytest
from tiny import recipe_text, task_text
from typer.testing import CliRunner
from unruly import served_recipe, served_task, unruly_server

from evalsuite.cli import app
from evalsuite.report.checked import estimate
from evalsuite.runs.check import check_recipe
from evalsuite.runs.run import run_recipe
from winnow.errors import UserError


def test_a_check_asks_a_few_rows_and_writes_nothing(tmp_path):
    task = served_task(tmp_path / "data", [f"calm {number}" for number in range(40)])
    with unruly_server() as server:
        report = check_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"), 5)
        assert len(server.asked) == 6, "one to see what the server takes, and the sample"
        assert server.questions[0] == "calm 0" and len(set(server.questions[1:])) == 5
    assert not (tmp_path / "out").exists()
    assert (report.rows, report.requests, report.findings) == ({"served": 40}, {"served": 40}, [])
    (trial,) = report.trials
    assert (trial.statuses, trial.truncated, trial.longest, trial.limit) == ({"ok": 5}, 0, 2, 6)
    assert (trial.input_tokens, trial.output_tokens) == (7, 2)
    assert estimate(report)[0].startswith("served: 40 rows, 40 questions to ask, about 280 tokens in and 80 out, ")
    assert [prompt.task for prompt in report.prompts] == ["served"] * 3
    assert json.loads(report.prompts[0].text)[0]["content"][0] == {"type": "image"}


def test_answers_that_are_cut_off_refused_or_missing_are_warned_about(tmp_path):
    kinds = ["endless", "declined", "long", "calm"]
    task = served_task(tmp_path / "data", [f"{kind} {number}" for number in range(2) for kind in kinds])
    with unruly_server() as server:
        found = check_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"), 8).findings
    said = [finding.sentence() for finding in found]
    assert [finding.level for finding in found] == ["warning"] * 3
    assert "2 of 8 requests failed, such as “HTTP 400: context of 9000" in said[0]
    assert "2 of 8 replies are refusals" in said[1]
    assert "2 of 8 replies were cut off at max_new_tokens (6)" in said[2]


def test_a_run_with_an_error_stops_before_the_first_question(tmp_path):
    task = served_task(tmp_path / "data", ["calm 1", "calm 2"], extraction="kind: choice, choices: [blue]")
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out")
        with pytest.raises(UserError, match="nothing was asked: served: no reference is one that `kind: choice` reads"):
            run_recipe(path)
        done = CliRunner().invoke(app, ["check", str(path)])
        assert server.asked == []
    assert done.exit_code == 1 and "1 error: `evalsuite run` would ask nothing." in done.output
    assert not (tmp_path / "out").exists()


def test_the_prompt_is_shown_as_this_machines_model_sees_it(tmp_path, tiny_vlm, tiny_task):
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task))
    done = CliRunner().invoke(app, ["check", str(path), "--sample", "2"])
    assert done.exit_code == 0, done.output
    assert "<|im_start|>user\n<image>" in done.output and "<|im_start|>assistant\n" in done.output
    assert "of 6 tokens" in done.output and "images/nowhere.png: missing" in done.output.replace("\n", " ")
    assert not (tmp_path / "out").exists()


def test_the_models_own_tokens_are_counted(tmp_path, tiny_vlm, tiny_task):
    path = tmp_path / "r.yaml"
    tiny_task.write_text(task_text(tmp_path / "data" / "test.jsonl").replace("max_new_tokens: 6", "max_new_tokens: 1"))
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task))
    found = [finding for finding in check_recipe(path, 0).findings if "fits into 1 tokens" in finding.what]
    assert len(found) == 1 and found[0].rows > 0, (
        "byte-level BPE: some of yes, no and the colours are more than a token"
    )


def test_warnings_of_a_run_are_kept_and_shown(tmp_path, tiny_vlm, tiny_task):
    path = tmp_path / "r.yaml"
    path.write_text(recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task))
    _, scores, _ = run_recipe(path)
    kept = json.loads((tmp_path / "out" / "manifest.json").read_text())["findings"]["check"]
    assert scores["check"] == kept
    assert [(entry["level"], entry["rows"]) for entry in kept if "an image is not there" in entry["what"]] == [
        ("warning", 1)
    ]
    for name in ("report.md", "report.html"):
        text = (tmp_path / "out" / name).read_text()
        assert "Found before the run" in text and "an image is not there: image images/nowhere.png: missing" in text


def test_what_a_server_refuses_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    task = served_task(tmp_path / "data", ["locked 1", "locked 2"])
    with unruly_server() as server:
        found = check_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"), 4).findings
        assert set(server.questions) == {"locked 1"}, "nothing more is asked"
    assert [finding.level for finding in found] == ["error"]
    assert "Incorrect API key provided" in found[0].what and "sk-secret" not in found[0].what
