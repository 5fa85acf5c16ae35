"""What a server is asked for tasks with turns, without images, with changed images, and with settings of the recipe."""

import base64
import io
import json
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageFilter
from tiny import recipe_text
from unruly import Unruly, served_recipe, served_task, unruly_server

from evalsuite.backends.stop import cut_at_stop
from evalsuite.runs.run import run_recipe
from evalsuite.runs.tasks import specs_of
from winnow.errors import UserError
from winnow.recipe import load_recipe


def predictions(out: Path) -> list[dict]:
    return pq.read_table(out / "predictions.parquet").to_pylist()


def texts(body: dict) -> list[tuple[str, str]]:
    """Role and text of every message."""
    return [
        (message["role"], "".join(part.get("text", "<image>") for part in message["content"]))
        for message in body["messages"]
    ]


def sent_image(body: dict) -> Image.Image:
    (part,) = (part for part in body["messages"][0]["content"] if part["type"] == "image_url")
    return Image.open(io.BytesIO(base64.b64decode(part["image_url"]["url"].partition(",")[2])))


@pytest.fixture
def talks(tmp_path: Path) -> Path:
    """A task of three conversations, of three, two and one questions."""
    task = served_task(tmp_path / "data", ["unused"])
    rows = []
    for number, count in enumerate((3, 2, 1)):
        turns = [
            {"from": role, "value": f"<image>row {number}, q{place}?" if role == "user" and not place else
             f"row {number}, q{place}?" if role == "user" else "red"}
            for place in range(count) for role in ("user", "assistant")
        ]  # fmt: skip
        rows.append({"id": f"talk/{number}", "image": "images/red.png", "conversations": turns})
    rows[0]["conversations"].insert(0, {"from": "system", "value": "Be brief."})
    (tmp_path / "data" / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return task


def test_turns_are_asked_with_the_models_own_answers(tmp_path: Path, talks: Path) -> None:
    with unruly_server() as server:
        out = tmp_path / "out"
        _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, talks, out))
        chats = {texts(body)[-1][1]: texts(body) for body in server.asked}
    rows = predictions(out)
    ids = [("talk/0", 0), ("talk/0", 1), ("talk/0", 2), ("talk/1", 0), ("talk/1", 1), ("talk/2", 0)]
    assert [(row["group"].removeprefix("test/"), row["repeat"]) for row in rows] == ids
    assert [row["sample_id"].rpartition("/")[2] for row in rows] == ["0", "0#1", "0#2", "1", "1#1", "2"]
    assert chats["row 0, q2?"] == [
        ("system", "Be brief."), ("user", "<image>row 0, q0?"), ("assistant", "red"), ("user", "row 0, q1?"),
        ("assistant", "red"), ("user", "row 0, q2?"),
    ]  # fmt: skip
    assert chats["<image>row 2, q0?"] == [("user", "<image>row 2, q0?")]
    assert scores["tasks"]["served"]["metrics"]["accuracy"]["value"] == 1.0 and len(chats) == 6


def test_a_turn_after_one_without_an_answer_is_not_asked(tmp_path: Path, talks: Path) -> None:
    data = tmp_path / "data" / "test.jsonl"
    data.write_text(data.read_text().replace("row 0, q1?", "long?"))
    with unruly_server() as server:
        run_recipe(served_recipe(tmp_path / "r.yaml", server.url, talks, tmp_path / "out"))
        assert len(server.asked) == 5
    failed = [row for row in predictions(tmp_path / "out") if row["status"] == "failed"]
    assert [row["repeat"] for row in failed] == [1, 2]
    assert failed[1]["error"] == "an earlier question of the conversation has no answer"


def test_turns_go_to_a_model_on_this_machine(tmp_path: Path, talks: Path, tiny_vlm: Path) -> None:
    run_recipe(_written(tmp_path / "r.yaml", recipe_text("one", tmp_path / "out", tiny_vlm, talks)))
    first, second, third, *_ = predictions(tmp_path / "out")
    assert third["prompt"].startswith(second["prompt"]) and second["prompt"].startswith(first["prompt"])
    said = cut_at_stop(first["raw"], (".",))[0].strip()
    assert f"assistant\n{said}<|im_end|>\n<|im_start|>user\nrow 0, q1?<|im_end|>" in second["prompt"]
    assert third["prompt"].count("<image>") == 1 and third["status"] in ("ok", "unparsed")


