"""`curate run LOCATION`: a result without a recipe of one's own, and the recipe that it leaves."""

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import datasets
import pyarrow.parquet as pq
import pytest

from curate.recipe import read_recipe
from curate.settings.sources import SourceSettings
from tests.curate import sets
from tests.curate.test_curate_cli import curate
from tests.curate.test_init import shop

REPO = Path(__file__).parents[2]


def photos(folder, images=6):
    for number in range(images):
        sets.save(folder / "photos" / f"{number}.jpg", sets.scene(number % 5, side=120), quality=90)
    (folder / "photos/broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 cut off")
    return "photos"


def table(folder):
    shop(folder)
    return "shop/rows.csv", "--image-root", "shop/pictures"


def features(folder):
    """Parquet with an Image feature, as `datasets` writes it."""
    (folder / "set").mkdir()
    rows = {"image": [sets.scene(number) for number in range(8)], "question": ["What?"] * 8, "answer": list("abcdefg ")}
    kinds = {"image": datasets.Image(), "question": datasets.Value("string"), "answer": datasets.Value("string")}
    datasets.Dataset.from_dict(rows, features=datasets.Features(kinds)).to_parquet(folder / "set/train.parquet")
    return "set/train.parquet"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("make", "name", "kept"), [(photos, "photos", 5), (table, "shop-rows", 27), (features, "set-train", 7)]
)
def test_no_recipe_is_needed(tmp_path, capsys, monkeypatch, make, name, kept):
    monkeypatch.chdir(tmp_path)
    made = make(tmp_path)
    location = (made,) if isinstance(made, str) else made
    code, out, err = curate(capsys, monkeypatch, "run", *location, "--workers", "1")
    assert code == 0, err
    folder = Path("data/curated") / name
    assert len((folder / "samples.jsonl").read_text().splitlines()) == kept
    *_, policy, off = out.splitlines()
    assert policy.startswith(f"policy: {folder}/recipe.yaml")
    assert "need a download" in off
    text = (folder / "recipe.yaml").read_text()
    assert "# Behind each rule: rows that it fired on, of all" in text
    before = digests(folder)

    code, out, _ = curate(capsys, monkeypatch, "run", *location)
    assert code == 0
    assert "is up to date, nothing to do" in out
    code, out, _ = curate(capsys, monkeypatch, "run", folder / "recipe.yaml")
    assert "is up to date, nothing to do" in out
    assert digests(folder) == before

    (folder / "recipe.yaml").write_text(text.replace('"greatest(width, height) < 28"', '"width < 5000"'))
    code, out, _ = curate(capsys, monkeypatch, "decide", folder / "recipe.yaml")
    assert "kept 0" in out
    edited = (folder / "recipe.yaml").read_text()
    curate(capsys, monkeypatch, "run", *location)
    assert (folder / "recipe.yaml").read_text() == edited, "what somebody has edited is used, not replaced"
    assert not (folder / "samples.jsonl").read_text()


def digests(folder):
    """Of the results; times of images, which lie in ``.cache``, are noted anew once a file has not just changed."""
    kept = (path for path in sorted(folder.rglob("*")) if path.is_file() and not {"work", ".cache"} & {*path.parts})
    return {str(path): hashlib.sha256(path.read_bytes()).hexdigest() for path in kept}


