"""Tables in other containers: Arrow, saved datasets, workbooks, folders of files, JSON of other shapes."""

import gzip
import json
import zipfile
from pathlib import Path

import datasets
import openpyxl
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.exports.filtered import write_filtered
from curate.readers import open_source
from curate.readers.files.arrow import _of_bytes
from curate.readers.files.json import iter_json
from curate.readers.files.rows import iter_rows, notes_on
from curate.readers.images.store import content_path
from curate.readers.location import split_of
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise, write
from winnow.errors import UserError
from winnow.rows.records import BadRow

PNG = encoded(noise(16, 12))
FEATURES = datasets.Features(
    {
        "image": datasets.Image(),
        "question": datasets.Value("string"),
        "answer": datasets.ClassLabel(names=["cat", "dog"]),
        "tags": datasets.List(datasets.ClassLabel(names=["old", "new"])),
    }
)


def opened(location, **options):
    return open_source(SourceSettings(location=str(location), **options))


def dataset(rows, first=0):
    made = [
        {"image": {"bytes": PNG, "path": f"{n}.png"}, "question": f"Which {n}?", "answer": n % 2, "tags": [1, 0]}
        for n in range(first, first + rows)
    ]
    return datasets.Dataset.from_list(made, features=FEATURES)


def test_a_saved_dataset_that_is_cut_off_is_said_to_be(tmp_path):
    dataset(5).save_to_disk(tmp_path / "saved")
    (file,) = (tmp_path / "saved").glob("*.arrow")
    file.write_bytes(file.read_bytes()[:-1000])
    with pytest.raises(UserError, match=r"\.arrow: not readable as Arrow after row 0"):
        list(opened(tmp_path / "saved").rows())


def test_a_saved_dataset_is_read_with_images_and_names_of_classes(tmp_path):
    dataset(5).save_to_disk(tmp_path / "saved", num_shards=2)
    found = opened(tmp_path / "saved")
    rows = list(found.rows())
    assert found.layout == "table"
    assert [row.question for row in rows] == [f"Which {n}?" for n in range(5)]
    assert [row.answer for row in rows] == ["cat", "dog", "cat", "dog", "cat"]
    assert rows[0].meta["tags"] == ["new", "old"]
    assert rows[0].image == (content_path(PNG),)
    assert rows[0].embedded == {content_path(PNG): PNG}


def test_a_saved_dict_has_its_splits(tmp_path):
    datasets.DatasetDict({"train": dataset(3), "test": dataset(2, first=3)}).save_to_disk(tmp_path / "saved")
    assert [row.split for row in opened(tmp_path / "saved").rows()] == ["train"] * 3 + ["test"] * 2
    assert [row.question for row in opened(tmp_path / "saved", split="test").rows()] == ["Which 3?", "Which 4?"]
    next((tmp_path / "saved" / "test").glob("*.arrow")).unlink()
    with pytest.raises(UserError, match=r"no such file, but .*state\.json names it"):
        opened(tmp_path / "saved")


def test_the_cache_of_datasets_is_a_folder_of_arrow_files(tmp_path):
    write(tmp_path / "dataset_info.json", b"{}")
    for name in ("train", "test"):
        with pa.OSFile(str(tmp_path / f"parquet-{name}.arrow"), "wb") as sink:
            table = dataset(2).data.table
            with pa.ipc.new_stream(sink, table.schema) as out:
                out.write_table(table)
    assert sorted(row.split for row in opened(tmp_path).rows()) == ["test", "test", "train", "train"]


def test_classes_of_a_parquet_file_have_their_names(tmp_path):
    dataset(2).to_parquet(tmp_path / "a.parquet")
    assert [row.answer for row in opened(tmp_path / "a.parquet").rows()] == ["cat", "dog"]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([0, 2**30], pa.date32()),
        pa.array([0, 2**60], pa.timestamp("us")),
        pa.array([0, 2**62], pa.duration("s")),
        pa.array([b"a", b"\xff"]).view(pa.string()),
        pa.array([[b"a"], [b"\xff"]]).view(pa.list_(pa.string())),
    ],
    ids=lambda values: str(values.type),
)
def test_a_value_of_parquet_that_nothing_can_hold_costs_its_row(tmp_path, values):
    columns = {"image": ["a.png", "b.png", "c.png"], "question": ["q", "r", "s"], "answer": ["x"] * 3}
    pq.write_table(pa.table({**columns, "odd": pa.concat_arrays([values, values[:1]])}), tmp_path / "a.parquet")
    first, bad, last = opened(tmp_path / "a.parquet").rows()
    assert (first.image, last.image) == (("a.png",), ("c.png",))
    assert isinstance(bad, BadRow)
    assert "'odd' of type" in bad.reason


