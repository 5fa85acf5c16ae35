"""Manifests, stages and folders that appear whole."""

import os
import subprocess

import pytest

from winnow.errors import UserError, disk_problem
from winnow.run import (
    MANIFEST,
    Stages,
    file_stats,
    git_commit,
    installed_version,
    is_current,
    read_manifest,
    whole_folder,
    write_manifest,
)


def finish(folder, *, recipe=None, inputs=None, outputs=()):
    write_manifest(
        folder,
        stage="test",
        recipe=recipe or {"name": "x"},
        inputs=inputs or {},
        outputs=outputs,
        counts={},
        seconds={"all": 1.23456},
        seeds={},
        extra={"more": 1},
    )


def test_a_result_is_current_until_recipe_inputs_or_outputs_change(tmp_path):
    made = tmp_path / "made.txt"
    made.write_text("a")
    assert not is_current(tmp_path, recipe={"name": "x"}, inputs={})
    finish(tmp_path, inputs={"in": "1"}, outputs=[made])
    assert is_current(tmp_path, recipe={"name": "x"}, inputs={"in": "1"})
    assert not is_current(tmp_path, recipe={"name": "y"}, inputs={"in": "1"})
    assert not is_current(tmp_path, recipe={"name": "x"}, inputs={"in": "2"})
    made.unlink()
    assert not is_current(tmp_path, recipe={"name": "x"}, inputs={"in": "1"})


def test_the_manifest_names_winnows_own_code_not_the_users_repository(tmp_path, monkeypatch):
    for command in (
        ["init", "-q"],
        ["-c", "user.name=u", "-c", "user.email=u@x", "commit", "-q", "--allow-empty", "-m", "m"],
    ):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    users = subprocess.run(["git", "rev-parse", "HEAD"], cwd=tmp_path, capture_output=True, text=True, check=True)
    own = git_commit()
    monkeypatch.chdir(tmp_path)
    finish(tmp_path)
    manifest = read_manifest(tmp_path, finish_with="")
    assert manifest["git_commit"] == own != users.stdout.strip()
    assert manifest["winnow"] == installed_version()
    assert manifest["more"] == 1 and manifest["seconds"] == {"all": 1.235}


def test_a_copy_outside_of_a_checkout_has_no_commit(tmp_path, monkeypatch):
    monkeypatch.setattr("winnow.run.__file__", str(tmp_path / "site-packages" / "winnow" / "run.py"))
    assert git_commit() is None


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda folder: None, "no such folder; make it with `make it`"),
        (lambda folder: folder.mkdir(), "did not finish; finish it with `make it`"),
        (lambda folder: (folder.mkdir(), (folder / MANIFEST).write_text("{")), "not valid JSON"),
    ],
)
def test_unfinished_folders_are_refused_with_the_command(tmp_path, make, words):
    make(tmp_path / "out")
    with pytest.raises(UserError, match=words):
        read_manifest(tmp_path / "out", finish_with="make it")


def test_a_stage_runs_again_only_when_its_key_changed_or_its_output_is_gone(tmp_path):
    out, ran = tmp_path / "out", []

    def action():
        ran.append(1)
        out.write_text("done")

    for key, runs in ((1, 1), (1, 1), (2, 2), (2, 2)):
        Stages(tmp_path).run_if_stale("write", key, [out], action)
        assert len(ran) == runs
    out.unlink()
    stages = Stages(tmp_path)
    stages.run_if_stale("write", 2, [out], action)
    assert len(ran) == 3 and list(stages.seconds) == ["write"]


def test_a_stage_that_failed_is_stale_even_with_its_output_there(tmp_path):
    out = tmp_path / "out"
    out.write_text("of an earlier run")

    def fail():
        raise RuntimeError

    Stages(tmp_path).run_if_stale("write", 1, [out], lambda: None)
    with pytest.raises(RuntimeError):
        Stages(tmp_path).run_if_stale("write", 2, [out], fail)
    ran = []
    Stages(tmp_path).run_if_stale("write", 1, [out], lambda: ran.append(1))
    assert ran == [1]


def test_values_are_kept_for_later_runs_and_a_damaged_state_is_forgotten(tmp_path):
    Stages(tmp_path).set("count", [1, 2])
    assert Stages(tmp_path).get("count") == [1, 2]
    (tmp_path / "state.json").write_text("{")
    assert Stages(tmp_path).get("count") is None


def test_file_stats_change_with_the_file_and_not_with_the_folder(tmp_path):
    first, second = tmp_path / "a" / "x", tmp_path / "b" / "x"
    for path in (first, second):
        path.parent.mkdir()
        path.write_text("1")
        os.utime(path, ns=(5, 5))
    before = file_stats(first, below=first.parent)
    assert before == file_stats(second, below=second.parent) == [["x", 1, 5]]
    first.write_text("22")
    assert file_stats(first, below=first.parent) != before
    assert file_stats(tmp_path / "none") == [[str(tmp_path / "none"), None, None]]


def test_a_folder_appears_whole_or_not_at_all(tmp_path):
    out = tmp_path / "out"
    with pytest.raises(RuntimeError), whole_folder(out, stage="test") as folder:
        (folder / "half").write_text("")
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    for name in ("first", "second"):
        with whole_folder(out, stage="test") as folder:
            (folder / name).write_text("")
            finish(folder)
    assert sorted(path.name for path in out.iterdir()) == [MANIFEST, "second"]
    with pytest.raises(UserError, match="was not made by this command"), whole_folder(out, stage="other"):
        pass


def test_a_folder_in_the_place_of_a_file_is_named_in_one_sentence(tmp_path):
    (tmp_path / "state.json").mkdir()
    with pytest.raises(OSError) as raised:  # the console scripts make a sentence of it
        Stages(tmp_path).set("read", 1)
    said = disk_problem(raised.value)
    assert said is not None and said.startswith(f"{tmp_path / 'state.json'}: ") and "move it away" in said