@pytest.mark.slow
def test_duplicates_go_and_unlabelled_images_stay(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    assert curate(capsys, monkeypatch, "run", "photos", "-o", "mine")[0] == 0
    rows = pq.read_table("data/curated/mine/samples.parquet", columns=["sample_id", "decision"]).to_pylist()
    decided = {row["sample_id"].rpartition("/")[2]: row["decision"] for row in rows}
    assert decided.pop("broken.jpg") == "drop"
    assert [name for name, decision in decided.items() if decision == "drop"] in (["0.jpg"], ["5.jpg"]), "one scene"


@pytest.mark.slow
def test_other_options_and_other_locations(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    location, *_ = table(tmp_path)
    recipe = Path("data/curated/shop-rows/recipe.yaml")

    code, out, _ = curate(capsys, monkeypatch, "run", location, "--workers", "1")
    assert "dropped 30 of 30" in out, "no image is found beside the table"
    code, out, _ = curate(capsys, monkeypatch, "run", location, "--image-root", "shop/pictures", "--workers", "1")
    assert code == 0
    assert "dropped 3 of 30" in out, "an unedited recipe follows the options"
    assert read_recipe(recipe).sources[0].image_root == "shop/pictures"

    recipe.write_text(recipe.read_text() + "\n# mine\n")
    code, _, err = curate(capsys, monkeypatch, "run", location, "--split", "test")
    assert code == 2
    assert f"{recipe}: was edited, and has not split as given now" in err
    assert "# mine" in recipe.read_text()

    Path("other").mkdir()
    Path("other/shop-rows.csv").write_text(Path(location).read_text())
    code, _, err = curate(capsys, monkeypatch, "run", "other/shop-rows.csv")
    assert code == 2
    assert "holds the result of shop/rows.csv; give that of other/shop-rows.csv another --name" in err
    Path("data/curated/notes").mkdir()
    Path("data/curated/notes/mine.txt").write_text("keep me")
    code, _, err = curate(capsys, monkeypatch, "run", location, "--name", "notes")
    assert code == 2
    assert "exists already and is not a result of" in err


def test_what_cannot_be_is_one_sentence(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    photos(tmp_path)
    Path("my.yaml").write_text("name: my\nsources: [{location: photos}]\n")
    for arguments, sentence in (
        (("run", "my.yaml", "--image-root", "x"), "my.yaml: is a recipe, and options of a location do not apply"),
        (("run", "my.yaml", "--columns", "answer=x"), "is a recipe"),
        (("run", "nowhere"), "nowhere: no such file or folder"),
        (("run", "."), "lies in ., so that its images would be read too"),
        (("run", "photos", "--image-root", "."), "lies in ., so that its images would be read too"),
        (("run", "photos", "--columns", "answer"), "--columns answer: is not ROLE=FIELD"),
        (("run", "photos", "--ids", "mine"), "ids"),
        (("run", "photos", "--as", "vqq"), "unknown layout 'vqq'"),
    ):
        code, _, err = curate(capsys, monkeypatch, *arguments)
        assert code == 2, arguments
        assert sentence in err
        assert "Traceback" not in err
    assert not Path("data").exists()


@pytest.mark.parametrize("command", ["inspect", "run", "init"])
def test_every_key_of_a_source_that_changes_what_is_read_is_an_option(command, capsys, monkeypatch):
    _, out, _ = curate(capsys, monkeypatch, command, "--help")
    renamed = {"layout": "as"}
    for key in SourceSettings.model_fields.keys() - {"location", "source", "license"}:
        assert f"--{renamed.get(key, key).replace('_', '-')} " in out, key


def test_columns_are_repeated_or_separated_by_commas(tmp_path, capsys, monkeypatch):
    lines = [{"pic": "a.png", "asked": "What?", "label": "a cat", "a, b": "other"}]
    sets.save(tmp_path / "a.png", sets.scene(1))
    where = sets.write_lines(tmp_path / "rows.jsonl", lines)
    for given in (
        ("--columns", "image=pic,question=asked,answer=label"),
        ("--columns", "image=pic", "--columns", "question=asked", "--columns", "answer=label"),
        ("--columns", "image=pic,question=asked", "--columns", "answer=a, b"),
    ):
        code, out, err = curate(capsys, monkeypatch, "inspect", where, "--as", "table", *given)
        assert code == 0, err
        assert ('"value": "other"' if "a, b" in given[-1] else '"value": "a cat"') in out


@pytest.mark.slow
def test_killed_runs_end_alike(tmp_path):
    """SIGKILL at several moments, then the same command: the bytes of an undisturbed run."""
    environment = {**os.environ, "PYTHONPATH": str(REPO)}
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}

    def start(folder):
        command = [sys.executable, "-m", "curate", "run", "photos", "--workers", "2"]
        return subprocess.Popen(command, cwd=folder, env=environment, start_new_session=True, **quiet)

    whole, killed = tmp_path / "whole", tmp_path / "killed"
    for folder in (whole, killed):
        photos(folder, images=80)
    begun = time.monotonic()
    assert start(whole).wait() == 0
    seconds = time.monotonic() - begun
    for part in (0.3, 0.5, 0.6, 0.7, 0.8):
        process = start(killed)
        try:
            process.wait(timeout=seconds * part)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    assert start(killed).wait() == 0

    def result(folder):
        out = folder / "data/curated/photos"
        names = ("samples.jsonl", "samples.parquet", "decisions.parquet", "ledger.jsonl", "recipe.yaml", "README.md")
        manifest = json.loads((out / "manifest.json").read_text())
        return [io.BytesIO((out / name).read_bytes()).getvalue() for name in names], manifest["outputs"]

    assert result(killed) == result(whole)