@pytest.mark.parametrize("kind", ["stream", "file", "feather"])
def test_arrow_files_of_every_kind(tmp_path, kind):
    table = pa.table({"image": ["a.png", "b.png"], "caption": ["x", None]})
    path = tmp_path / "a.arrow"
    if kind == "feather":
        feather.write_feather(table, path)
    else:
        make = pa.ipc.new_file if kind == "file" else pa.ipc.new_stream
        with pa.OSFile(str(path), "wb") as sink, make(sink, table.schema) as out:
            out.write_table(table)
    assert [row.value for row in iter_rows(path)] == table.to_pylist()


@pytest.mark.parametrize(
    "kind",
    [
        pa.string(), pa.large_string(), pa.string_view(), pa.list_(pa.string()), pa.large_list(pa.large_string()),
        pa.struct({"value": pa.string()}), pa.list_(pa.struct({"from": pa.int8(), "value": pa.string()})),
    ],
    ids=str,
)  # fmt: skip
def test_a_text_of_arrow_that_is_not_utf8_costs_its_row(tmp_path, kind):
    as_bytes = _of_bytes(kind)
    assert as_bytes != kind

    def value(data):
        if pa.types.is_struct(kind):
            return {"value": data}
        if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
            return [{"from": 1, "value": b"fine"}, {"from": 2, "value": data}]
        return [b"fine", data] if pa.types.is_nested(kind) else data

    texts = pa.array([value(b"longer than a view holds itself"), value(b"\xff"), value(b"c")], as_bytes).view(kind)
    batch = pa.record_batch([pa.array(["1", "2", "3"]), texts], ["id", "t"])
    with pa.OSFile(str(tmp_path / "a.arrow"), "wb") as sink, pa.ipc.new_stream(sink, batch.schema) as out:
        out.write_batch(batch)
    first, bad, last = iter_rows(tmp_path / "a.arrow")
    assert (first.value["id"], last.value["id"]) == ("1", "3")
    assert "longer than" in str(first.value["t"])
    assert isinstance(bad, BadRow) and bad.reason.startswith("'t' of type")


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_damaged_arrow_is_a_sentence(tmp_path, data):
    path = tmp_path / "a.arrow"
    table = pa.table({"image": ["a.png", "b.png"], "caption": ["x", "yy"], "n": [[1], [2, 3]]})
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, table.schema) as out:
        out.write_table(table)
    damaged(path, data)
    with_rows_or_sentence(path)


def workbook(path, *sheets):
    book = openpyxl.Workbook()
    book.remove(book.active)
    for name, lines in sheets:
        sheet = book.create_sheet(name)
        for line in lines:
            sheet.append(line)
    book.save(path)
    return path


def test_a_workbook_is_read_by_its_first_sheet(tmp_path):
    lines = [
        ["image", "question", "answer", None],
        ["a.png", "How many?", 3],
        [],
        ["b.png", None, 2.5],
        ["c", 1, 2, "x"],
    ]
    path = workbook(tmp_path / "a.xlsx", ("rows", lines), ("notes", [["other"]]))
    first, second, bad = iter_rows(path)
    assert first.value == {"image": "a.png", "question": "How many?", "answer": 3}
    assert second.value == {"image": "b.png", "question": "", "answer": 2.5}
    assert second.where.endswith("a.xlsx: line 4")
    assert "a cell without a column name holds 'x'" in bad.reason
    (note,) = notes_on(path)
    assert "only the first sheet is read; not notes" in note
    assert next(opened(path).rows()).answer == "3"


