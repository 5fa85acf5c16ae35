"""Images in a zip or tar beside the table: read in place, never unpacked under a name of the archive."""

import io
import json
import stat
import tarfile
import zipfile

import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.pipeline import run
from curate.readers import open_source
from curate.readers.images.packed import PackedImages, archives_in
from curate.readers.images.store import content_path
from curate.recipe import read_recipe
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise, write
from tests.curate.readers import published

PNGS = [encoded(noise(16, 12, seed=seed)) for seed in range(3)]


def zipped(path, members):
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as packed:
        for name, data in members.items():
            packed.writestr(name, data)
    return path


def tarred(path, members):
    with tarfile.open(path, "w") as packed:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            packed.addfile(info, io.BytesIO(data))
    return path


def table(folder, *names):
    lines = "".join(f"{name},a cat\n" for name in names)
    return write(folder / "rows.csv", f"image,caption\n{lines}".encode())


def opened(location, **options):
    return open_source(SourceSettings(location=str(location), **options))


def images(location, **options):
    return [row.embedded.get(row.image[0]) for row in opened(location, **options).rows()]


@pytest.mark.parametrize("pack", [zipped, tarred])
@pytest.mark.parametrize(
    ("archive", "members", "names"),
    [
        ("images", ["a.png", "b.png"], ["a.png", "b.png"]),
        ("images", ["images/a.png", "images/b.png"], ["a.png", "b.png"]),
        ("images", ["images/a.png", "images/b.png"], ["images/a.png", "images/b.png"]),
        ("images", ["a.png", "b.png"], ["images/a.png", "images/b.png"]),
        ("images", ["./top/x/a.png", "top\\y\\a.png"], ["x/a.png", "y\\a.png"]),
        ("images", ["data/train/a.png", "data/train/b.png"], ["a.png", "train/b.png"]),
        ("train2014", ["train2014/a.png", "train2014/b.png"], ["coco/train2014/a.png", "train2014/b.png"]),
    ],
)
def test_members_are_found_by_the_paths_of_the_rows(tmp_path, pack, archive, members, names):
    path = pack(tmp_path / f"{archive}.{'zip' if pack is zipped else 'tar'}", dict(zip(members, PNGS, strict=False)))
    found = opened(table(tmp_path, *names))
    rows = list(found.rows())
    assert [row.embedded[row.image[0]] for row in rows] == PNGS[:2]
    assert [row.meta["image_path"] for row in rows] == names
    assert found.notes == (f"{path}: images are read from it, without unpacking it",)


def test_files_come_before_archives_and_others_stay_missing(tmp_path):
    zipped(tmp_path / "images.zip", {"a.png": PNGS[0], "other/c.png": PNGS[2]})
    write(tmp_path / "images" / "a.png", PNGS[1])
    first, second = opened(table(tmp_path, "a.png", "c.png")).rows()
    assert (first.image, first.embedded) == (("a.png",), {})
    assert (second.image, second.embedded) == (("c.png",), {})  # one of that name in another folder is not guessed


def test_the_recipe_may_name_the_archive(tmp_path):
    (tmp_path / "far").mkdir()
    path = zipped(tmp_path / "far" / "x.zip", {"a.png": PNGS[0]})
    assert images(table(tmp_path, "a.png")) == [None]
    assert images(table(tmp_path, "a.png"), image_root=str(path)) == [PNGS[0]]


@pytest.mark.parametrize("name", ["../a.png", "/a.png", "x/../../a.png"])
def test_names_that_lead_out_of_the_archive_are_not_members(tmp_path, name):
    zipped(tmp_path / "images.zip", {name: PNGS[0], "b.png": PNGS[1]})
    assert images(table(tmp_path, name, "b.png")) == [None, PNGS[1]]
    assert not list(tmp_path.parent.glob("a.png"))


def test_links_and_devices_of_a_tar_are_not_followed(tmp_path):
    write(tmp_path / "secret", b"secret")
    with tarfile.open(tmp_path / "images.tar", "w") as packed:
        for kind, name in ((tarfile.SYMTYPE, "a.png"), (tarfile.LNKTYPE, "b.png"), (tarfile.CHRTYPE, "c.png")):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "../secret"
            packed.addfile(info)
    assert images(table(tmp_path, "a.png", "b.png", "c.png")) == [None, None, None]


