"""Benchmarks in their published form at their default places: prompt, scores and totals as the peers' code has them.

``peers/benchmarks.json`` holds what the peers' code computed, with revisions; ``peers/benchmark_rows.py`` the rows.
"""

import json
import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from evalsuite.analysis.results import score_rows, summarise
from evalsuite.backends import Reply, Request
from evalsuite.cli import app
from evalsuite.runs.requests import RowRequest, to_row
from evalsuite.tasks.load import load_task
from evalsuite.tasks.spec import load_spec, shipped_tasks
from winnow.errors import UserError

PEERS = Path(__file__).parents[1] / "peers"
sys.path.insert(0, str(PEERS))
import benchmark_rows  # noqa: E402

FOUND = json.loads((PEERS / "benchmarks.json").read_text(encoding="utf-8"))
TASKS = FOUND["tasks"]


def asked_and_answered(name, folder, monkeypatch, replies=None):
    """The shipped task as it is, run where its data lies, and its rows with the replies of the fixture."""
    monkeypatch.chdir(folder)
    benchmark_rows.write(name, folder / "data/raw")
    task = load_task(load_spec(name), limit=None, seed=0)
    assert not task.bad_rows and not task.unscorable
    replies = benchmark_rows.replies_of(name) if replies is None else replies
    rows = []
    for row, text in zip(task.rows, replies, strict=True):
        request = Request(row.sample_id, row.prompt, (), row.images, 8, ())
        reply = Reply(row.sample_id, text, "stop", 1, 1, 0.0, None)
        asked = RowRequest(name, row, task.spec.extraction, row.prompt, row.images, request, None)
        rows.append(to_row(asked, {row.sample_id: reply}))
    for row, grade in zip(rows, benchmark_rows.GRADES.get(name, ()), strict=False):
        row["verdict"] = json.dumps({"score": grade, "by": "a judge", "status": "ok"})
    return task, rows


@pytest.mark.parametrize("name", TASKS)
def test_the_prompt_is_the_published_one(name, tmp_path, monkeypatch):
    task, _ = asked_and_answered(name, tmp_path, monkeypatch)
    first = task.rows[0]
    assert first.prompt.removeprefix("<image>\n") == TASKS[name]["prompt"]
    assert first.images and all((task.image_root / path).is_file() for row in task.rows for path in row.images)


@pytest.mark.parametrize("name", TASKS)
def test_replies_are_scored_as_by_the_peer(name, tmp_path, monkeypatch):
    task, rows = asked_and_answered(name, tmp_path, monkeypatch)
    result = score_rows(task.spec, rows)
    headline = result.headline
    assert list(headline.per_row) == pytest.approx(TASKS[name]["scores"])
    values = {metric: entry["value"] for metric, entry in summarise(result, seed=0)["metrics"].items()}
    rounded = 1e-3 if name == "amber_discriminative" else 1e-9  # as AMBER prints them: 56.7
    assert {metric: values[metric] for metric in TASKS[name]["totals"]} == pytest.approx(
        TASKS[name]["totals"], abs=rounded
    )
    assert headline.name in TASKS[name]["totals"], "the headline is compared"


@pytest.mark.parametrize("name", TASKS)
def test_a_row_scores_alone_as_among_the_others(name, tmp_path, monkeypatch):
    """The plain way, a row at a time, is the oracle of scoring by columns."""
    task, rows = asked_and_answered(name, tmp_path, monkeypatch)
    plain = [key for key, one in task.spec.metrics.items() if not one.definition.whole_set]
    spec = task.spec.model_copy(update={"metrics": {key: task.spec.metrics[key] for key in plain}})
    if not plain:
        pytest.skip("its metrics look at all rows")
    together = {column.name: column.per_row for column in score_rows(spec, rows).columns}
    for number, row in enumerate(rows):
        for column in score_rows(spec, [row]).columns:
            assert column.per_row[0] == pytest.approx(together[column.name][number], nan_ok=True), row["sample_id"]


@pytest.mark.parametrize("name", [name for name in TASKS if not name.startswith(("refcoco", "mm_vet"))])
def test_the_references_are_right_and_another_reply_is_wrong(name, tmp_path, monkeypatch):
    task, _ = asked_and_answered(name, tmp_path, monkeypatch)
    for replies, right in (
        ([row.references[0] for row in task.rows], True),
        (["zebra crossing"] * len(task.rows), False),
    ):
        folder = tmp_path / str(right)
        folder.mkdir()
        _, rows = asked_and_answered(name, folder, monkeypatch, replies)
        column = score_rows(task.spec, rows).headline
        entry = summarise(score_rows(task.spec, rows), seed=0)["metrics"][column.name]
        if column.top == 1.0:
            assert entry["value"] == float(right)