def test_workbooks_that_cannot_be_read_are_a_sentence(tmp_path):
    write(tmp_path / "locked.xlsx", b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1" + bytes(600))
    with pytest.raises(UserError, match=r"old \.xls or a workbook with a password; save it as"):
        opened(tmp_path / "locked.xlsx")
    with pytest.raises(UserError, match="must name the columns; it is empty"):
        list(iter_rows(workbook(tmp_path / "empty.xlsx", ("a", [[None], [1]]))))
    with pytest.raises(UserError, match="'a' is there twice"):
        list(iter_rows(workbook(tmp_path / "twice.xlsx", ("a", [["a", "b", "a"]]))))


def test_two_far_corners_of_a_sheet_take_no_memory_and_a_bomb_is_refused(tmp_path, monkeypatch):
    book = openpyxl.Workbook()
    book.active.append(["image", "caption"])
    book.active.cell(1_048_576, 1, "a.png")
    book.save(tmp_path / "far.xlsx")
    rows = list(iter_rows(tmp_path / "far.xlsx"))
    assert [row.value for row in rows] == [{"image": "a.png", "caption": ""}]
    monkeypatch.setattr("curate.readers.files.xlsx._MAX_UNPACKED", 1000)
    with pytest.raises(UserError, match="unpacks to more than"):
        list(iter_rows(tmp_path / "far.xlsx"))


@settings(max_examples=150, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_damaged_workbooks_are_a_sentence(tmp_path, data):
    whole = workbook(tmp_path / "whole.xlsx", ("a", [["image", "caption"], ["a.png", "x"], ["b.png", 2]]))
    path = tmp_path / "a.xlsx"
    with zipfile.ZipFile(whole) as old, zipfile.ZipFile(path, "w") as new:
        parts = {name: bytearray(old.read(name)) for name in old.namelist()}
        part = parts[data.draw(st.sampled_from(sorted(parts)))]
        for _ in range(data.draw(st.integers(1, 3))):
            at = data.draw(st.integers(0, len(part)))
            part[at : at + data.draw(st.integers(0, 9))] = data.draw(st.binary(max_size=6))
        for name, content in parts.items():
            new.writestr(name, bytes(content))
    with_rows_or_sentence(path)


def damaged(path, data):
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(content)))
        content[at : at + data.draw(st.integers(0, 6))] = data.draw(st.binary(max_size=6))
    path.write_bytes(content)


def with_rows_or_sentence(path):
    try:
        list(iter_rows(path))
    except UserError as error:
        assert str(path) in str(error)


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".jsonl", ".xlsx", ".parquet", ".csv.gz"])
def test_a_folder_of_files_of_one_kind_is_one_table(tmp_path, ending):
    import pandas

    for name in ("train-0", "train-1", "test"):
        table = pandas.DataFrame({"image": [f"{name}.png"], "question": ["What?"], "answer": [name]})
        path = tmp_path / f"{name}{ending}"
        if ending == ".xlsx":
            table.to_excel(path, index=False)
        elif ending == ".parquet":
            table.to_parquet(path)
        elif ending == ".jsonl":
            table.to_json(path, orient="records", lines=True)
        else:
            table.to_csv(path, index=False, sep="\t" if ending == ".tsv" else ",")
    write(tmp_path / "README.md", b"words")
    assert [(row.answer, row.split) for row in opened(tmp_path).rows()] == [
        ("test", "test"), ("train-0", "train"), ("train-1", "train"),
    ]  # fmt: skip
    assert [row.answer for row in opened(tmp_path, split="train").rows()] == ["train-0", "train-1"]


def test_tables_of_other_columns_are_not_one_table(tmp_path):
    write(tmp_path / "a.csv", b"image,caption\na.png,x\n")
    write(tmp_path / "b.csv", b"name,size,caption\nq,1,c\n")
    with pytest.raises(UserError, match=r"it holds a\.csv \(table\), b\.csv \(table\): give one of these"):
        opened(tmp_path)


ROWS = [{"image": "a.png", "question": "What?", "answer": "a"}, {"image": "b.png", "question": "Who?", "answer": "b"}]
SHAPES = {
    "array": json.dumps(ROWS),
    "lines": "\n".join(map(json.dumps, ROWS)),
    "lines with a mark and carriage returns": "\ufeff" + "\r\n".join(map(json.dumps, ROWS)),
    "under a key": json.dumps({"info": {"version": 1}, "data": ROWS}),
    "under a key, indented": json.dumps({"rows": ROWS, "license": "x"}, indent=1),
    "one after another": "".join(map(json.dumps, ROWS)),
    "one after another, indented": "\n".join(json.dumps(row, indent=2) for row in ROWS),
    "commas at line ends": "".join(f"{json.dumps(row)},\n" for row in ROWS),
    "comma before the end": json.dumps(ROWS)[:-1] + ",\n]",
}


@pytest.mark.parametrize("shape", SHAPES)
def test_rows_are_found_in_json_of_every_shape(tmp_path, shape):
    path = tmp_path / "a.json"
    path.write_text(SHAPES[shape], encoding="utf-8")
    assert [row.value for row in iter_json(path)] == ROWS
    assert [row.position for row in iter_json(path)] == [0, 1]
    assert opened(path).layout == "table"
    assert [note.endswith(("'data'", "'rows'")) for note in notes_on(path)] == [True] * shape.startswith("under")


def test_lists_of_splits_and_rows_by_id(tmp_path):
    path = tmp_path / "a.json"
    path.write_text(json.dumps({"train": ROWS[:1], "test": ROWS[1:]}))
    assert [row.split for row in opened(path).rows()] == ["train", "test"]
    path.write_text(json.dumps({"q1": ROWS[0], "q2": ROWS[1]}))
    assert [row.id for row in opened(path).rows()] == ["a/q1", "a/q2"]