def _written(path: Path, text: str) -> Path:
    path.write_text(text)
    return path


@pytest.mark.slow
def test_a_killed_conversation_goes_on_where_it_was(tmp_path: Path, talks: Path) -> None:
    killed = (
        "import os, signal, sys\nfrom pathlib import Path\nfrom evalsuite.runs import ask, run\n"
        "once = []\n"
        "def second(*args, **more):\n"
        "    if once: os.kill(os.getpid(), signal.SIGKILL)\n"
        "    once.append(1); return ask.ask(*args, **more)\n"
        "run.ask = second\nrun.run_recipe(Path(sys.argv[1]))\n"
    )
    with unruly_server() as server:
        path = served_recipe(tmp_path / "r.yaml", server.url, talks, tmp_path / "out")
        done = subprocess.run([sys.executable, "-c", killed, str(path)], capture_output=True, check=False)
        assert done.returncode == -signal.SIGKILL, done.stderr
        assert sorted(server.questions) == ["row 0, q0?", "row 1, q0?", "row 2, q0?"]
        server.asked.clear()
        run_recipe(path)
        assert sorted(server.questions) == ["row 0, q1?", "row 0, q2?", "row 1, q1?"]
    assert all(row["status"] == "ok" for row in predictions(tmp_path / "out"))


def asked_with(server: Unruly, tmp_path: Path, extra: str, recipe: str = "") -> tuple[list[dict], dict]:
    """What is sent for one question under a further key of the task; and the scores."""
    task = served_task(tmp_path / "data", ["what colour?"])
    task.write_text(task.read_text() + extra)
    server.asked.clear()
    _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out", recipe))
    return list(server.asked), scores


def test_blind_sends_no_image_and_says_so(tmp_path: Path) -> None:
    with unruly_server() as server:
        (body,), scores = asked_with(server, tmp_path, "blind: true\n")
    assert texts(body) == [("user", "what colour?")]
    (row,) = predictions(tmp_path / "out")
    assert row["images"] == ["images/red.png"] and len(row["image_keys"]) == 1, "the image still groups its rows"
    assert scores["tasks"]["served"]["notes"] == ["asked without the images"]
    for report in ("report.md", "report.html"):
        assert "Note: asked without the images." in (tmp_path / "out" / report).read_text()
    assert json.loads((tmp_path / "out" / "manifest.json").read_text())["notes"] == {
        "served": ["asked without the images"]
    }


