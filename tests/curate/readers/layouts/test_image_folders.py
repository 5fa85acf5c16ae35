"""Folders of images as people have them: kohya's captions, img2dataset's files, classes, names without an ending."""

import json
import os

import pytest

from curate.readers import open_source
from curate.readers.inspect import inspect_location
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise, write
from winnow.rows.records import BadRow

PNG, JPEG = encoded(noise(16, 16)), encoded(noise(16, 16, 1), "JPEG")


def rows_of(folder, **settings):
    source = open_source(SourceSettings(location=str(folder), **settings))
    assert source.layout == "image_folder"
    return list(source.rows())


def samples(folder, **settings):
    return {row.image[0]: row for row in rows_of(folder, **settings) if not isinstance(row, BadRow)}


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("JPEG", "jfif"), ("JPEG", "JPE"), ("MPO", "mpo"), ("PPM", "pgm"), ("TGA", "tga"), ("AVIF", "avif"),
     ("ICO", "ico"), ("WEBP", "WebP"), ("JPEG", ""), ("PNG", "v2"), ("JPEG", "jpg_large")],
)  # fmt: skip
def test_images_of_every_ending_and_of_none(tmp_path, format, suffix):
    name = f"a.{suffix}".rstrip(".")
    write(tmp_path / "set" / name, encoded(noise(16, 16), format))
    assert list(samples(tmp_path / "set")) == [name]
    assert not inspect_location(SourceSettings(location=str(tmp_path / "set"))).image_problems


@pytest.mark.parametrize(("name", "error"), [("a.svg", "vector_image"), ("a.pdf", "document"), ("a.png", "truncated")])
def test_what_cannot_be_decoded_is_a_row_with_its_class(tmp_path, name, error):
    data = {"a.svg": b"<svg xmlns='http://www.w3.org/2000/svg'/>", "a.pdf": b"%PDF-1.7\n", "a.png": PNG[:60]}
    write(tmp_path / name, data[name])
    write(tmp_path / "b.jpg", JPEG)
    problems = inspect_location(SourceSettings(location=str(tmp_path))).image_problems
    assert [(problem.name, problem.count) for problem in problems] == [(error, 1)]


def test_other_files_are_no_rows(tmp_path):
    write(tmp_path / "a.jpg", JPEG)
    for name in ("README.txt", "README.md", "LICENSE", "notes", ".hidden.jpg", "model.pt", "page.html"):
        write(tmp_path / name, b"some words about the images")
    os.mkfifo(tmp_path / "pipe")
    assert list(samples(tmp_path)) == ["a.jpg"]


def test_a_text_beside_an_image_is_its_caption(tmp_path):
    for name in ("1.jpg", "2.png", "3.jpg", "4.jpg", "5.jpg", "6"):
        write(tmp_path / "10_dog" / name, JPEG)
    write(tmp_path / "10_dog" / "1.txt", "\ufeffa brown dog, grass\n".encode())
    write(tmp_path / "10_dog" / "2.caption", b"two dogs\nin the snow")
    write(tmp_path / "10_dog" / "3.txt", b"0 0.5 0.5 0.25 0.25\n2 0.1 0.2 0.3 0.4\n")  # boxes of YOLO
    write(tmp_path / "10_dog" / "4.txt", b"\xff\xfe\x00")
    write(tmp_path / "10_dog" / "5.txt", b"  ")
    write(tmp_path / "10_dog" / "6.txt", b"a dog without an ending")
    *rows, bad = sorted(rows_of(tmp_path), key=lambda row: isinstance(row, BadRow))
    assert {row.image[0]: (row.question, row.answer) for row in rows} == {
        "10_dog/1.jpg": ("Describe the image.", "a brown dog, grass"),
        "10_dog/2.png": ("Describe the image.", "two dogs\nin the snow"),
        "10_dog/3.jpg": ("What is shown in the image?", "dog"),
        "10_dog/5.jpg": ("What is shown in the image?", "dog"),
        "10_dog/6": ("Describe the image.", "a dog without an ending"),
    }
    assert rows[2].meta == {"label": "dog", "folder": "10_dog"}
    assert "4.txt: not UTF-8" in bad.reason
    assert samples(tmp_path / "10_dog", caption_prompt="What is this?")["1.jpg"].question == "What is this?"


def test_a_caption_behind_a_link_out_of_the_folder_is_not_read(tmp_path):
    write(tmp_path / "secret", b"a password")
    write(tmp_path / "set" / "1.jpg", JPEG)
    (tmp_path / "set" / "1.txt").symlink_to(tmp_path / "secret")
    assert samples(tmp_path / "set")["1.jpg"].answers == ()
    assert samples(tmp_path / "set", follow_links=True)["1.jpg"].answer == "a password"


