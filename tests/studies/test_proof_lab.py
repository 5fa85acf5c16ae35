"""What all parts of a proof share: several stages at a time, and the questions that every arm is asked."""

import json
import threading
import time

import pytest
import yaml

from studies.demo import sets
from studies.demo.lab import Lab, run_stage
from studies.demo.sets import RawSet, write_exam
from studies.demo.settings import StudySettings
from tests.loop import REPO
from winnow.demo.dataset import make_dataset
from winnow.demo.defects import Shares
from winnow.errors import UserError

SETTINGS = StudySettings.model_validate(
    {
        "training": {"steps": 1, "batch_size": 1}, "questions": 40, "kinds": ["color", "shape"],
        "comparisons": [{"pictures": 0.1, "answers": 0.2, "trainings": 1}],
    }
)  # fmt: skip


def test_results_keep_their_order_and_work_runs_side_by_side(tmp_path):
    together = threading.Barrier(2, timeout=20)  # breaks unless two are in it at once

    def work(number):
        together.wait()
        return number * 10

    assert Lab(SETTINGS, tmp_path, 2).map("numbers", work, [1, 2, 3, 4]) == [10, 20, 30, 40]


def test_the_first_error_ends_it(tmp_path):
    begun = []

    def work(number):
        begun.append(number)
        time.sleep(0.01)
        if number == 1:
            raise UserError("no such set")

    with pytest.raises(UserError, match="no such set"):
        Lab(SETTINGS, tmp_path, 2).map("numbers", work, list(range(50)))
    assert len(begun) < 50


def test_a_failed_stage_ends_with_the_end_of_its_log(tmp_path):
    recipe = {"name": "x", "sources": [{"location": "no-such-file.jsonl"}]}
    with pytest.raises(UserError, match=r"(?s)no-such-file\.jsonl.*`curate run .*out\.yaml` failed with exit code 2"):
        run_stage("curate", "run", recipe, tmp_path / "sets" / "out")


def test_other_sets_get_another_folder(tmp_path):
    other = SETTINGS.model_copy(update={"kinds": ["color"]})
    assert Lab(SETTINGS, tmp_path, 1).sets != Lab(other, tmp_path, 1).sets
    same_sets = SETTINGS.model_copy(update={"questions": 7})
    assert Lab(SETTINGS, tmp_path, 1).sets == Lab(same_sets, tmp_path, 2).sets


@pytest.fixture(scope="module")
def raw(tmp_path_factory):
    folder = tmp_path_factory.mktemp("raw")
    make_dataset(folder / "whole", images=80, shares=Shares.only())
    make_dataset(folder / "few", images=20, shares=Shares.only())
    return folder


def test_half_of_the_questions_are_about_images_that_can_have_leaked(raw, tmp_path, monkeypatch):
    monkeypatch.setattr(sets, "TEST", raw / "whole/test.jsonl")
    monkeypatch.setattr(sets, "TASK", REPO / "evalsuite/tasks/easy_vqa.yaml")
    write_exam(RawSet(raw / "few"), SETTINGS, tmp_path / "exam")
    rows = [json.loads(line) for line in (tmp_path / "exam/questions.jsonl").read_text().splitlines()]
    near = {json.loads(line)["id"] for line in (raw / "few/test.jsonl").read_text().splitlines()}
    of_kind = [row for row in map(json.loads, (raw / "few/test.jsonl").read_text().splitlines())
               if row["meta"]["question_type"] != "yes_no"]  # fmt: skip
    assert {row["meta"]["question_type"] for row in rows} == {"color", "shape"}
    assert sum(row["id"] in near for row in rows) == min(20, len(of_kind))
    assert len({row["id"] for row in rows}) == len(rows)
    task = yaml.safe_load((tmp_path / "exam/task.yaml").read_text())
    assert task["source"] == {"location": str(tmp_path / "exam/questions.jsonl"), "image_root": str(raw / "whole")}
