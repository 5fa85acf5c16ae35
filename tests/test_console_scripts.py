"""What holds for all four console scripts: quick help, and one clear sentence for bad input."""

import subprocess
import sys
from pathlib import Path

import pytest

HEAVY = ("torch", "transformers", "open_clip", "streamlit", "matplotlib", "ray", "peft", "onnxruntime")
BAD_CALLS = [
    ["curate", "run", "no-such.yaml"],
    ["curate", "decide", "no-such.yaml"],
    ["curate", "inspect", "no-such-place"],
    ["curate", "explain", "some/id", "--curated", "no-such-folder"],
    ["finetune", "train", "no-such.yaml"],
    ["finetune", "preview", "no-such.yaml"],
    ["evalsuite", "run", "no-such.yaml"],
    ["evalsuite", "compare", "no-such-a", "no-such-b"],
    ["dashboards", "--data", "no-such-folder"],
]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("package", ["curate", "finetune", "evalsuite", "dashboards"])
def test_help_loads_nothing_heavy(package: str) -> None:
    code = f"import sys; import {package}.cli; print(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", ["curate", "finetune", "evalsuite", "dashboards"])
def test_help_names_what_the_stage_does(package: str, tmp_path: Path) -> None:
    done = call(package, "--help", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert package in done.stdout.lower()


@pytest.mark.parametrize("arguments", BAD_CALLS, ids=" ".join)
def test_bad_input_is_one_sentence_and_exit_code_2(arguments: list[str], tmp_path: Path) -> None:
    done = call(*arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "Traceback" not in done.stderr
    assert "no-such" in done.stderr
    assert list(tmp_path.iterdir()) == []  # nothing half-written


@pytest.mark.parametrize("command", [["curate", "run"], ["finetune", "train"], ["evalsuite", "run"]], ids=" ".join)
def test_unknown_key_names_its_neighbour(command: list[str], tmp_path: Path) -> None:
    recipe = tmp_path / "recipe.yaml"
    recipe.write_text("nam: demo\n")
    done = call(*command, str(recipe), cwd=tmp_path)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "'nam'" in done.stderr and "name" in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["recipe.yaml"]
