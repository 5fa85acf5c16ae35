"""The whole evaluation on a tiny model: run, kill, resume, rescore, compare, report."""

import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tiny import build_data, build_model, recipe_text, task_text

from evalsuite.runs.finish import rescore
from evalsuite.runs.run import run_recipe
from tests.forks import python
from winnow.errors import UserError

KILLED = """
import os, signal, sys
from pathlib import Path
from evalsuite.runs import ask
from evalsuite.runs.run import run_recipe

write, written = ask.write_part, []

def write_and_die(folder, replies):
    write(folder, replies)
    written.append(1)
    if len(written) == 2:
        os.kill(os.getpid(), signal.SIGKILL)

ask.write_part = write_and_die
run_recipe(Path(sys.argv[1]))
"""


INTERRUPTED = KILLED.replace("SIGKILL", "SIGINT")


def predictions(folder: Path) -> list[dict]:
    return pq.read_table(folder / "predictions.parquet").to_pylist()


def recipe(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_run_writes_everything_and_repeats_nothing(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    out = tmp_path / "out"
    path = recipe(tmp_path / "r.yaml", recipe_text("one", out, tiny_vlm, tiny_task))
    folder, scores, worked = run_recipe(path)
    assert (folder, worked) == (out, True)
    assert sorted(file.name for file in out.iterdir()) == [
        "manifest.json", "predictions.parquet", "report.html", "report.md", "scores.json", "timings.parquet",
    ]  # fmt: skip
    rows = predictions(out)
    assert [row["sample_id"] for row in rows][:3] == ["tiny/test/0-0", "tiny/test/0-1", "tiny/test/0-2"]
    assert len(rows) == 31
    assert rows[-1]["status"] == "failed" and rows[-1]["error"] == "image images/nowhere.png: missing"
    assert all(row["status"] in ("ok", "unparsed") for row in rows[:-1])
    assert len({row["raw"] for row in rows}) > 5, "different questions must get different answers"
    task = scores["tasks"]["tiny"]
    assert task["n"] == 31 and sum(task["statuses"].values()) == 31
    accuracy = task["metrics"]["accuracy"]
    assert accuracy["value"] == pytest.approx(sum(row["accuracy"] for row in rows) / 31)
    assert set(task["metrics"]) == {"accuracy", "cider", "bleu_1", "bleu_2", "bleu_3", "bleu_4"}
    assert task["slices"]["slice_question_type"]["yes_no"]["n"] == 12
    assert json.loads((out / "scores.json").read_text()) == scores
    before = (out / "manifest.json").read_bytes()
    assert run_recipe(path)[2] is False
    assert (out / "manifest.json").read_bytes() == before


@pytest.mark.slow
def test_killed_run_asks_only_what_is_missing_and_ends_the_same(
    tmp_path: Path, tiny_vlm: Path, tiny_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calm = recipe(tmp_path / "calm.yaml", recipe_text("one", tmp_path / "calm", tiny_vlm, tiny_task))
    run_recipe(calm)
    killed = recipe(tmp_path / "killed.yaml", recipe_text("one", tmp_path / "killed", tiny_vlm, tiny_task))
    done = subprocess.run(python("-c", KILLED, str(killed)), capture_output=True, check=False)
    assert done.returncode == -signal.SIGKILL
    parts = sorted((tmp_path / "killed" / "parts").iterdir())
    assert len(parts) == 2 and not (tmp_path / "killed" / "manifest.json").exists()
    known = {key for part in parts for key in pq.read_table(part)["key"].to_pylist()}

    from evalsuite.runs import ask

    asked: list[str] = []
    write = ask.write_part

    def note_and_write(folder: Path, replies: list) -> None:
        asked.extend(reply.key for reply in replies)
        write(folder, replies)

    monkeypatch.setattr(ask, "write_part", note_and_write)
    run_recipe(killed)
    assert not known & set(asked) and len(known) + len(asked) == 30
    for name in ("predictions.parquet", "scores.json", "report.md", "report.html"):
        assert (tmp_path / "killed" / name).read_bytes() == (tmp_path / "calm" / name).read_bytes()


@pytest.mark.slow
def test_interrupted_run_leaves_partial_scores_and_is_finished_later(
    tmp_path: Path, tiny_vlm: Path, tiny_task: Path
) -> None:
    out = tmp_path / "out"
    path = recipe(tmp_path / "r.yaml", recipe_text("one", out, tiny_vlm, tiny_task))
    done = subprocess.run(python("-c", INTERRUPTED, str(path)), capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    assert not (out / "manifest.json").exists() and len(list((out / "parts").iterdir())) == 2
    scores = json.loads((out / "scores.json").read_text())
    assert scores["partial"] == {"rows": 21, "of": 31}, "two units of ten rows, and the row that cannot be asked"
    task = scores["tasks"]["tiny"]
    assert task["n"] == 21 and task["statuses"]["failed"] == 1
    assert "Partial: the run was stopped after 21 of 31 rows" in (out / "report.html").read_text()
    with pytest.raises(UserError, match="its run did not finish"):
        rescore(out, [])
    _, scores, _ = run_recipe(path)
    assert scores["partial"] is None and scores["tasks"]["tiny"]["n"] == 31
    assert not (out / "parts").exists()


def test_answers_do_not_depend_on_batches_or_on_sharing(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    texts = []
    for number, (batch, share) in enumerate([(2, "true"), (64, "true"), (5, "false"), (1, "false")]):
        out = tmp_path / str(number)
        text = recipe_text("one", out, tiny_vlm, tiny_task).replace("batch_size: 2", f"batch_size: {batch}")
        text = text.replace("device: cpu}", f"device: cpu, share_prefix: {share}}}")
        run_recipe(recipe(tmp_path / f"{number}.yaml", text))
        texts.append([(row["raw"], row["finish_reason"], row["output_tokens"]) for row in predictions(out)])
    assert texts[0] == texts[1] == texts[2] == texts[3]


def test_changed_image_is_asked_again_and_a_larger_limit_only_adds(
    tmp_path: Path, tiny_vlm: Path, tiny_task: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from PIL import Image

    from evalsuite.runs import ask

    asked: list[str] = []
    write = ask.write_part

    def note_and_write(folder: Path, replies: list) -> None:
        asked.extend(reply.key for reply in replies)
        write(folder, replies)

    monkeypatch.setattr(ask, "write_part", note_and_write)
    path = recipe(tmp_path / "r.yaml", recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task))
    run_recipe(path)
    first = len(asked)
    Image.new("RGB", (30, 30), (1, 2, 3)).save(tmp_path / "data" / "images" / "0.png")
    _, _, worked = run_recipe(path)
    assert worked and len(asked) - first >= 5
    changed = {row["sample_id"]: row["image_keys"] for row in predictions(tmp_path / "out")}
    assert changed["tiny/test/0-0"] == changed["tiny/test/0-1"] != changed["tiny/test/1-0"]


def test_rescoring_needs_no_model(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    out = tmp_path / "out"
    path = recipe(tmp_path / "r.yaml", recipe_text("one", out, tiny_vlm, tiny_task))
    run_recipe(path)
    before = predictions(out)
    assert rescore(out, [])["tasks"]["tiny"]["metrics"]["accuracy"]["n"] == 31
    assert predictions(out) == before
    assert list(rescore(out, [])["tasks"]["tiny"]["metrics"])[:2] == ["accuracy", "cider"]
    other = tmp_path / "other.yaml"
    choices = "extraction: {kind: choice, choices: [red, green]}\n"
    other.write_text(task_text(tmp_path / "data" / "test.jsonl", choices).replace("cider, bleu", "vqa_accuracy"))
    scores = rescore(out, [str(other)])
    assert set(scores["tasks"]["tiny"]["metrics"]) == {"accuracy", "vqa_accuracy"}
    after = predictions(out)
    assert [row["raw"] for row in after] == [row["raw"] for row in before]
    assert "cider" not in after[0]
    assert run_recipe(path)[2] is True, "the recipe's own settings come back when it is run again"


def test_baseline_is_compared_row_by_row(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    run_recipe(recipe(tmp_path / "a.yaml", recipe_text("a", tmp_path / "a", tiny_vlm, tiny_task)))
    other = build_model(tmp_path / "other-vlm", seed=7)
    extra = f"baseline: {tmp_path / 'a'}\n"
    _, scores, _ = run_recipe(recipe(tmp_path / "b.yaml", recipe_text("b", tmp_path / "b", other, tiny_task, extra)))
    found = scores["comparison"]["tasks"]["tiny"]
    assert found["n"] == 30 and found["only_in_a"] == found["only_in_b"] == 0
    assert found["failed"] == 1, "a row without an image is no difference between models"
    own = {row["sample_id"]: row["accuracy"] for row in predictions(tmp_path / "a")}
    new = {row["sample_id"]: row["accuracy"] for row in predictions(tmp_path / "b")}
    assert found["metrics"]["accuracy"]["difference"] == pytest.approx(sum(new.values()) / 30 - sum(own.values()) / 30)
    test = found["metrics"]["accuracy"]["mcnemar"]
    assert test["only_a"] == sum(own[key] > new[key] for key in own)
    html = (tmp_path / "b" / "report.html").read_text()
    assert "Against the baseline" in html


def test_report_is_self_contained_and_text_is_text(tmp_path: Path, tiny_vlm: Path) -> None:
    data = build_data(tmp_path / "data")
    evil = "<script>alert(1)</script> | `x` & http://evil.example/x.png"
    data.write_text(data.read_text().replace("name it", evil), encoding="utf-8")
    task = tmp_path / "tiny.yaml"
    task.write_text(task_text(data), encoding="utf-8")
    run_recipe(recipe(tmp_path / "r.yaml", recipe_text("one", tmp_path / "out", tiny_vlm, task)))
    html = (tmp_path / "out" / "report.html").read_text()
    assert "<script" not in html and "&lt;script&gt;alert(1)" in html
    links = re.findall(r"""(?:src|href)="([^"]*)""", html)
    assert links and all(link.startswith(("#", "data:image/png;base64,")) for link in links)
    assert "url(" not in html and "@import" not in html
    assert html.count("data:image/png;base64,") >= 6
    assert 'class="frame">missing' in html


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (("batch_size: 2", "batch_sise: 2"), "unknown key 'batch_sise'; did you mean batch_size?"),
        (("tiny.yaml", "missing.yaml"), "missing.yaml: no such recipe"),
        (("tiny.yaml]", "no_such_task]"), "no task"),
        (("dtype: float32", "dtype: float32, adapter: nowhere"), "no adapter there"),
        (("batch_size: 2", "batch_size: 2\nbaseline: nowhere"), "nowhere: no such folder"),
    ],
)
def test_bad_recipes_are_one_sentence_and_leave_nothing(
    tmp_path: Path, tiny_vlm: Path, tiny_task: Path, change: tuple[str, str], sentence: str
) -> None:
    text = recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task)
    assert change[0] in text
    with pytest.raises(UserError, match=re.escape(sentence)):
        run_recipe(recipe(tmp_path / "r.yaml", text.replace(*change)))
    assert not (tmp_path / "out").exists()


def test_never_writes_into_the_folder_of_another_stage(tmp_path: Path, tiny_vlm: Path, tiny_task: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "manifest.json").write_text('{"stage": "curate"}')
    with pytest.raises(UserError, match="holds the result of 'curate'"):
        run_recipe(recipe(tmp_path / "r.yaml", recipe_text("one", tmp_path / "out", tiny_vlm, tiny_task)))


def test_command_line_says_what_is_wrong(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "evalsuite", "score", str(tmp_path / "nothing")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "NO_COLOR": "1"})
    assert done.returncode == 2
    assert done.stderr.strip().startswith("error: ") and done.stderr.count("\n") == 1