def test_blind_needs_no_image(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", ["what colour?"])
    task.write_text(task.read_text() + "blind: true\n")
    (tmp_path / "data" / "images" / "red.png").unlink()
    with unruly_server() as server:
        _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
    assert scores["tasks"]["served"]["statuses"]["ok"] == 1


def test_corrupted_images_are_sent_and_another_corruption_is_asked_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from evalsuite.runs import requests

    monkeypatch.setattr(requests, "IMAGES", tmp_path / "cache")
    with unruly_server() as server:
        (body,), scores = asked_with(server, tmp_path, "corrupt: {blur: 2}\n")
        source = Image.open(tmp_path / "data" / "images" / "red.png")
        assert sent_image(body).tobytes() == source.filter(ImageFilter.GaussianBlur(2)).tobytes()
        assert scores["tasks"]["served"]["notes"] == ["images changed before asking: blur 2"]
        key = predictions(tmp_path / "out")[0]["request_key"]
        (body,), _ = asked_with(server, tmp_path, "corrupt: {blur: 2, jpeg: 10}\n")
        assert sent_image(body).format == "JPEG"
        assert predictions(tmp_path / "out")[0]["request_key"] != key


def test_samples_are_asked_one_by_one_and_need_a_temperature(tmp_path: Path) -> None:
    with unruly_server() as server:
        with pytest.raises(UserError, match="task served: samples: 3 needs a temperature above 0"):
            asked_with(server, tmp_path, "samples: 3\n")
        bodies, scores = asked_with(server, tmp_path, "samples: 3\n", "generation: {temperature: 0.7}\n")
    assert sorted((body["seed"], body["temperature"]) for body in bodies) == [(0, 0.7), (1, 0.7), (2, 0.7)]
    assert [row["repeat"] for row in predictions(tmp_path / "out")] == [0, 1, 2]
    assert scores["tasks"]["served"]["notes"] == ["each question asked 3 times at temperature 0.7"]


def test_a_circular_question_is_right_if_every_rotation_is(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", ["which is right?", "which is meant?"], "kind: letter")
    data = tmp_path / "data" / "test.jsonl"
    rows = [json.loads(line) for line in data.read_text().splitlines()]
    for row, choices in zip(rows, (["red", "blue", "green"], ["blue", "red"]), strict=True):
        row.update(meta={"options": choices}, answers=["0"])
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    circular = 'prompt: "{question}\\n{options}"\noptions: options\nrepeat: circular\n'
    text = task.read_text().replace("[accuracy]", "[circular]")
    task.write_text(text + circular)
    with unruly_server() as server:
        _, scores, _ = run_recipe(served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out"))
        assert len(server.asked) == 5
    assert [row["references"] for row in predictions(tmp_path / "out")] == [["A"], ["C"], ["B"], ["A"], ["B"]]
    assert scores["tasks"]["served"]["metrics"]["circular"]["value"] == 0.5, "one of two questions"


def test_generation_of_the_recipe_asks_again_and_extraction_does_not(tmp_path: Path) -> None:
    with unruly_server() as server:
        (body,), _ = asked_with(server, tmp_path, "", "generation: {served: {max_new_tokens: 99}}\n")
        assert body["max_tokens"] == 99 and body["stop"] == ["."]
        again, _ = asked_with(server, tmp_path, "", "generation: {max_new_tokens: 99}\nextraction: {kind: line}\n")
        assert again == []
        (body,), _ = asked_with(server, tmp_path, "", "generation: {max_new_tokens: 98}\n")
    (spec,) = json.loads((tmp_path / "out" / "manifest.json").read_text())["task_specs"]
    assert spec["generation"]["max_new_tokens"] == 98 == body["max_tokens"]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("generation: {max_new_token: 9}", "generation: 'max_new_token' is neither a setting nor a task; did you mean"),
        ("generation: {serve: {max_new_tokens: 9}}", "generation: 'serve' is neither a setting nor a task"),
        ("generation: {served: 9}", "generation: served: give a mapping of settings, such as {max_new_tokens: …}"),
        ("generation: {max_new_tokens: many}", "task served: generation.max_new_tokens"),
        ("limit: {serve: 9}", "limit: 'serve' is neither a setting nor a task; did you mean served"),
        ("extraction: {kind: letters}", "task served: extraction.kind"),
    ],
)  # fmt: skip
def test_settings_of_a_recipe_that_do_not_fit_are_refused(tmp_path: Path, text: str, sentence: str) -> None:
    from evalsuite.recipe import EvalRecipe

    task = served_task(tmp_path / "data", ["q"])
    path = served_recipe(tmp_path / "r.yaml", "http://127.0.0.1:1/v1", task, tmp_path / "out", text)
    with pytest.raises(UserError) as refused:
        specs_of(load_recipe(path, EvalRecipe))
    assert sentence in str(refused.value)


def test_a_limit_may_be_given_by_task(tmp_path: Path) -> None:
    from evalsuite.recipe import EvalRecipe
    from evalsuite.runs.tasks import load_tasks

    task = served_task(tmp_path / "data", [f"q{number}" for number in range(9)])
    path = served_recipe(tmp_path / "r.yaml", "http://127.0.0.1:1/v1", task, tmp_path / "out", "limit: {served: 4}\n")
    assert len(load_tasks(load_recipe(path, EvalRecipe))["served"].rows) == 4
