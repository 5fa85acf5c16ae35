"""Every shipped task passes its own check on rows in the layout of its benchmark."""

from pathlib import Path

import pytest
from test_benchmarks import TASKS, asked_and_answered
from test_shipped_tasks import CASES, own_images, prepared  # noqa: F401  (the fixture keeps images out of data/)

from evalsuite.check import check_rows, check_settings
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import load_spec


def errors(task: Task) -> list[str]:
    found = [*check_settings(task.spec), *check_rows(task)]
    return [finding.sentence() for finding in found if finding.level == "error"]


@pytest.mark.parametrize("name", CASES)
def test_a_shipped_task_has_no_error(name: str, tmp_path: Path) -> None:
    prepared(name, tmp_path)
    assert errors(load_task(load_spec(str(tmp_path / "mine.yaml")), limit=None, seed=0)) == []


@pytest.mark.parametrize("name", TASKS)
def test_a_benchmark_has_no_error(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert errors(asked_and_answered(name, tmp_path, monkeypatch)[0]) == []
