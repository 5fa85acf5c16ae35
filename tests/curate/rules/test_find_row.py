"""A row is found by its id, by its image or by words of its question; several are listed."""

import shutil

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.rules.find_row import find_rows
from tests.curate import sets
from tests.curate.test_curate_cli import curate
from winnow.errors import UserError


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("find")
    sets.save(folder / "images/sub/a.png", sets.scene(1))
    sets.save(folder / "images/sub/ba.png", sets.scene(2))
    rows = [
        sets.row(1, "sub/a.png", "How many DOGS are there?"),
        sets.row(12, "sub/ba.png", "What is 100% of it_?"),
        sets.row(2, "sub/ba.png", "Straße' OR 1=1 --"),
        sets.row(3, None, "\x1b[31mred [bold]?\nAnd $text?"),
        *(sets.row(100 + n, None, f"many {n}") for n in range(30)),
    ]
    sets.write_lines(folder / "rows.jsonl", rows)
    packed = [
        {
            "image": {"bytes": sets.jpeg(sets.scene(5)), "path": "photos/inside.jpg"},
            "question": "Packed?",
            "answer": "y",
        }
    ]
    pq.write_table(pa.Table.from_pylist(packed), folder / "packed.parquet")
    sources = [
        {"location": str(folder / "rows.jsonl"), "image_root": str(folder / "images")},
        {"location": str(folder / "packed.parquet")},
    ]
    sets.write_recipe(folder, sources=sources)
    pipeline.run(sets.recipe(folder, sources=sources), "recipe.yaml")
    return folder / "out"


@pytest.mark.parametrize(
    ("text", "ids"),
    [
        ("set/train/1", ["set/train/1"]),
        ("1", ["set/train/1"]),
        ("train/12", ["set/train/12"]),
        ("a.png", ["set/train/1"]),
        ("sub/ba.png", ["set/train/12", "set/train/2"]),
        ("somewhere/images/sub/a.png", ["set/train/1"]),
        ("many dogs", ["set/train/1"]),
        ("100%", ["set/train/12"]),
        ("it_", ["set/train/12"]),
        ("' OR 1=1 --", ["set/train/2"]),
        ("STRAßE", ["set/train/2"]),
        ("$text", ["set/train/3"]),
    ],
)
def test_who_is_meant(done, text, ids):
    found = find_rows(done, text)
    assert [row.sample_id for row in found.rows] == ids and found.count == len(ids)


def test_an_image_from_inside_a_table_by_the_name_it_had_there(done):
    for name in ("inside.jpg", "photos/inside.jpg"):
        (row,) = find_rows(done, name).rows
        assert row.question == "Packed?" and row.images[0].endswith(".jpg") and "inside" not in row.images[0]


def test_many_rows_are_counted_and_the_first_listed(done):
    found = find_rows(done, "MANY ")
    assert found.count == 31 and len(found.rows) == 20


@pytest.mark.parametrize("text", ["", " ", "%", "nothing like it", "[*]", "\x00"])
def test_no_row_is_an_error_that_says_what_to_give(done, text):
    if text == "%":
        assert find_rows(done, text).count == 1
        return
    with pytest.raises(UserError, match=r"no row .*; give an id such as set/train/\d+, the name or path of an image"):
        find_rows(done, text)
    with pytest.raises(UserError, match=r"no row .*; did you mean set/train/1"):
        find_rows(done, "set/trian/1")


def test_the_command_explains_one_row_and_lists_several(done, capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "explain", "a.png", "--curated", done)
    assert code == 0 and "set/train/1  keep" in out and "unreadable" in out
    code, out, _ = curate(capsys, monkeypatch, "explain", "ba.png", "--curated", done)
    assert code == 0 and "2 rows fit; choose one by its id: curate explain set/train/12 --curated" in out
    assert "set/train/2" in out and "Straße" in out and "unreadable" not in out
    for text in ("red [bold]", "?"):
        _, out, _ = curate(capsys, monkeypatch, "explain", text, "--curated", done)
        assert "\x1b" not in out and "\\x1b[31mred [bold]" in out


def test_a_folder_without_a_result_is_an_error(done, tmp_path):
    shutil.copytree(done, tmp_path / "half")
    (tmp_path / "half/manifest.json").unlink()
    with pytest.raises(UserError, match="did not finish"):
        find_rows(tmp_path / "half", "1")
