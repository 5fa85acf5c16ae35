"""Metrics of your own: run only where that is allowed, and every fault is one sentence that names file and row."""

import json
from pathlib import Path

import numpy as np
import pytest
from made import made_row, write_evaluation
from typer.testing import CliRunner
from unruly import served_recipe, served_task, unruly_server

import evalsuite
from evalsuite.check import check_code
from evalsuite.cli import app
from evalsuite.metrics import Answers, MetricColumn
from evalsuite.metrics.own import allowing_code, code_digest, is_own
from evalsuite.runs.run import run_recipe
from evalsuite.statistics import intervals, paired_difference
from evalsuite.tasks.spec import MetricSettings, TaskSpec, load_spec
from winnow.errors import UserError

WORDS = '''
from dataclasses import dataclass

@dataclass
class Limit:
    words: int = 3

def score(prediction, references, row):
    """Share of the words wanted, in a row's language."""
    return min(1.0, len(prediction.split()) / (Limit().words * len(references))) * (row["id"] != "zero")

def whole(predictions, references, rows):
    longest = max(map(len, predictions))
    return [len(text) / longest for text in predictions]
'''


@pytest.fixture
def task(tmp_path: Path) -> Path:
    (tmp_path / "my_metric.py").write_text(WORDS)
    path = tmp_path / "task.yaml"
    path.write_text(
        "name: made\nsource: {location: nowhere.jsonl}\n"
        "metrics:\n  words: {metric: 'my_metric.py:score'}\n  lengths: {metric: 'my_metric.py:whole'}\n"
    )
    return path


def rows(*texts: str | None, references: int = 1) -> Answers:
    count = len(texts)
    return Answers(ids=[f"r{n}" for n in range(count)], texts=texts, references=[["red"] * references] * count)


def column(settings: MetricSettings, answers: Answers) -> MetricColumn:
    with allowing_code(True):
        (found,) = settings.definition.columns("mine", answers, settings)
    return found


def own(path: Path, source: str, function: str = "score") -> MetricSettings:
    path.write_text(source)
    return MetricSettings(metric=f"{path}:{function}")


def test_a_function_scores_each_row_or_all_of_them(task: Path) -> None:
    metrics = load_spec(str(task)).metrics
    answers = rows("a red dog", None, "dog")
    words = column(metrics["words"], answers)
    assert words.per_row.tolist() == pytest.approx([1.0, 0.0, 1 / 3]) and words.title == "score (mine)"
    assert words.variant == "my_metric.py: mean of score(), 0 without an answer"
    assert words.right.tolist()[::2] == [1.0, 0.0] and np.isnan(words.right[1])
    assert column(metrics["lengths"], answers).per_row.tolist() == pytest.approx([1.0, 0.0, 1 / 3])
    assert sorted(path.name for path in task.parent.iterdir()) == ["my_metric.py", "task.yaml"], "no byte code"


def test_a_number_that_is_no_share_has_its_unit(tmp_path: Path) -> None:
    settings = own(tmp_path / "m.py", "def score(prediction, references, row): return 7").model_copy(
        update={"unit": ""}
    )
    found = column(settings, rows("a"))
    assert (found.unit, found.top, found.per_row.tolist()) == ("", None, [7.0]) and np.isnan(found.right[0])


def test_a_row_is_given_what_is_known_of_it(tmp_path: Path) -> None:
    source = "def score(prediction, references, row): return row['facts']['weight'] * (row['choices'] is None)"
    answers = Answers(ids=["a"], texts=["x"], references=[["y"]], facts=[{"weight": 0.25}])
    assert column(own(tmp_path / "m.py", source), answers).per_row.tolist() == [0.25]


def test_nothing_runs_unless_it_is_allowed(tmp_path: Path) -> None:
    mark = tmp_path / "ran"
    settings = own(tmp_path / "m.py", f"open({str(mark)!r}, 'w')\ndef score(p, r, row): return 1")
    with pytest.raises(UserError, match="only runs if you allow it: `allow_code: true` in the recipe"):
        settings.definition.columns("mine", rows("a"), settings)
    with allowing_code(False), pytest.raises(UserError, match="only runs if you allow it"):
        settings.definition.columns("mine", rows("a"), settings)
    assert not mark.exists()
    column(settings, rows("a"))
    assert mark.exists()
    with pytest.raises(UserError, match="only runs if you allow it"):
        settings.definition.columns("mine", rows("a"), settings)


