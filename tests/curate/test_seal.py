"""Whatever happens to a file that a run has left, the next run ends with the bytes of an undisturbed one."""

import io
import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
from PIL import ImageOps

from curate import pipeline
from curate.measure import images as measuring
from curate.seal import break_seal, damaged_files, heal, write_seal
from curate.workspace import LOOKS, Workspace
from tests.curate import sets
from tests.curate.test_pipeline import full, make
from winnow.errors import UserError
from winnow.files import sha256_file

_IN_USE = {"lock", "seal.json", "state.json", "digests.parquet"}
HOW = {
    "cut": lambda data: data[: len(data) // 2],
    "flipped": lambda data: bytes(
        byte ^ 255 if abs(at - len(data) // 2) <= 32 else byte for at, byte in enumerate(data)
    ),
    "empty": lambda data: b"",
    "gone": lambda data: None,
}


def embedded(folder: Path) -> dict[str, object]:
    """A source whose images become files of the curated folder."""
    found = []
    for number in range(3):
        sets.scene(number).save(file := io.BytesIO(), "PNG")
        found.append({"id": number, "image": {"bytes": file.getvalue()}, "question": f"{number}?", "answer": "a cat"})
    pd.DataFrame(found).to_parquet(folder / "embedded.parquet")
    return {"location": str(folder / "embedded.parquet")}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A recipe with most kinds of results, and what its folder holds after an undisturbed run."""
    folder = tmp_path_factory.mktemp("sealed")
    make(folder)
    whole = full(
        folder,
        exports=["webdataset", {"to": "trl", "images": "copy"}],
        splits={"train": 0.5, "val": 0.5},
        similar_texts={},
        semantic=None,
    )
    own = json.loads(whole.model_dump_json(include={"sources"}))["sources"]
    recipe = whole.model_validate({**whole.model_dump(mode="json"), "sources": [*own, embedded(folder)]})
    pipeline.run(recipe, "r")
    return recipe, results(recipe.folder)


def results(out: Path) -> dict[str, object]:
    found: dict[str, object] = {}
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name not in _IN_USE and not {"work", ".cache"} & set(path.parts[len(out.parts) :]):
            found[str(path.relative_to(out))] = path.read_bytes()
            if path.name == "manifest.json":
                found[str(path.relative_to(out))] = {**json.loads(path.read_text()), "seconds": {}, "git_commit": None}
    return found


def files(out: Path) -> list[Path]:
    """All that is sealed. What the search for edited copies reads is not: it looks at sizes and times itself."""
    sealed = (
        path for path in sorted(out.rglob("*")) if path.is_file() and not path.is_relative_to(out / "work" / LOOKS)
    )
    return [path for path in sealed if path.name not in ("lock", "seal.json")]


def damage(path: Path, how: str) -> None:
    data = HOW[how](path.read_bytes())
    path.unlink() if data is None else path.write_bytes(data)


def contents(out: Path) -> dict[str, bytes]:
    return {str(path.relative_to(out)): path.read_bytes() for path in sorted(out.rglob("*")) if path.is_file()}


def restore(whole: Path, out: Path) -> None:
    """Copy back what is not as in ``whole``; all other files keep their times and inodes."""
    there = contents(out)
    for name, data in contents(whole).items():
        if there.get(name) != data:
            (out / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(whole / name, out / name)


@pytest.mark.slow
def test_each_file_heals_however_it_is_damaged(made, tmp_path, capfd):
    """A run goes on from what ``heal`` leaves: damage of which that is the same needs one run."""
    recipe, expected = made
    out, whole = recipe.folder, tmp_path / "whole"
    shutil.copytree(out, whole)
    names = [path.relative_to(out) for path in files(out)]
    assert len(names) > 50
    runs = 0
    for name in names:
        path, left = out / name, dict[str, dict[str, bytes]]()
        for how in HOW:
            if not path.is_file() or (how != "gone" and not path.stat().st_size):
                continue
            damage(path, how)
            assert heal(Workspace(out)) or name.name in _IN_USE, (name, how)
            found = contents(out)
            if found not in left.values():
                left[how] = found
            restore(whole, out)
        for how in left:
            damage(path, how)
            capfd.readouterr()
            pipeline.run(recipe, "r")
            runs += 1
            assert results(out) == expected, (name, how)
            if name.name not in _IN_USE:
                assert "making again what is damaged or gone" in capfd.readouterr().err, (name, how)
        shutil.rmtree(whole)
        shutil.copytree(out, whole)
    assert runs > 50  # a part that is made again may have another name
    assert not pipeline.run(recipe, "r").seconds


def test_everything_that_is_damaged_at_once_heals(made):
    recipe, expected = made
    for number, path in enumerate(files(recipe.folder)):
        damage(path, list(HOW)[number % len(HOW)])
    pipeline.run(recipe, "r")
    assert results(recipe.folder) == expected


@pytest.mark.parametrize("how", HOW)
def test_what_the_search_for_edited_copies_reads_is_made_again_when_it_is_damaged(tmp_path, how):
    def grown(count):
        for number in range(count):
            image = sets.scene(number) if number != 5 else ImageOps.mirror(sets.scene(0))
            sets.save(tmp_path / "images" / f"{number}.png", image)
        sets.write_lines(tmp_path / "rows.jsonl", [sets.row(number, f"{number}.png") for number in range(count)])
        recipe = sets.recipe(tmp_path, duplicates={}, signals={"workers": 1})
        pipeline.run(recipe, "r")
        return {name: (recipe.folder / name).read_bytes() for name in ("ledger.jsonl", "samples.jsonl")}

    grown(4)
    out = tmp_path / "out"
    there = [path for path in (out / "work" / LOOKS).rglob("*") if path.is_file()]
    assert there
    for path in there:
        damage(path, how)
    found = grown(6)
    assert b"mirrored" in found["ledger.jsonl"]
    shutil.rmtree(out)
    assert grown(6) == found


def test_only_images_whose_signals_are_lost_are_measured_again(tmp_path, monkeypatch):
    names = [f"{number}.png" for number in range(6)]
    for number, name in enumerate(names):
        sets.save(tmp_path / "images" / name, sets.scene(number))
    sets.save(tmp_path / "images/again.png", sets.scene(2))  # the place of an image is that of its first path
    paths = [*names, "again.png"]
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(number, path) for number, path in enumerate(paths)])
    recipe = sets.recipe(tmp_path, signals={"workers": 1, "shard_size": 2})
    pipeline.run(recipe, "r")
    expected = results(recipe.folder)
    (recipe.folder / "signals/part-00001.parquet").write_bytes(b"no Parquet")
    decoded = []
    whole = measuring.measure
    monkeypatch.setattr(
        measuring, "measure", lambda plan, found: decoded.extend(each.path for each in found) or whole(plan, found)
    )
    pipeline.run(recipe, "r")
    assert decoded == names[2:4]
    assert results(recipe.folder) == expected


def test_a_decision_is_not_made_from_what_is_damaged(made, tmp_path):
    recipe, _ = made
    out = tmp_path / "copy"
    shutil.copytree(recipe.folder, out)
    moved = recipe.model_copy(update={"out": out, "exports": []})
    part = out / "signals/part-00000.parquet"
    part.write_bytes(part.read_bytes()[:-1])
    with pytest.raises(
        UserError, match=r"is damaged \(signals/part-00000.parquet\); make it again with `curate run r`"
    ):
        pipeline.decide_again(moved, "r")


def test_a_copied_folder_is_whole_and_files_of_others_are_not_touched(made, tmp_path):
    recipe, _ = made
    out = tmp_path / "copy"
    shutil.copytree(recipe.folder, out, copy_function=shutil.copyfile)  # other times and inodes
    (out / "notes.txt").write_text("mine")
    assert damaged_files(Workspace(out)) == damaged_files(Workspace(out), whole=True) == heal(Workspace(out)) == []
    (out / "notes.txt").write_text("mine, edited")
    (out / "samples.jsonl").write_text("")
    assert heal(Workspace(out)) == ["samples.jsonl"]
    assert (out / "notes.txt").read_text() == "mine, edited"


def test_bits_that_rot_without_a_trace_are_found_when_all_is_read(made, tmp_path):
    recipe, _ = made
    out = tmp_path / "copy"
    shutil.copytree(recipe.folder, out)
    assert damaged_files(Workspace(out)) == []
    seal = out / "work/seal.json"
    write_seal(Workspace(out), {})
    table = out / "samples.parquet"
    status = table.stat()
    with table.open("r+b") as file:
        file.seek(40)
        file.write(b"rot")
    import os

    os.utime(table, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert seal.is_file() and damaged_files(Workspace(out)) == []
    assert damaged_files(Workspace(out), whole=True) == ["samples.parquet"]


def test_files_that_no_run_has_touched_are_not_read_again(made, tmp_path, monkeypatch):
    recipe, _ = made
    out = tmp_path / "copy"
    shutil.copytree(recipe.folder, out)
    workspace, read = Workspace(out), []

    def noting(path):
        read.append(path)
        return sha256_file(path)

    monkeypatch.setattr("curate.seal.sha256_file", noting)
    write_seal(workspace, {})
    sealed = (out / "work/seal.json").read_bytes()
    table = out / "work/fingerprints/thumbnails.bin"
    assert table in read
    read.clear()
    before = break_seal(workspace)
    assert not (out / "work/seal.json").exists()
    write_seal(workspace, before)
    assert (out / "work/seal.json").read_bytes() == sealed
    assert all(path.name == "manifest.json" for path in read)
    read.clear()
    shutil.copyfile(table, replaced := tmp_path / "replaced")
    replaced.replace(table)
    write_seal(workspace, before)
    assert [path for path in read if path.name != "manifest.json"] == [table]
