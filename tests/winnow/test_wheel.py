"""The wheel works outside of the repository: what is in it, its commands, and the demo on a slice."""

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from tests import forks
from winnow.demo.vlm import CLIP_FOLDER, FEATURE_LAYER, SELECT_STRATEGY, save_checkpoint
from winnow.files import digest_of, write_json
from winnow.run import MANIFEST

REPO = Path(__file__).parents[2]
PACKAGES = {"winnow", "curate", "finetune", "evalsuite", "serving", "dashboards"}

pytestmark = pytest.mark.slow


def run(command, **options):
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, check=False, **options)
    assert done.returncode == 0, f"{' '.join(map(str, command))}\n{done.stdout}\n{done.stderr}"
    return done.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, so that no earlier build of the checkout is packed again."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in (*PACKAGES, "pyproject.toml", "README.md", "LICENSE"):
        copy = shutil.copytree if (REPO / name).is_dir() else shutil.copy2
        copy(REPO / name, source / name)
    command = [sys.executable, "-m", "pip", "wheel", source, "--no-deps", "--no-build-isolation", "--no-index"]
    run([*command, "--quiet", "--wheel-dir", out])
    (built,) = out.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel, tmp_path_factory):
    """A folder with the installed wheel, in front of this environment's packages."""
    site = tmp_path_factory.mktemp("site")
    run([sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index", "--target", site, wheel])
    return site


@pytest.fixture
def environment(installed):
    return {**os.environ, "PYTHONPATH": str(installed), "OMP_NUM_THREADS": "1"}


@pytest.fixture
def winnow(installed, environment, tmp_path):
    return lambda *arguments: run([installed / "bin/winnow", *arguments], cwd=tmp_path, env=environment)


@pytest.fixture
def winnow_in_forks(environment, tmp_path, tmp_path_factory):
    """The same; it and the commands that it starts are forks."""
    script = str(forks.executable(tmp_path_factory.mktemp("bin")))
    code = f"import sys; sys.executable = {script!r}; from winnow.cli import main; main()"
    return lambda *arguments: run(forks.python("-c", code, *map(str, arguments)), cwd=tmp_path, env=environment)


def test_the_wheel_holds_six_packages_and_what_they_read(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0] for name in names if ".dist-info/" not in name} == PACKAGES
    data = {".yaml", ".jinja", ".css", ".js", ".html", ".safetensors", ".json"}
    tracked = run(["git", "ls-files", *sorted(PACKAGES)], cwd=REPO).splitlines()
    expected = {name for name in tracked if Path(name).suffix in {".py", *data}}
    assert expected <= set(names)
    assert {f"{stage}/recipes/demo.yaml" for stage in ("curate", "finetune")} <= expected
    assert {"winnow/demo/clip/open_clip_model.safetensors", "evalsuite/tasks/easy_vqa.yaml"} <= expected


def test_the_commands_are_those_of_the_wheel(winnow, installed):
    (metadata,) = installed.glob("winnow_vlm-*.dist-info")
    assert winnow("--version").strip() == f"winnow {metadata.stem.split('-')[1]}"
    report = winnow("doctor")
    assert "(installed package)" in report and "commit" not in report


def put_tiny_model(folder):
    """A tiny random language model where the demo would build SmolLM2, under the manifest that makes it current."""
    save_checkpoint(folder, CLIP_FOLDER, tiny=True, feature_layer=FEATURE_LAYER, strategy=SELECT_STRATEGY, seed=0)
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["recipe"]["tiny"] = False
    manifest["recipe_digest"] = digest_of(manifest["recipe"])
    write_json(folder / MANIFEST, manifest)


def test_the_demo_runs_in_a_folder_of_its_own(winnow_in_forks, tmp_path):
    winnow = winnow_in_forks
    put_tiny_model(tmp_path / "data/models/demo-vlm")
    printed = winnow("demo", "--images", 40, "--steps", 2, "--questions", 8)
    assert "demo-vlm: is current, nothing to do" in printed
    for path in (
        "data/curated/demo/README.md",
        "data/runs/demo/report.md",
        "data/evals/demo-base/report.html",
        "data/evals/demo-tuned/report.html",
    ):
        assert (tmp_path / path).is_file() and path in printed
    for made in ("curated/demo", "runs/demo", "evals/demo-base", "evals/demo-tuned"):
        assert json.loads((tmp_path / "data" / made / MANIFEST).read_text())["git_commit"] is None  # of the wheel
    assert "winnow dashboards --data data" in printed
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
    again = winnow("demo", "--only", "curate", "--images", 40, "--steps", 2, "--questions", 8)
    assert "is up to date, nothing to do" in again