@pytest.mark.parametrize(
    ("source", "fault"),
    [
        (
            "def score(p, r, row):\n    return 1 / 0",
            r"m\.py:2: score failed, row r0: ZeroDivisionError: division by zero",
        ),
        ("def score(p, r, row): return 'good'", r"m\.py: score\(\), row r0: returned 'good'; return a finite number"),
        ("def score(p, r, row): return None", "returned None"),
        ("def score(p, r, row): return float('nan')", "returned nan"),
        ("import sys\ndef score(p, r, row):\n    sys.exit(3)\n", r"m\.py:3: score failed, row r0: SystemExit: 3"),
        ("def score(p): return 1", r"score failed, row r0: TypeError: .*takes 1 positional"),
        ("def score(p, r, row)\n    return 1", r"m\.py:1: is no valid Python"),
        ("import nothing_there", r"m\.py:1: the file failed: ModuleNotFoundError"),
        ("x = 1", r"m\.py: has no function 'score'"),
        (
            "def score(predictions, references, rows): return [1, 2]",
            r"must return a list with one number for each of 1",
        ),
    ],
)
def test_every_fault_names_the_file_and_the_row(tmp_path: Path, source: str, fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        column(own(tmp_path / "m.py", source), rows("a"))


@pytest.mark.parametrize("name", ["../outside.py:score", "/etc/passwd.py:score", "link.py:score", "evaluate:./../up"])
def test_code_outside_the_task_s_folder_is_refused(task: Path, name: str) -> None:
    outside = task.parent.parent / "outside.py"
    outside.write_text("def score(p, r, row): return 1")
    (task.parent / "link.py").symlink_to(outside)
    task.write_text(f"name: made\nsource: {{location: x}}\nmetrics: {{mine: {{metric: '{name}'}}}}")
    with pytest.raises(UserError, match=r"task\.yaml: metric .*: lies outside the folder of its task file"):
        load_spec(str(task))


def test_a_missing_file_and_options_that_mean_nothing_are_refused(task: Path) -> None:
    task.write_text("name: made\nsource: {location: x}\nmetrics: {mine: {metric: 'none.py:score'}}")
    with pytest.raises(UserError, match=r"none\.py: no such file; the path is relative to the task file"):
        load_spec(str(task))
    task.write_text("name: made\nsource: {location: x}\nmetrics: {mine: {metric: 'my_metric.py:score', k: 3}}")
    with pytest.raises(UserError, match=r"k means nothing to my_metric\.py:score"):
        load_spec(str(task))


def test_a_check_loads_the_code_before_a_model_is_asked(task: Path) -> None:
    spec = load_spec(str(task))
    refused = [finding.what for finding in check_code(spec, allowed=False)]
    assert len(refused) == 2 and "`allow_code: true`" in refused[0]
    assert list(check_code(spec, allowed=True)) == []
    (task.parent / "my_metric.py").write_text("import nothing_there")
    assert [finding.level for finding in check_code(spec, allowed=True)] == ["error", "error"]


def test_a_changed_file_has_another_digest(task: Path) -> None:
    name = load_spec(str(task)).metrics["words"].metric or ""
    before = code_digest(name)
    (task.parent / "my_metric.py").write_text(WORDS + "\n")
    assert before and code_digest(name) != before
    assert code_digest("evaluate:accuracy") is None and is_own("evaluate:accuracy") and not is_own("anls")


def test_commands_run_the_code_only_with_the_flag(task: Path, tmp_path: Path) -> None:
    run = write_evaluation(tmp_path / "run", [made_row(n, "a red dog") for n in range(4)], metrics=["accuracy"])
    refused = CliRunner().invoke(app, ["score", str(run), "--task", str(task)])
    assert refused.exit_code and isinstance(refused.exception, UserError) and "--allow-code" in str(refused.exception)
    scored = CliRunner().invoke(app, ["score", str(run), "--task", str(task), "--allow-code"])
    assert scored.exit_code == 0, scored.output
    entry = json.loads((run / "scores.json").read_text())["tasks"]["made"]["metrics"]["words"]
    assert entry["value"] == 1.0 and "my_metric.py" in entry["variant"]
    again = CliRunner().invoke(app, ["explain", str(run), "made/test/1"])
    assert again.exit_code == 0 and "words" in again.output
    assert CliRunner().invoke(app, ["compare", str(run), str(run), "--allow-code"]).exit_code == 0


def test_a_module_of_evaluate_that_scores_rows(evaluate_cache: Path) -> None:
    settings = MetricSettings(metric=f"evaluate:{evalsuite.module_path('anls')}")
    found = column(settings, rows("red", "rod", None))
    assert found.per_row.tolist() == pytest.approx([1.0, 2 / 3, 0.0]) and found.variant.startswith("mean of anls")
    with pytest.raises(UserError, match="its result has no 'f1'; `result:` can be anls, per_sample"):
        column(settings.model_copy(update={"result": "f1"}), rows("red"))


MODULE = """
import datasets
import evaluate

class Module(evaluate.Metric):
    def _info(self):
        text = datasets.Value("string")
        return evaluate.MetricInfo(description="", citation="", inputs_description="",
            features=datasets.Features({"predictions": text, "references": text}))

    def _compute(self, predictions, references, weight=1):
        return {"share": weight * sum(map(str.__eq__, predictions, references)) / len(predictions)}
"""


def test_a_number_of_all_rows_together_has_no_interval(tmp_path: Path, evaluate_cache: Path) -> None:
    (tmp_path / "share.py").write_text(MODULE)
    settings = MetricSettings(metric=f"evaluate:{tmp_path / 'share.py'}", arguments={"weight": 2})
    found = column(settings, rows("red", "blue", None, "red", references=2))
    assert "without an interval; compared with the first reference only (4 rows have more)" in found.variant
    (whole,) = intervals([(found.sums, found.estimate, None)], None)
    assert (whole.value, whole.low, whole.high) == (pytest.approx(1.0), None, None)
    (part,) = intervals([(found.sums, found.estimate, np.arange(4) < 2)], None)
    assert np.isnan(part.value) and part.low is None
    worse = column(settings, rows("blue", "blue", None, "red"))
    difference = paired_difference(found.sums, worse.sums, np.arange(4), found.estimate)
    assert (difference.value, difference.low, difference.p) == (pytest.approx(-0.5), None, None)


def test_a_module_that_is_not_there_is_named() -> None:
    with pytest.raises(UserError, match="metric evaluate:/nowhere/at_all: cannot be loaded"):
        column(MetricSettings(metric="evaluate:/nowhere/at_all"), rows("a"))


def test_task_files_keep_the_absolute_path(task: Path) -> None:
    spec = load_spec(str(task))
    again = TaskSpec.model_validate(spec.to_json())
    assert again.metrics["words"].metric == f"{task.parent.resolve() / 'my_metric.py'}:score"


def test_a_run_needs_the_recipe_s_permission_and_scores_again_when_the_file_changes(tmp_path: Path) -> None:
    task = served_task(tmp_path / "data", [f"calm {number}" for number in range(6)])
    (task.parent / "mine.py").write_text("def score(prediction, references, row): return 0.25")
    task.write_text(task.read_text().replace("metrics: [accuracy]", "metrics: {mine: {metric: 'mine.py:score'}}"))
    with unruly_server() as server:
        recipe = served_recipe(tmp_path / "r.yaml", server.url, task, tmp_path / "out")
        with pytest.raises(UserError, match=r"nothing was asked: .*mine\.py:score: is code, which only runs if"):
            run_recipe(recipe)
        assert server.asked == [] and not (tmp_path / "out").exists()
        recipe.write_text(recipe.read_text() + "allow_code: true\n")
        folder, scores, worked = run_recipe(recipe)
        assert worked and scores["tasks"]["served"]["metrics"]["mine"]["value"] == 0.25
        assert not run_recipe(recipe)[2]
        (task.parent / "mine.py").write_text("def score(prediction, references, row): return 0.75")
        asked = len(server.asked)
        _, scores, worked = run_recipe(recipe)
        assert worked and scores["tasks"]["served"]["metrics"]["mine"]["value"] == 0.75 and len(server.asked) == asked
        inputs = json.loads((folder / "manifest.json").read_text())["inputs"]
        assert [name for name in inputs if name.startswith("metric ")] == [f"metric {task.parent / 'mine.py'}:score"]
