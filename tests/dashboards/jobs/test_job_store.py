from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from dashboards.jobs import locks
from dashboards.jobs.commands import command_of
from dashboards.jobs.store import (
    ALIVE,
    Job,
    all_jobs,
    begin_next,
    call_off,
    end,
    find_job,
    folder_of,
    in_order,
    jobs_folder,
    new_job,
    put_back,
    recipe_of,
    stop_asked,
    worker_lock,
)
from tests.dashboards.jobs.runs import put
from winnow.errors import UserError


def test_jobs_are_taken_in_the_order_in_which_they_were_asked_for(tmp_path: Path) -> None:
    asked = [put(tmp_path, "name: a\n", f"job{number}").id for number in range(3)]
    assert [job.id for job in in_order(all_jobs(tmp_path, "check"))] == asked
    first = begin_next(tmp_path, "check")
    assert first and first.id == asked[0]
    end(tmp_path, first, "failed", code=1)
    put_back(tmp_path, asked[0], "bob")
    assert [job.id for job in in_order(all_jobs(tmp_path, "check"))] == [asked[1], asked[2], asked[0]]
    again = find_job(tmp_path, asked[0])
    assert again and (again.by, again.code, again.started) == ("bob", None, None)


def test_continuing_a_fresh_run_does_not_delete_it_again(tmp_path: Path) -> None:
    asked = {"stage": "finetune", "lane": "run", "name": "a", "result": tmp_path, "by": "ann", "below": tmp_path}
    job = new_job(tmp_path, **asked, recipe="name: a\n", options=("fresh", "offline"))  # type: ignore[arg-type]
    assert command_of("finetune", folder_of(tmp_path, job), job.options, check=False)[4:-1] == [
        "train", "--fresh", "--offline",
    ]  # fmt: skip
    assert command_of("finetune", folder_of(tmp_path, job), job.options, check=True)[4:-1] == ["plan", "--offline"]
    call_off(tmp_path, job.id, "ann")
    assert put_back(tmp_path, job.id, "ann").options == ("fresh", "offline"), "it was never started"
    begun = begin_next(tmp_path, "run")
    assert begun
    end(tmp_path, begun, "interrupted", code=-9)
    assert put_back(tmp_path, job.id, "ann").options == ("offline",)


def test_lanes_do_not_mix(tmp_path: Path) -> None:
    put(tmp_path, "name: a\n", "a", "run")
    assert begin_next(tmp_path, "check") is None and begin_next(tmp_path, "run") is not None


def test_what_waits_is_called_off_and_what_runs_is_asked_to_stop(tmp_path: Path) -> None:
    waits = put(tmp_path, "name: a\n", "a")
    call_off(tmp_path, waits.id, "bob")
    stopped = find_job(tmp_path, waits.id)
    assert stopped and stopped.state == "stopped" and stopped.note == "called off by bob"
    runs = put(tmp_path, "name: b\n", "b")
    assert begin_next(tmp_path, "check")
    alive = locks.take(folder_of(tmp_path, runs) / ALIVE)
    assert alive is not None and stop_asked(tmp_path, runs) is None
    call_off(tmp_path, runs.id, "bob")
    assert stop_asked(tmp_path, runs) == "stop"
    call_off(tmp_path, runs.id, "bob")
    assert stop_asked(tmp_path, runs) == "kill"
    with pytest.raises(UserError, match="is running; only one that ended"):
        put_back(tmp_path, runs.id, "bob")
    os.close(alive)


