"""Images are found from any working directory, and where they are not, the places are named."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from dashboards.data.catalog import Folder, find_folder, image_places, image_root, lost_images
from dashboards.settings import IMAGE_ROOTS_VARIABLE


def _recorded(root: Path, value: object) -> Folder:
    """The tuned run with another image root in its manifest."""
    path = root / "evals" / "demo-tuned" / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"image_root": value}))
    folder = find_folder(root, "evals", "demo-tuned")
    assert folder
    return folder


@pytest.mark.parametrize("value", ["raw/images", "own/raw/images", {"vqa": "raw/images", "caption": "elsewhere"}])
def test_a_relative_root_is_found_from_anywhere(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: object
) -> None:
    folder = _recorded(own, value)
    for place in (tmp_path, own, Path("/")):
        monkeypatch.chdir(place)
        found = image_root(folder, "vqa")
        assert found and found.resolve() == own / "raw" / "images", place
        assert lost_images(folder, "vqa") == ""


def test_the_working_directory_comes_first(own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x" / "raw" / "images").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "x")
    assert image_root(_recorded(own, "raw/images"), "vqa") == tmp_path / "x" / "raw" / "images"


def test_places_that_do_not_exist_are_named(own: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    folder = _recorded(own, "photos")
    assert image_root(folder, "vqa") is None
    assert lost_images(folder, "vqa") == (
        f"images of demo-tuned are looked for in {tmp_path}/photos, {own}/photos;"
        " none exists; start with --image-root OLD=NEW"
    )  # the data folder's parent is the working directory
    assert "/gone; it does not exist; start with --image-root" in lost_images(_recorded(own, "/gone"), "vqa")


def test_a_prefix_is_replaced(own: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved = [["/home/an", "/nowhere"], ["/home/ann/data", str(own)], ["photos", str(own / "raw")]]
    monkeypatch.setenv(IMAGE_ROOTS_VARIABLE, json.dumps(moved))
    assert image_root(_recorded(own, "/home/ann/data/raw/images"), "vqa") == own / "raw" / "images"
    assert image_root(_recorded(own, "photos/images"), "vqa") == own / "raw" / "images"
    assert image_places(_recorded(own, "/home/an/x"), "vqa") == (Path("/nowhere/x"),), "and looked for nowhere else"
    assert image_places(_recorded(own, "/home/anne"), "vqa") == (Path("/home/anne"),), "a folder, not letters"


@pytest.mark.parametrize("value", [None, "", 3, {}, {"caption": "raw"}])
def test_nothing_is_said_where_nothing_is_recorded(own: Path, value: object) -> None:
    folder = _recorded(own, value)
    assert image_root(folder, "vqa") is None and image_places(folder, "vqa") == () and lost_images(folder, "vqa") == ""