def test_a_link_in_a_zip_is_only_its_text(tmp_path):
    info = zipfile.ZipInfo("a.png")
    info.external_attr = (stat.S_IFLNK | 0o777) << 16
    with zipfile.ZipFile(tmp_path / "images.zip", "w") as packed:
        packed.writestr(info, "/etc/passwd")
    assert images(table(tmp_path, "a.png")) == [b"/etc/passwd"]


def test_caps_on_members_and_sizes(tmp_path, monkeypatch):
    zipped(tmp_path / "images.zip", {"bomb.png": bytes(20 << 20), "a.png": PNGS[0]})
    bomb, good = opened(table(tmp_path, "bomb.png", "a.png")).rows()
    assert bomb.image[0].startswith("too_large_bytes:bomb.png of images.zip")
    assert good.embedded == {content_path(PNGS[0]): PNGS[0]}
    monkeypatch.setattr("curate.readers.images.packed._MAX_MEMBERS", 1)
    found = opened(table(tmp_path, "a.png"))
    assert "cannot be read (more than 1 files); unpack it" in found.notes[0]
    assert [row.image for row in found.rows()] == [("a.png",)]


def test_a_damaged_or_locked_archive_is_named_and_its_images_are_missing(tmp_path):
    path = zipped(tmp_path / "images.zip", {"a.png": PNGS[0]})
    whole = path.read_bytes()
    path.write_bytes(whole[:-30])
    found = opened(table(tmp_path, "a.png"))
    assert "images.zip: images that may be in it cannot be read" in found.notes[0]
    assert [row.image for row in found.rows()] == [("a.png",)]
    locked = bytearray(whole)
    locked[6] |= 1
    locked[whole.index(b"PK\x01\x02") + 8] |= 1
    path.write_bytes(locked)
    assert "cannot be read (it is encrypted); unpack it" in opened(table(tmp_path, "a.png")).notes[0]


@settings(max_examples=200, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data(), st.sampled_from([zipped, tarred]))
def test_damaged_archives_never_raise(tmp_path, data, pack):
    path = pack(tmp_path / ("a.zip" if pack is zipped else "a.tar"), {"a.png": PNGS[0], "d/b.png": PNGS[1]})
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    path.write_bytes(content)
    found = PackedImages([path])
    for name in ("a.png", "d/b.png", "no.png"):
        assert isinstance(found.read(name), bytes | str | None)


def test_a_layout_that_tries_several_names_finds_the_one_in_the_archive(tmp_path):
    questions = published.vqa_v2(tmp_path)
    zipped(tmp_path / "val2014.zip", {f"val2014/COCO_val2014_{n:012}.jpg": PNGS[0] for n in (262148, 393225)})
    assert images(questions) == [PNGS[0]] * 3


def test_a_curation_reads_the_archive_and_notices_when_it_changes(tmp_path):
    rows = table(tmp_path, "a.png", "b.png")
    zipped(tmp_path / "images.zip", dict(zip(["a.png", "b.png"], PNGS, strict=False)))
    recipe_file = write(
        tmp_path / "r.yaml",
        json.dumps(
            {"name": "p", "out": str(tmp_path / "out"), "sources": [{"location": str(rows)}], "signals": {"workers": 1}}
        ).encode(),
    )
    for expected in (PNGS[:2], PNGS[1:]):
        zipped(tmp_path / "images.zip", dict(zip(["a.png", "b.png"], expected, strict=False)))
        run(read_recipe(recipe_file), str(recipe_file), 1)
        kept = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
        assert [row["images"] for row in kept] == [[content_path(data)] for data in expected]


def test_archives_are_files_with_an_ending_by_name(tmp_path):
    for name in ("b.zip", "a.TAR", ".zip", "c.zip.txt", "d.tar.gz"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "e.zip").mkdir()
    assert [path.name for path in archives_in([tmp_path, tmp_path, tmp_path / "none"])] == ["a.TAR", "b.zip"]
