"""The column of the images is found by what its cells hold."""

import base64
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.readers import open_source
from curate.readers.images.store import content_path
from curate.readers.tables.image_column import ends_as_image, is_likely, looks_like_path
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, write
from tests.curate.sets import scene
from winnow.rows.records import to_original

PNG = encoded(scene(1))


def table(tmp_path, *rows, **options):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return list(open_source(SourceSettings(location=str(path), **options)).rows())


@pytest.mark.parametrize("name", ["file", "img_name", "scan_path", "Bild", "photo", "frame", "source", "decoded_image"])
@pytest.mark.parametrize(
    "cell",
    ["img/a.png", ["img/a.png", "img/b.png"], "https://example.org/a.jpg?w=3", "gone/a.JPEG", {"path": "img/a.png"}],
)
def test_whatever_its_name(tmp_path, name, cell):
    write(tmp_path / "img" / "a.png", PNG)
    (row,) = table(tmp_path, {name: cell, "caption": "discs"})
    wanted = cell["path"] if isinstance(cell, dict) else cell
    assert row.image == (tuple(wanted) if isinstance(wanted, list) else (wanted,))
    assert row.answer == "discs" and row.unclaimed == ()
    assert f"the images are in column {name!r}, as its content shows" in row.notes


def test_bytes_and_base64_under_any_name(tmp_path):
    (row,) = table(tmp_path, {"pixels": base64.b64encode(PNG).decode(), "caption": "discs"})
    assert row.image == (content_path(PNG),)
    pq.write_table(pa.table({"pixels": [PNG], "caption": ["discs"]}), tmp_path / "a.parquet")
    (row,) = open_source(SourceSettings(location=str(tmp_path / "a.parquet"))).rows()
    assert (row.image, row.meta) == ((content_path(PNG),), {})


def test_a_file_without_an_ending_is_an_image_by_its_content(tmp_path):
    write(tmp_path / "img" / "0001", PNG)
    write(tmp_path / "README", b"no image")
    found, text = table(tmp_path, {"pic": "img/0001", "caption": "x"}, {"pic": "README", "caption": "x"})
    assert (found.image, text.image) == (("img/0001",), ("README",))
    (other,) = table(tmp_path, {"about": "README", "question": "q", "answer": "a"})
    assert (other.image, other.unclaimed) == ((), ("about",))


def test_a_column_with_a_usual_name_that_holds_no_images_loses(tmp_path):
    write(tmp_path / "photos" / "a.png", PNG)
    row = {"url": "https://example.org/page", "path": "shelf 3", "scan": "photos/a.png", "question": "q"}
    (sample,) = table(tmp_path, row)
    assert sample.image == ("photos/a.png",)
    assert sample.unclaimed == ("url", "path")


def test_what_exists_wins_and_a_usual_name_decides_between_equals(tmp_path):
    write(tmp_path / "a.png", PNG)
    (there,) = table(tmp_path, {"image": "gone.png", "photo": "a.png", "caption": "x"})
    assert there.image == ("a.png",)
    (equal,) = table(tmp_path, {"mask": "a.png", "image": "a.png", "caption": "x"})
    assert (equal.image, equal.unclaimed) == (("a.png",), ("mask",))
    (neither,) = table(tmp_path, {"mask": "m.png", "image": "gone.png", "caption": "x"})
    assert neither.image == ("gone.png",)


def test_urls_of_crawled_images_need_no_ending(tmp_path):
    laion, page = table(
        tmp_path,
        {"URL": "https://example.org/i?id=3", "TEXT": "discs", "WIDTH": 64},
        {"url": "https://example.org/page", "text": "words", "question": "q", "answer": "a"},
    )
    assert laion.image == ("https://example.org/i?id=3",) and laion.answer == "discs"
    assert page.image == () and page.unclaimed == ("url", "text")


