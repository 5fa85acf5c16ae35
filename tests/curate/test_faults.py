"""A full disk, a read-only folder, two runs at once: one sentence, exit code 2, and the next run ends as ever."""

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from tests.curate.test_pipeline import digests, full, make

ROOT = Path(__file__).parents[2]
CURATE = "import sys; from curate.cli import main; sys.argv[0] = 'curate'; main()"


def prepare(folder: Path) -> Path:
    """The small set of ``test_pipeline`` with a recipe of relative paths."""
    make(folder)
    recipe = full(Path(), splits={"train": 0.5, "val": 0.5}, exports=["webdataset", {"to": "trl", "images": "copy"}])
    (folder / "recipe.yaml").write_text(
        yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    )
    return folder


def environment():
    return {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "COLUMNS": "200"}


def curate(folder: Path, *arguments, before=""):
    """``curate …`` as a process of its own; ``before`` is Python that it runs first."""
    command = [sys.executable, "-c", before + CURATE, *map(str, arguments)]
    return subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=500)


def one_sentence(done, *words):
    assert done.returncode == 2, done.stderr
    last = done.stderr.strip().splitlines()[-1]
    assert last.startswith("error: ")
    assert "Traceback" not in done.stderr
    for word in words:
        assert word in last


@pytest.fixture(scope="module")
def expected(tmp_path_factory):
    folder = prepare(tmp_path_factory.mktemp("undisturbed"))
    done = curate(folder, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    return results(folder / "out")


def results(out: Path):
    return {name: digest for name, digest in digests(out).items() if not name.endswith("manifest.json")}


@pytest.mark.slow
def test_files_that_may_not_grow(expected, tmp_path):
    """The kernel's limit on the size of a file: writes fail at another place for each limit."""
    folder = prepare(tmp_path)
    for limit in (0, 1500, 5000, 9000):
        cap = f"import resource; resource.setrlimit(resource.RLIMIT_FSIZE, ({limit}, {limit})); "
        one_sentence(curate(folder, "run", "recipe.yaml", before=cap), "File too large")
        assert not (folder / "out/manifest.json").exists()
        assert not list((folder / "out").rglob("*.tmp"))
    done = curate(folder, "run", "recipe.yaml")
    assert done.returncode == 0, done.stderr
    assert results(folder / "out") == expected


IN_A_SMALL_DISK = """
set -e
mkdir -p out copy
mount -t tmpfs -o size={size} none out
step() {{ name=$1; shift; set +e; "$@" >$name.out 2>$name.err; echo $? >$name.code; set -e; }}
step full {curate} run recipe.yaml
test ! -e out/manifest.json && touch no_manifest
mount -o remount,size=64m out
step finished {curate} run recipe.yaml
mount -o remount,ro out
step decide {curate} decide recipe.yaml
step export {curate} export recipe.yaml --to jsonl
step plot {curate} plot recipe.yaml
cp -r out/. copy/
"""


@pytest.mark.slow
def test_a_disk_that_fills_up_and_one_that_is_read_only(expected, tmp_path):
    """A file system in memory of our own, in a mount namespace of our own."""
    probe = ["unshare", "--mount", "sh", "-c", f"mount -t tmpfs -o size=64k none {tmp_path}"]
    try:
        allowed = subprocess.run(probe, capture_output=True, timeout=60).returncode == 0
    except OSError:
        allowed = False
    if not allowed:
        pytest.skip("this user may not mount a file system")
    folder = prepare(tmp_path)
    script = IN_A_SMALL_DISK.format(size="96k", curate=f'{sys.executable} -c "{CURATE}"')
    command = ["unshare", "--mount", "sh", "-c", script]
    done = subprocess.run(command, cwd=folder, env=environment(), capture_output=True, text=True, timeout=500)
    assert done.returncode == 0, done.stderr

    def result(name):
        error, code = (folder / f"{name}.err").read_text(), int((folder / f"{name}.code").read_text())
        return subprocess.CompletedProcess(name, code, "", error)

    one_sentence(result("full"), "No space left on device")
    assert (folder / "no_manifest").exists()
    assert result("finished").returncode == 0
    for name in ("decide", "export", "plot"):
        one_sentence(result(name), "Read-only file system; choose a folder")
    assert results(folder / "copy") == expected
    assert (folder / "copy/manifest.json").is_file(), "what was finished is untouched"


@pytest.mark.slow
def test_two_at_once(expected, tmp_path):
    folder = prepare(tmp_path)
    (folder / "out/work").mkdir(parents=True)
    with (folder / "out/work/lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        one_sentence(curate(folder, "run", "recipe.yaml"), "another curate is at work there; wait for it, or end it")
    assert sorted(path.name for path in (folder / "out").rglob("*")) == ["lock", "work"]
    assert curate(folder, "run", "recipe.yaml").returncode == 0
    assert results(folder / "out") == expected