def img2dataset(folder):
    """Two images as `img2dataset --output_format files` leaves them: https://github.com/rom1504/img2dataset."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    fields = []
    for number, caption in enumerate(["a cat", None]):
        key = f"00000{number:04}"
        about = {
            "caption": caption, "url": f"https://example.org/{number}.jpg", "key": key, "status": "success",
            "error_message": None, "width": 16, "height": 16, "original_width": 32, "original_height": 32, "exif": "{}",
            "sha256": "00",
        }  # fmt: skip
        write(folder / "00000" / f"{key}.jpg", JPEG)
        write(folder / "00000" / f"{key}.json", json.dumps({**about, "similarity": 0.3}, indent=4).encode())
        if caption is not None:
            write(folder / "00000" / f"{key}.txt", caption.encode())
        fields.append(about)
    write(folder / "00000_stats.json", json.dumps({"count": 2, "successes": 2, "start_time": 0.5}).encode())
    pq.write_table(pa.Table.from_pylist(fields), folder / "00000.parquet")
    return fields


def test_a_folder_of_img2dataset_gives_its_files_and_not_its_urls(tmp_path):
    about, _ = img2dataset(tmp_path)
    rows = samples(tmp_path)
    assert list(rows) == ["00000/000000000.jpg", "00000/000000001.jpg"]
    first, second = rows.values()
    assert (first.question, first.answer, first.unclaimed) == ("Describe the image.", "a cat", ("similarity",))
    assert first.meta == {**{key: value for key, value in about.items() if key != "caption"}, "similarity": 0.3}
    assert second.answers == ()  # and not the number of its folder


def test_a_json_beside_an_image_that_is_no_caption_is_no_text(tmp_path):
    write(tmp_path / "cat" / "1.jpg", JPEG)
    write(tmp_path / "cat" / "1.json", b'{"version": "5.0", "shapes": [], "imagePath": "1.jpg"}')  # LabelMe
    assert (samples(tmp_path)["cat/1.jpg"].answer, samples(tmp_path / "cat")["1.jpg"].answer) == ("cat", "")


@pytest.mark.parametrize("data", [b"{", b'{"caption": "' + b"a" * 2_000_000 + b'"}'])
def test_a_broken_json_costs_its_row(tmp_path, data):
    write(tmp_path / "1.jpg", JPEG)
    write(tmp_path / "2.jpg", JPEG)
    write(tmp_path / "1.json", data)
    bad, good = rows_of(tmp_path)
    assert isinstance(bad, BadRow)
    assert "1.json" in bad.reason
    assert good.image == ("2.jpg",)


def test_classes_keep_their_names(tmp_path):
    for folder in ("train/cat", "train/0_dog", "train/7", "train/3d", "test/cat"):
        write(tmp_path / folder / "a.png", PNG)
    labels = {row.image[0]: (row.answer, row.split) for row in rows_of(tmp_path)}
    assert labels == {
        "test/cat/a.png": ("cat", "test"),
        "train/0_dog/a.png": ("dog", "train"),
        "train/3d/a.png": ("3d", "train"),
        "train/7/a.png": ("7", "train"),
        "train/cat/a.png": ("cat", "train"),
    }


def test_a_linked_folder_is_read_or_reported(tmp_path):
    write(tmp_path / "elsewhere" / "a.png", PNG)
    write(tmp_path / "set" / "cat" / "b.png", PNG)
    (tmp_path / "set" / "dog").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "set" / "same").symlink_to(tmp_path / "set" / "cat")
    (tmp_path / "elsewhere" / "round").symlink_to(tmp_path / "set")
    bad, row = sorted(rows_of(tmp_path / "set"), key=lambda row: not isinstance(row, BadRow))
    assert (bad.where, "follow_links" in bad.reason) == (f"{tmp_path}/set/dog", True)
    assert row.image == ("cat/b.png",)
    assert sorted(samples(tmp_path / "set", follow_links=True)) == ["cat/b.png", "dog/a.png"]


def test_a_name_that_is_no_text_costs_its_row(tmp_path):
    write(tmp_path / "a.png", PNG)
    write(tmp_path / os.fsdecode(b"\xff.png"), PNG)
    good, bad = rows_of(tmp_path)
    assert good.image == ("a.png",)
    assert "UTF-8" in bad.reason
