"""An export is there whole or not at all; begun ones are gone on with; only exports are replaced."""

import json
from pathlib import Path
from typing import get_args

import pytest
import yaml

from curate.exports import packed, rows
from curate.exports.export import FORMATS, export
from curate.exports.rows import open_curated
from curate.settings.outputs import ExportSettings, FormatName
from tests.curate.exports.made import exported, make
from winnow.errors import UserError
from winnow.run import read_manifest


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    return make(tmp_path_factory.mktemp("folder"))


class Killed(BaseException):
    """Nothing catches it, as nothing catches kill -9."""


def whole(folder: Path) -> dict[str, bytes]:
    """All files but the manifest, which holds times."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file() and path.name != "manifest.json")
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


@pytest.mark.parametrize("to", FORMATS)
def test_stopped_at_every_write_then_the_same(curated, tmp_path, monkeypatch, to):
    """Stop before the first file takes its place, then before the second, and so on; go on from there each time."""
    place = tmp_path / "out"
    images = None if to in ("trl", "jsonl", "original") else "copy"
    expected = whole(exported(curated, to, out=place, images=images)[0])
    for path in sorted(place.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    left = [0]

    def counted(real):
        def stop_or_go(self, target):
            left[0] -= 1
            if left[0] < 0:
                raise Killed(target)
            return real(self, target)

        return stop_or_go

    monkeypatch.setattr(Path, "replace", counted(Path.replace))
    monkeypatch.setattr(Path, "rename", counted(Path.rename))
    for stops in range(40):
        left[0] = stops
        try:
            folder, _ = exported(curated, to, out=place, images=images)
            break
        except Killed:
            assert not (place / "manifest.json").exists(), "the folder takes its place when all is written"
    assert 2 < stops < 39
    assert whole(folder) == expected
    assert not list(tmp_path.rglob(".*")), "nothing is left of the broken ones"


def test_every_format_of_the_recipe_is_written():
    assert FORMATS.keys() == set(get_args(FormatName))


def test_done_once_is_done(curated):
    folder, first = exported(curated, "trl")
    before = (folder / "manifest.json").stat().st_mtime_ns
    _, again = exported(curated, "trl")
    assert (first.fresh, again.fresh, first.counts) == (True, False, again.counts)
    assert (folder / "manifest.json").stat().st_mtime_ns == before
    _, other = exported(curated, "trl", images="copy")
    assert other.fresh
    assert (folder / "images").is_dir()


def test_finished_shards_are_not_written_again(curated, tmp_path, monkeypatch):
    def fail(*_):
        raise Killed

    with monkeypatch.context() as patched:
        patched.setattr("curate.exports.export.write_readme", fail)
        with pytest.raises(Killed):
            exported(curated, "webdataset", out=tmp_path / "out")
    monkeypatch.setattr(packed, "read_image", fail)
    assert exported(curated, "webdataset", out=tmp_path / "out")[1].fresh


def test_only_an_export_is_replaced(curated, tmp_path):
    mine = tmp_path / "mine"
    mine.mkdir()
    exported(curated, "jsonl", out=mine)
    other = tmp_path / "other"
    other.mkdir()
    (other / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="other: is there already and is not an export of curate"):
        exported(curated, "jsonl", out=other)
    with pytest.raises(UserError, match="is there already and is not an export"):
        exported(curated, "jsonl", out=curated)
    assert (other / "thesis.tex").read_text() == "x"
    exported(curated, "trl", out=mine)
    assert not (mine / "samples.jsonl").exists(), "another format takes the old one's place"


def test_another_export_at_work(curated, tmp_path, monkeypatch):
    from curate.exports import export as folder

    with (
        folder._unfinished(tmp_path / "out", "key"),
        pytest.raises(UserError, match="another curate is exporting to it"),
    ):
        exported(curated, "jsonl", out=tmp_path / "out")


def test_cards_are_valid_and_manifests_whole(curated):
    for to in FORMATS:
        folder, done = exported(curated, to)
        front = yaml.safe_load((folder / "README.md").read_text().split("---\n")[1])
        assert front["pretty_name"] == "set"
        manifest = read_manifest(folder, finish_with="")
        assert manifest["stage"] == "export"
        assert manifest["counts"] == done.counts
        assert "rejects.jsonl" in manifest["outputs"]
        for files in front.get("configs", [{"data_files": []}])[0]["data_files"]:
            assert list(folder.glob(files["path"])), "the card names files that are there"


def test_suffixes_follow_the_content():
    assert rows.suffix_of(b"\xff\xd8no image") == "img"


def test_formats_that_hold_images_do_not_take_paths(curated):
    with pytest.raises(ValueError, match="webdataset holds the images"):
        ExportSettings(to="webdataset", images="path")
    assert open_curated(curated).splits == ("train",)
    with pytest.raises(UserError, match=r"was not made by `curate run`"):
        export(open_curated(exported(curated, "jsonl")[0]), ExportSettings(to="jsonl"))


def test_split_sets_make_a_file_for_each(tmp_path):
    curated = make(tmp_path, splits={"train": 0.5, "val": 0.5, "seed": 3})
    kept = [json.loads(line)["id"] for line in (curated / "samples.jsonl").read_text().splitlines()]
    folder, done = exported(curated, "ms-swift")
    parts = {one: [json.loads(line)["id"] for line in (folder / f"{one}.jsonl").open()] for one in ("train", "val")}
    assert sorted(parts["train"] + parts["val"]) == sorted(one for one in kept if one not in _unfit())
    assert parts["train"] and parts["val"]
    assert done.counts["splits"] == {one: len(rows) for one, rows in parts.items()}
    folder, _ = exported(curated, "imagefolder")
    assert (folder / "train/metadata.parquet").is_file() and (folder / "val/metadata.parquet").is_file()
    folder, _ = exported(curated, "llama-factory")
    assert set(json.loads((folder / "dataset_info.json").read_text())) == {"set_train", "set_val"}


def _unfit():
    from tests.curate.exports.made import UNFIT

    return UNFIT