def test_image_and_images_are_one_list(tmp_path):
    rows = [({"image": "a.jpg", "images": ["b.jpg", "a.jpg"]}, "ab"), ({"images": ["a.jpg"], "image": "a.jpg"}, "a")]
    for fields, wanted in rows:
        (row,) = table(tmp_path, {**fields, "question": "q", "answer": "a"})
        assert row.image == tuple(f"{name}.jpg" for name in wanted) and row.unclaimed == ()


def test_a_recipe_may_name_several_columns(tmp_path):
    row = {"left": "a.jpg", "right": "b.jpg", "question": "q", "answer": "a"}
    (first,) = table(tmp_path, row)
    assert (first.image, first.unclaimed) == (("a.jpg",), ("right",))
    (both,) = table(tmp_path, row, columns={"image": ["right", "left"]})
    assert (both.image, both.unclaimed) == (("b.jpg", "a.jpg"), ())
    with pytest.raises(ValueError, match="'answer' needs one column"):
        table(tmp_path, row, columns={"answer": ["a", "b"]})


def test_a_missing_path_beside_bytes(tmp_path):
    write(tmp_path / "img" / "b.png", PNG)
    other = encoded(scene(2))
    rows = [
        {"image": "img/a.png", "decoded_image": {"bytes": other, "path": None}, "caption": "x"},
        {"image": "img/b.png", "decoded_image": {"bytes": PNG, "path": None}, "caption": "x"},
    ]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    missing, present = open_source(SourceSettings(location=str(tmp_path / "a.parquet"))).rows()
    assert missing.image == (content_path(other),) and missing.meta == {"image": "img/a.png", "image_path": "img/a.png"}
    assert present.image == ("img/b.png",) and present.meta == {}
    assert "'decoded_image' holds the bytes of images that are files too, and is not kept" in present.notes
    assert missing.unclaimed == present.unclaimed == ()


def test_first_rows_without_an_image_do_not_hide_the_column(tmp_path):
    plain = [{"scan": None, "question": f"q{number}", "answer": "a"} for number in range(60)]
    *_, last = table(tmp_path, *plain, {"scan": "a.png", "question": "q", "answer": "a"})
    assert last.image == ("a.png",)


def test_conversations_in_parquet_with_an_image_under_another_name(tmp_path):
    turns = [{"role": "user", "content": "<image>q"}, {"role": "assistant", "content": "a"}]
    rows = [{"pixels": {"bytes": PNG, "path": "p.png"}, "messages": turns}]
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "a.parquet")
    (row,) = open_source(SourceSettings(location=str(tmp_path / "a.parquet"))).rows()
    assert (row.image, row.answer) == ((content_path(PNG),), "a")


def test_rows_that_only_seem_to_name_images_are_told(tmp_path):
    row, other = table(tmp_path, *({"photo_id": f"shelf/{name}", "question": "q", "answer": "a"} for name in "xy"))
    assert row.image == () and row.unclaimed == ("photo_id",)
    assert row.notes == other.notes and "`columns: {image: photo_id}`" in row.notes[0]
    (named,) = table(tmp_path, {"photo_id": "shelf/x", "question": "q", "answer": "a"}, columns={"image": "photo_id"})
    assert (named.image, named.unclaimed) == (("shelf/x",), ())


@pytest.mark.parametrize(
    "text", ["What is in a.jpg?", "a.mp4", "a.jpg.txt", "jpg", "", "https://example.org/a.html", "x" * 5000]
)
def test_what_is_no_image(text):
    assert not ends_as_image(text) and not is_likely(text)


@given(st.text(max_size=40) | st.binary(max_size=40) | st.lists(st.text(max_size=9), max_size=3) | st.integers())
def test_any_cell_is_judged_without_an_error(cell):
    assert is_likely(cell) in (True, False) and looks_like_path(cell) in (True, False)


def test_conversations_whose_images_have_another_key(tmp_path):
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    record = {"id": "1", "img_path": "a.jpg", "conversations": turns, "score": 3}
    (row,) = table(tmp_path, record)
    assert (row.image, row.meta, row.unclaimed) == (("a.jpg",), {"score": 3}, ("score",))
    assert to_original(row) == record