def test_images_of_a_question_keep_their_order_and_number(tmp_path, monkeypatch):
    task, _ = asked_and_answered("blink", tmp_path, monkeypatch)
    assert [len(row.images) for row in task.rows] == [3] * 5
    assert task.rows[0].images[0] != task.rows[1].images[0] and task.rows[0].images[1:] == task.rows[1].images[1:]


def test_every_shipped_task_says_where_its_data_comes_from():
    for name in shipped_tasks():
        benchmark = load_spec(name).benchmark
        assert benchmark is not None and benchmark.data and benchmark.prompt and benchmark.checked, name
        named = re.findall(r"\b[0-9a-f]{7}\b", benchmark.checked)
        known = " ".join(FOUND["peers"].values())
        assert name not in TASKS or (named and all(revision in known for revision in named)), name


@pytest.mark.parametrize("name", shipped_tasks())
def test_missing_data_names_what_to_download_and_where_to_put_it(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=rf"^task {name}: .*data/raw/") as caught:
        load_task(load_spec(name), limit=None, seed=0)
    text = str(caught.value)
    assert (
        text.endswith(f"; its data: {load_spec(name).benchmark.data}") and "data/raw/" in text.rpartition("data: ")[2]
    )


@pytest.mark.parametrize("name", ["ai2d", "blink", "mmmu_pro_standard", "mmstar", "realworldqa", "seed_image"])
def test_options_are_rotated_in_the_published_prompt(name, tmp_path, monkeypatch):
    task, _ = asked_and_answered(name, tmp_path, monkeypatch)
    (tmp_path / "mine.yaml").write_text(f"base: {name}\nrepeat: circular\n")
    rows = load_task(load_spec("mine.yaml"), limit=None, seed=0).rows
    assert [row for row in rows if not row.repeat] == task.rows
    assert len(rows) == sum(max(1, len(row.choices)) for row in task.rows)
    first = rows[: len(rows[0].choices)]
    assert {row.choices["ABCDEFGHIJ".index(row.references[0])] for row in first} == {
        first[0].choices["ABCDEFGHIJ".index(first[0].references[0])]
    }
    assert len({row.prompt for row in first}) == len(first) > 1
    assert len({"".join(sorted(row.prompt)) for row in first}) == 1, "the same words in another order"


def test_mathvista_reads_what_a_sentence_concludes(tmp_path, monkeypatch):
    replies = [
        "So it is (B).",
        "The answer is A",
        "There were 20. Now 14 remain.",
        "The mean is 6.2 / 5 = 1.24 m",
        "**0.35**",
        "none",
    ]
    task, rows = asked_and_answered("mathvista", tmp_path, monkeypatch, replies)
    assert list(score_rows(task.spec, rows).headline.per_row) == [1, 1, 1, 1, 1, 0]


def test_a_category_that_is_missing_or_a_capability_that_is_unknown_is_a_sentence(tmp_path, monkeypatch):
    task, rows = asked_and_answered("blink", tmp_path, monkeypatch)
    rows[1]["slice_sub_task"] = None
    with pytest.raises(UserError, match="choice_by_category needs the category of every row as the task's first slice"):
        score_rows(task.spec, rows)
    task, rows = asked_and_answered("mm_vet", tmp_path, monkeypatch)
    rows[2]["facts"] = json.dumps({"capability": "ocr,smell"})
    with pytest.raises(UserError, match=r"mm_vet/test/v1_2: mm_vet needs the fact capability, of rec, .*'ocr,smell'"):
        score_rows(task.spec, rows)


def test_mm_vets_capabilities_are_not_held_against_the_judge_they_repeat(tmp_path, monkeypatch):
    task, _ = asked_and_answered("mm_vet", tmp_path, monkeypatch)
    assert not task.spec.rule_metrics


def test_a_mean_over_categories_has_an_interval_of_its_own(tmp_path, monkeypatch):
    task, rows = asked_and_answered("blink", tmp_path, monkeypatch)
    entry = summarise(score_rows(task.spec, rows), seed=0)["metrics"]["choice_by_category"]
    assert entry["value"] == pytest.approx(5 / 9) and not entry["mean_of_rows"]


def test_the_list_of_tasks_is_grouped_by_kind(monkeypatch):
    monkeypatch.setenv("COLUMNS", "120")
    shown = CliRunner().invoke(app, ["tasks"]).output
    places = [shown.index(text) for text in ("\nmultiple choice", "\nmmbench", "\nyes or no", "\npope", "\nmetric")]
    assert places == sorted(places) and all(f"\n{name} " in shown for name in shipped_tasks())


def test_the_list_of_tasks_breaks_no_path_in_100_columns(monkeypatch):
    monkeypatch.setenv("COLUMNS", "100")
    lines = [line.strip() for line in CliRunner().invoke(app, ["tasks"]).output.splitlines()]
    assert all(load_spec(name).source.location in lines for name in shipped_tasks())
