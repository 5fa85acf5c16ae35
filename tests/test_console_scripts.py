"""What holds for all console scripts: quick help of one look, and one clear sentence for bad input."""

import subprocess
import sys
from pathlib import Path

import duckdb
import pytest

from winnow import console

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
    ["serving", "start", "no-such-folder", "--engine", "vllm"],
    ["serving", "check", "http://127.0.0.1:9/v1", "--run", "no-such-run"],
    ["dashboards", "--data", "no-such-folder"],
    ["winnow", "doctor", "no-such.yaml"],
    ["winnow", "curate", "run", "no-such.yaml"],
]
# A wrong command line, and what the error says about it.
WRONG_CALLS = [
    (["curate", "no-such"], "no such command 'no-such'"),
    (["curate", "run", "x.yaml", "--worker", "2"], "no such option: --worker; did you mean --workers"),
    (["curate", "run"], "missing argument 'RECIPE|LOCATION'"),
    (["finetune", "trian", "x.yaml"], "no such command 'trian'; did you mean 'train'?"),
    (["finetune", "train", "x.yaml", "--fersh"], "no such option: --fersh; did you mean --fresh?"),
    (["evalsuite", "slices", "x", "--top", "many"], "invalid value for '--top'"),
    (["evalsuite", "no-such"], "no such command 'no-such'"),
    (["serving", "start", "x"], "missing option '--engine'"),
    (["dashboards", "--prt", "1"], "no such option: --prt; did you mean --port?"),
    (["winnow", "no-such"], "no such command 'no-such'"),
    (["winnow", "curate", "no-such"], "no such command 'no-such'"),
]
SCRIPTS = ["winnow", "curate", "finetune", "evalsuite", "serving", "dashboards"]


def call(*arguments: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-m", *arguments], cwd=cwd, capture_output=True, text=True)


@pytest.mark.parametrize("package", SCRIPTS)
def test_help_loads_nothing_heavy(package: str) -> None:
    code = f"import sys; import {package}.cli; print(','.join(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == ""


@pytest.mark.parametrize("package", SCRIPTS)
@pytest.mark.parametrize("flag", ["--help", "-h"])
def test_help_says_what_the_command_does_with_an_example(package: str, flag: str, tmp_path: Path) -> None:
    done = call(package, flag, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"Usage: python -m {package} ")
    assert f"Example: {'serve' if package == 'serving' else package}" in done.stdout
    assert "╭" not in done.stdout  # no boxes, which break when lines are copied


@pytest.mark.parametrize(("arguments", "words"), WRONG_CALLS, ids=str)
def test_a_wrong_command_line_is_one_line_that_names_the_help(arguments: list[str], words: str, tmp_path: Path) -> None:
    done = call(*arguments, cwd=tmp_path)
    assert (done.returncode, done.stdout) == (2, "")
    (line,) = done.stderr.splitlines()
    assert line.startswith(f"error: {words}") and line.endswith("--help`")


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


def test_ctrl_c_in_the_middle_of_a_query_ends_with_130() -> None:
    app = console.new_app(single_command=True)

    class Interrupted:
        def __arrow_c_schema__(self) -> None:
            raise KeyboardInterrupt

        def __arrow_c_stream__(self, requested_schema: object = None) -> None:
            raise KeyboardInterrupt

    @app.command()
    def ask() -> None:
        duckdb.connect().register("rows", Interrupted())

    with pytest.raises(SystemExit) as ended:
        console.run(app, [])
    assert ended.value.code == 130