def test_a_job_whose_process_and_worker_are_gone_was_interrupted(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\n", "a")
    worker = locks.take(tmp_path / "jobs" / worker_lock(tmp_path, "check", platform.node()).name)
    assert worker is not None and begin_next(tmp_path, "check")
    running = find_job(tmp_path, job.id)
    assert running and running.state == "running", "its worker is about to start it"
    os.close(worker)
    gone = find_job(tmp_path, job.id)
    assert gone and gone.state == "interrupted"
    assert put_back(tmp_path, job.id, "ann").state == "waiting"


def test_a_run_that_ended_while_nobody_looked_has_its_result(tmp_path: Path) -> None:
    manifest = tmp_path / "curated" / "a" / "manifest.json"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    os.utime(manifest, (1, 1))
    job = put(tmp_path, "name: a\n", "a", "run")
    assert begin_next(tmp_path, "run")
    before = find_job(tmp_path, job.id)
    assert before and before.state == "interrupted", "that is the result of an earlier run"
    manifest.write_text("{}")
    after = find_job(tmp_path, job.id)
    assert after and after.state == "finished"


@pytest.mark.parametrize("id", ["", "..", "../20261129-010203-abcdef", "20261129-010203-ABCDEF", "x\0", "a" * 300])
def test_only_ids_of_ours_name_a_job(tmp_path: Path, id: str) -> None:
    put(tmp_path, "name: a\n", "a")
    assert find_job(tmp_path, id) is None
    with pytest.raises(UserError, match="there is none of that id"):
        call_off(tmp_path, id, "bob")


def test_a_folder_that_is_no_job_is_not_run(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\n", "a")
    state = folder_of(tmp_path, job) / "job.json"
    for change in ({"stage": "rm"}, {"command": ["rm"]}, {"id": "20261129-010203-abcdef"}, {"options": ["--out=x"]}):
        state.write_text(json.dumps({**job.model_dump(), **change}))
        assert begin_next(tmp_path, "check") is None and all_jobs(tmp_path, "check") == []
    state.write_text("{")
    assert all_jobs(tmp_path, "check") == []


def test_a_job_of_another_machine_waits_for_it_or_is_taken_over(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\n", "a")
    state = folder_of(tmp_path, job) / "job.json"
    state.write_text(json.dumps({**job.model_dump(), "machine": "elsewhere"}))
    assert begin_next(tmp_path, "check") is None
    put_back(tmp_path, job.id, "ann")
    assert begin_next(tmp_path, "check")


def test_old_checks_are_forgotten_and_runs_never(tmp_path: Path) -> None:
    for lane in ("run", "check"):
        for number in range(23):
            job = put(tmp_path, "name: a\n", f"{number}", lane)
            end(tmp_path, job, "finished", code=0)
    put(tmp_path, "name: a\n", "last")
    assert len(all_jobs(tmp_path, "run")) == 23
    assert len(all_jobs(tmp_path, "check")) == 21
    assert len(list(jobs_folder(tmp_path).glob("*/recipe.yaml"))) == 44


def test_a_lock_lives_as_long_as_any_process_that_has_it(tmp_path: Path) -> None:
    path = tmp_path / "lock"
    assert not locks.is_held(path)
    mine = locks.take(path)
    assert mine is not None and locks.is_held(path) and locks.take(path, wait=0.1) is None
    child = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE, pass_fds=(mine,))
    os.close(mine)
    assert locks.is_held(path), "the child has it"
    child.kill()
    child.wait()
    assert not locks.is_held(path)
    again = locks.take(path)
    assert again is not None
    os.close(again)


def test_a_lock_is_not_written_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "target").write_text("kept")
    (tmp_path / "lock").symlink_to(tmp_path / "target")
    with pytest.raises(OSError):
        locks.take(tmp_path / "lock")
    assert (tmp_path / "target").read_text() == "kept"


def _copied(root: Path, job: Job, **changes: object) -> Path:
    """The job's data folder as somebody else would hand it on, with a job that they wrote."""
    elsewhere = Path(shutil.copytree(root, root.with_name(f"{root.name}-copy")))
    state = folder_of(elsewhere, job) / "job.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | changes))
    return elsewhere


@pytest.mark.parametrize(
    "changes",
    [{}, {"stage": "evalsuite"}, {"below": "/"}, {"options": ["fresh"]}, {"result": "/tmp/x"}, {"lane": "run"}],
)
def test_a_queue_from_elsewhere_is_not_run(tmp_path: Path, changes: dict[str, object]) -> None:
    root = tmp_path / "data"
    job = put(root, "name: a\n", "a")
    copy = _copied(root, job, **changes)
    found = find_job(copy, job.id)
    assert found and found.state == "stopped" and "recipe" in found.note
    assert begin_next(copy, found.lane) is None
    assert put_back(copy, job.id, "ann").state == "waiting"  # somebody here wants it
    begun = begin_next(copy, found.lane)
    assert begun and begun.id == job.id


def test_a_recipe_that_was_exchanged_is_not_run(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\n", "a")
    (folder_of(tmp_path, job) / "recipe.yaml").write_text("name: b\n")
    assert begin_next(tmp_path, "check") is None


def test_without_a_home_the_key_is_among_the_temporary_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "file"))
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    put(tmp_path / "data", "name: a\n", "a")
    assert begin_next(tmp_path / "data", "check")
    (key,) = tmp_path.glob("winnow-*/*")
    assert key.stat().st_mode & 0o077 == 0 and key.parent.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("process", [0, 1, -1])
def test_no_signal_goes_to_everybody(tmp_path: Path, process: int) -> None:
    job = put(tmp_path, "name: a\n", "a")
    state = folder_of(tmp_path, job) / "job.json"
    state.write_text(json.dumps(json.loads(state.read_text()) | {"state": "running", "process": process}))
    assert find_job(tmp_path, job.id) is None, "it is no job"


@pytest.mark.parametrize("text", ["", "{}", "[]", "[" * 200_000, '{"kill": "yes"}', "\0"])
def test_a_broken_wish_to_stop_is_a_wish_to_stop(tmp_path: Path, text: str) -> None:
    job = put(tmp_path, "name: a\n", "a")
    (folder_of(tmp_path, job) / "stop.json").write_text(text)
    assert stop_asked(tmp_path, job) == "stop"


def test_a_data_folder_that_cannot_be_written_costs_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "jobs").write_text("a file where the folder belongs")
    with pytest.raises(UserError, match=r"jobs: cannot be written .* nothing was changed"):
        put(tmp_path, "name: a\n", "a")


def test_a_recipe_that_is_gone_or_no_text_is_named(tmp_path: Path) -> None:
    job = put(tmp_path, "name: a\n", "a")
    path = folder_of(tmp_path, job) / "recipe.yaml"
    path.write_bytes(b"\xff")
    with pytest.raises(UserError, match=r"recipe.yaml: cannot be read"):
        recipe_of(tmp_path, job)
    path.unlink()
    with pytest.raises(UserError, match=r"recipe.yaml: cannot be read"):
        recipe_of(tmp_path, job)
