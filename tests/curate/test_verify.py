"""`curate verify` finds every changed byte, makes again what it can, and says what it cannot."""

import io
import json
import os

import pandas as pd
import pytest

from curate import pipeline
from curate.cli import app
from curate.recipe import read_recipe
from tests.curate import sets
from winnow import console


@pytest.fixture
def curated(tmp_path, monkeypatch):
    """A recipe's folder, after a run: three images in files, one in a table."""
    monkeypatch.chdir(tmp_path)
    for number in range(3):
        sets.save(tmp_path / "images" / f"{number}.png", sets.scene(number))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(number, f"{number}.png") for number in range(3)])
    sets.scene(7).save(file := io.BytesIO(), "PNG")
    table = pd.DataFrame([{"id": 7, "image": {"bytes": file.getvalue()}, "question": "q", "answer": "a"}])
    table.to_parquet(tmp_path / "table.parquet")
    sources = [{"location": "rows.jsonl", "image_root": "images"}, {"location": "table.parquet"}]
    path = sets.write_recipe(tmp_path, sources=sources, out="out", splits={"shares": {"train": 0.5, "dev": 0.5}})
    pipeline.run(read_recipe(path), path.name)
    return tmp_path


def results(folder):
    found = {path: path.read_bytes() for path in (folder / "out").glob("*") if path.is_file()}
    manifest = json.loads(found[folder / "out/manifest.json"])
    return {**found, folder / "out/manifest.json": {**manifest, "seconds": {}}}


def without_a_trace(path, data):
    """Replace bytes and leave size, time and inode."""
    status = path.stat()
    with path.open("r+b") as file:
        file.seek(status.st_size // 2)
        file.write(data)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size


def test_nothing_is_wrong(curated, capsys):
    before = {path: path.stat().st_mtime_ns for path in (curated / "out").rglob("*")}
    code, out = verified(capsys, "out")
    assert code == 0 and "out: all is as it was made: 2 inputs and" in out
    assert {path: path.stat().st_mtime_ns for path in (curated / "out").rglob("*")} == before


def verified(capsys, *arguments):
    """Exit code of `curate verify`, and what it printed."""
    with pytest.raises(SystemExit) as ended:
        console.run(app, ["verify", *map(str, arguments)])
    printed = capsys.readouterr()
    return ended.value.code, printed.out + printed.err


@pytest.mark.parametrize("name", ["samples.jsonl", "README.md", "signals/part-00000.parquet"])
def test_bits_that_rotted_are_found_and_made_again(curated, capsys, name):
    expected = results(curated)
    without_a_trace(curated / "out" / name, b"\xff")
    code, out = verified(capsys, "out", "--check")
    assert code == 1 and "damaged" in out and name in out
    assert results(curated) != expected or name.startswith("signals")
    code, out = verified(capsys, "out")
    assert code == 0 and "was made again" in out and "all is as it was made" in out
    assert results(curated) == expected


def test_what_is_gone_and_a_stored_image_are_made_again(curated, capsys):
    expected = results(curated)
    (stored,) = (curated / "out/images").rglob("*.png")
    data = stored.read_bytes()
    without_a_trace(stored, b"rot")
    code, out = verified(capsys, "out", "--check")
    assert code == 1 and stored.name[:20] in out.replace("\n", "")
    (curated / "out/decisions.parquet").unlink()
    assert verified(capsys, "out")[0] == 0
    assert stored.read_bytes() == data
    assert results(curated) == expected


def test_a_changed_input_is_said_and_nothing_is_made(curated, capsys):
    without_a_trace(curated / "images/1.png", b"no")
    (curated / "rows.jsonl").write_text((curated / "rows.jsonl").read_text().replace("a cat", "a dog"))
    (curated / "table.parquet").unlink()
    before = results(curated)
    code, out = verified(capsys, "out")
    assert code == 1
    for words in ("changed input", "images/1.png", "rows.jsonl", "missing input", "table.parquet", "curate run recipe"):
        assert words in out, words
    assert results(curated) == before


def test_a_folder_without_a_set(tmp_path, capsys):
    code, out = verified(capsys, tmp_path / "none")
    assert code == 2 and "no such folder" in out