def test_one_row_alone_is_a_row(tmp_path):
    path = tmp_path / "a.json"
    for row in (ROWS[0], {"messages": [{"role": "user", "content": "x"}], "images": ["a.png"]}):
        for indent in (None, 2):
            path.write_text(json.dumps(row, indent=indent))
            assert [found.value for found in iter_json(path)] == [row]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"images": [{"id": 1}], "annotations": [{"id": 1}]}, r"several lists of rows \(images, annotations\).*jq"),
        ({"image": ["a.png", "b.png"], "answer": ["x", "y"]}, r"holds columns, not rows.*orient='records'"),
        ({"image": {"0": "a.png"}, "answer": {"0": "x"}}, "holds columns, not rows"),
    ],
)
def test_what_cannot_be_guessed_is_a_sentence(tmp_path, document, words):
    path = tmp_path / "a.json"
    path.write_text(json.dumps(document))
    with pytest.raises(UserError, match=words):
        opened(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "Git LFS pointer.*git lfs pull"),
        (b"<!DOCTYPE html>\n<html>", "web page.*download the data itself"),
        (b"", "is empty"),
        (b" \n\n", "is empty"),
        (b"\n\nimage,caption\n", "the first line must name the columns; it is empty"),
        (b"\x80\x04\x95\x10", "pickle"),
        (b"PK\x03\x04" + bytes(30), "zip file; unpack it"),
        (b"BZh91AY", "bzip2"),
        (bytes(range(256)) * 4 + bytes(400), "neither a table nor a text"),
        (b"a,a\n1,2\n", "'a' is there twice"),
        (b'{"a": 1} x {', r"none of the first rows can be read; .*a\.\w+:1: not JSON"),
    ],
)
def test_a_file_of_another_kind_says_what_it_is(tmp_path, content, words):
    for name in ("a.json", "a.csv", "a.parquet"):
        path = write(tmp_path / name, content)
        with pytest.raises(UserError, match=words):
            list(opened(path).rows())


def test_a_latin1_table_names_the_encoding_where_the_source_is_opened(tmp_path):
    path = write(tmp_path / "a.csv", "image,caption\nimg/a.jpg,café\n".encode("latin-1"))
    found = opened(path)
    (row,) = found.rows()
    assert row.answer == "café"
    assert not isinstance(row, BadRow)
    assert [note.partition("; ")[0] for note in found.notes] == [f"{path}: is not UTF-8 and is read as cp1252"]


def test_a_table_of_parquet_bytes_has_no_notes(tmp_path):
    pq.write_table(pa.table({"image": ["a.png"], "caption": ["b"]}), tmp_path / "a.parquet")
    assert opened(tmp_path / "a.parquet").notes == ()


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-8-sig"])
def test_a_table_is_written_back_in_its_encoding(tmp_path, encoding):
    lines = ["image;caption\r\n", "a.jpg;café\r\n", "b.jpg;thé\r\n"]
    path = write(tmp_path / "a.csv", "".join(lines).encode(encoding))
    write_filtered(iter_rows(path), tmp_path / "b.csv", [1], {})
    assert (tmp_path / "b.csv").read_bytes() == (lines[0] + lines[2]).encode(encoding)


@pytest.mark.parametrize("shape", SHAPES)
def test_json_is_written_back_or_known_not_to_be_copyable(tmp_path, shape):
    path = tmp_path / "a.json"
    path.write_text(SHAPES[shape], encoding="utf-8")
    rows = iter_json(path)
    assert rows.copyable == (not shape.startswith(("one after", "commas")))
    if rows.copyable:
        write_filtered(rows, tmp_path / "b.json", [1], {})
        assert [row.value for row in iter_json(tmp_path / "b.json")] == ROWS[1:]
    packed = write(tmp_path / "a.json.gz", gzip.compress(path.read_bytes()))
    assert not iter_json(packed).copyable


@pytest.mark.parametrize(
    ("name", "split"),
    [
        ("train-00000-of-00002.parquet", "train"), ("trainset.json", "train"), ("test_set.csv", "test"),
        ("val.jsonl", "validation"), ("trainer.json", ""), ("cache-test-00001-of-00002.arrow", "test"), ("x.csv", ""),
    ],
)  # fmt: skip
def test_a_file_name_tells_its_split(name, split):
    assert split_of(Path(name)) == split


def test_a_folder_of_many_files_names_some_and_counts_the_others(tmp_path):
    for number in range(30):
        write(tmp_path / f"{number:03}.json", b'{"company": "x", "total": 1, "text": "y"}')
    with pytest.raises(UserError, match=r"000\.json \(table\), .*, 10 more: give one of these"):
        opened(tmp_path)
