import csv
import io
import itertools
import json
import zipfile

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from curate.readers import LAYOUTS, detect, open_source
from curate.readers.files.json import iter_json, read_at
from curate.settings.sources import SourceSettings
from tests.curate.make_images import shape, write
from winnow.errors import UserError
from winnow.files import sha256_bytes
from winnow.rows.lines import check_unique
from winnow.rows.records import BadRow, Sample, to_line, to_original


def rows_of(location, **options):
    return list(open_source(SourceSettings(location=str(location), **options)).rows())


def llava(number, image="coco/1.jpg"):
    turns = [{"from": "human", "value": f"<image>\nq{number}"}, {"from": "gpt", "value": f"a{number}"}]
    return {"id": f"{number:06}", "image": image, "conversations": turns}


def test_easy_vqa_package_has_every_question():
    opened = open_source(SourceSettings(location="easy_vqa", split="test"))
    rows = list(opened.rows())
    assert opened.layout == "easy_vqa"
    assert len(rows) == 9_673
    first = rows[0]
    assert first.id == "easy_vqa/test/0"
    assert (opened.image_root / first.image[0]).is_file()
    assert {row.meta["question_type"] for row in rows} == {"yes_no", "color", "shape"}
    assert len(list(check_unique(rows))) == 9_673


def test_easy_vqa_folder_with_a_bad_row(tmp_path):
    (tmp_path / "train").mkdir()
    (tmp_path / "train" / "questions.json").write_text('[["what?", "red", 3], ["no answer"], ["is it?", "yes", 4]]')
    first, bad, last = rows_of(tmp_path, split="train")
    assert (first.image, first.meta["question_type"]) == (("train/images/3.png",), "color")
    assert (bad.position, last.id) == (1, "easy_vqa/train/2")


@pytest.mark.parametrize("layout", ["array", "lines"])
def test_llava_round_trip_changes_no_value(tmp_path, layout):
    records = [
        llava(1),
        {**llava(2), "image": ["a.jpg", "b.jpg"], "extra": {"n": 1.0}},
        {"id": 3, "conversations": llava(3)["conversations"]},
    ]
    path = tmp_path / "mix.json"
    path.write_text(json.dumps(records, indent=1) if layout == "array" else "\n".join(map(json.dumps, records)))
    opened = open_source(SourceSettings(location=str(path)))
    assert opened.layout == "conversations"
    assert [json.dumps(to_original(row)) for row in opened.rows()] == [json.dumps(record) for record in records]


def test_ms_swift_messages(tmp_path):
    record = {
        "messages": [
            {"role": "system", "content": "s"},
            {"role": "user", "content": "<image>q"},
            {"role": "assistant", "content": "a"},
        ],
        "images": ["x.png"],
    }
    path = tmp_path / "swift.jsonl"
    path.write_text(json.dumps(record))
    (row,) = rows_of(path)
    assert (row.question, row.answer, row.image) == ("q", "a", ("x.png",))
    assert to_original(row) == record


def test_repeated_rows_without_ids_are_numbered_not_refused(tmp_path):
    record = llava(1)
    del record["id"]
    path = tmp_path / "same.jsonl"
    path.write_text("\n".join([json.dumps(record)] * 3))
    first, second, third = (row.id for row in rows_of(path))
    assert (second, third) == (f"{first}-2", f"{first}-3")


def test_repeated_own_ids_can_be_numbered_by_position(tmp_path):
    path = tmp_path / "same.jsonl"
    path.write_text("\n".join(json.dumps(llava(1)) for _ in range(2)))
    assert len({row.id for row in rows_of(path)}) == 1
    assert [row.id for row in rows_of(path, ids="position")] == ["same/000001#0", "same/000001#1"]


def test_image_root_is_found_near_the_file(tmp_path):
    write(tmp_path / "images" / "coco" / "1.jpg", shape())
    (tmp_path / "annotations").mkdir()
    path = tmp_path / "annotations" / "a.json"
    path.write_text(json.dumps([llava(1)]))
    assert open_source(SourceSettings(location=str(path))).image_root == tmp_path / "images"
    given = SourceSettings(location=str(path), image_root=str(tmp_path))
    assert open_source(given).image_root == tmp_path
    with pytest.raises(UserError, match="no such folder"):
        open_source(SourceSettings(location=str(path), image_root=str(tmp_path / "none")))


def test_absolute_paths_below_the_root_become_relative_and_are_written_back(tmp_path):
    record, outside = llava(1, str(tmp_path / "a" / "1.jpg")), llava(2, "/elsewhere/1.jpg")
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(record) + "\n" + json.dumps(outside))
    inner, outer = rows_of(path, image_root=str(tmp_path))
    assert (inner.image, outer.image) == (("a/1.jpg",), ("/elsewhere/1.jpg",))
    assert to_original(inner) == record


@pytest.mark.parametrize(
    "text", ["[1, 2", "[1,,2]", "[1 2]", '[{"a": 1}, {"a": tru', "[1, 2]x", "", "[", "[]", " [ ] ", "[1,]"]
)
def test_arrays_end_or_say_why_not(tmp_path, text):
    path = tmp_path / "a.json"
    path.write_text(text)
    try:
        whole = json.loads(text)
    except ValueError:
        whole = None
    values = []
    try:
        for row in iter_json(path):
            values.append(row.value)
    except UserError as error:
        assert whole is None
        assert f"{path}: broken at byte " in str(error)
    else:
        expected = {"": [], "[1,]": [1]}  # nothing is no error, nor is the last comma that people leave
        assert values == expected.get(text, whole)


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=4),
    max_leaves=10,
)


@settings(suppress_health_check=list(HealthCheck), deadline=None)
@given(st.lists(VALUES, max_size=6), st.booleans(), st.sampled_from([None, 0, 3]), st.integers(1, 40))
def test_streamed_arrays_equal_json_loads(tmp_path, values, ascii_only, indent, chunk):
    path = tmp_path / "a.json"
    path.write_text(
        json.dumps(values, ensure_ascii=ascii_only, indent=indent), encoding="utf-8", errors="surrogatepass"
    )
    readable = [is_text(value) for value in values]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("curate.readers.files.json_text.CHUNK", chunk)
        if not all(readable) and not ascii_only:
            with pytest.raises(UserError, match="not UTF-8"):
                list(iter_json(path))
            return
        rows = list(iter_json(path))
    assert [row.position for row in rows] == list(range(len(values)))
    assert [not isinstance(row, BadRow) for row in rows] == readable
    assert [row.value for row in rows if not isinstance(row, BadRow)] == list(itertools.compress(values, readable))
    for row in rows:
        if not isinstance(row, BadRow):
            assert read_at(path, row.offset) == row.value


def is_text(value):
    try:
        return bool(json.dumps(value, ensure_ascii=False).encode())
    except UnicodeEncodeError:
        return False


SEED_LINES = [
    json.dumps(llava(1)),
    json.dumps({"question": "q", "answers": ["a", "b"], "image": "x.png"}),
    to_line(Sample("i", (), ())),
]


@settings(max_examples=400, suppress_health_check=list(HealthCheck), deadline=None)
@given(st.data())
def test_mutated_lines_never_raise(tmp_path, data):
    line = bytearray(data.draw(st.sampled_from(SEED_LINES)).encode())
    for _ in range(data.draw(st.integers(1, 5))):
        at = data.draw(st.integers(0, len(line)))
        line[at : at + data.draw(st.integers(0, 4))] = data.draw(st.binary(max_size=6))
    path = tmp_path / "a.jsonl"
    path.write_bytes(SEED_LINES[0].encode() + b"\n" + bytes(line) + b"\n")
    rows = rows_of(path, layout="conversations")
    assert isinstance(rows[0], Sample)
    for row in rows:
        if isinstance(row, Sample):
            assert json.loads(to_line(row).encode())
        else:
            assert row.where.startswith(f"{path}:")


def as_csv(rows, delimiter=","):
    buffer = io.StringIO()
    csv.writer(buffer, delimiter=delimiter).writerows(rows)
    return buffer.getvalue()


def test_csv_with_lists_as_json_and_as_pandas_writes_them(tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text(
        as_csv(
            [
                ["Image_Path", "Question", "answers", "who"],
                ["a.png", "one?", '["x", "y", "y"]', "me"],
                ["b.png", "two?", "['it''s', \"o'clock\"]", ""],
                ["c.png", "three?", "plain [text]", ""],
            ]
        ),
        encoding="utf-8-sig",
    )
    one, two, three = rows_of(path)
    assert (one.image, one.question, one.answer, one.answers) == (("a.png",), "one?", "y", ("x", "y", "y"))
    assert one.meta == {"who": "me", "answers": '["x", "y", "y"]'}
    assert two.answers == ("its", "o'clock")
    assert three.answers == ("plain [text]",)
    assert detect(str(path)) == "table"


@pytest.mark.parametrize("delimiter", [",", "\t", ";"])
def test_csv_bad_rows_cost_themselves(tmp_path, delimiter):
    path = tmp_path / "t.tsv"
    good = as_csv([["image", "question", "answer"], ["a.png", "q", "one\nline"]], delimiter).encode()
    path.write_bytes(
        good
        + f"b.png{delimiter}q\n".encode()
        + f"\xff{delimiter}q{delimiter}a\n".encode("latin-1")
        + f"c.png{delimiter}q{delimiter}café\n".encode()
    )
    rows = rows_of(path)
    assert [type(row) for row in rows] == [Sample, BadRow, BadRow, Sample]
    assert rows[0].answer == "one\nline"
    assert [row.where for row in rows if isinstance(row, BadRow)] == [f"{path}:4", f"{path}:5"]


def test_parquet_keeps_types_votes_and_other_columns(tmp_path):
    path = tmp_path / "votes.parquet"
    table = {
        "question_id": [7, 8],
        "image": [{"bytes": None, "path": "a.png"}, {"bytes": b"x", "path": "b.png"}],
        "question": ["how many?", "q"],
        "answers": [
            [{"answer": "2", "sure": "yes"}, {"answer": "3", "sure": "no"}, {"answer": "2", "sure": "no"}],
            None,
        ],
        "when": pa.array([0, 1], pa.timestamp("s")),
        "split": ["val", "val"],
    }
    pq.write_table(pa.table(table), path)
    row, other = rows_of(path, source="vqa")
    assert (row.id, row.image, row.answers, row.answer) == ("vqa/val/7", ("a.png",), ("2", "3", "2"), "2")
    assert row.meta["question_id"] == 7
    assert row.meta["answers"][1] == {"answer": "3", "sure": "no"}
    assert row.meta["when"] == "1970-01-01T00:00:00"
    assert json.loads(to_line(row))
    assert other.image == (f"images/2d/{sha256_bytes(b'x')}",)
    assert list(other.embedded.values()) == [b"x"]


def test_captions_get_a_question(tmp_path):
    path = tmp_path / "captions.jsonl"
    path.write_text(json.dumps({"file_name": "a.png", "captions": ["a dog", "the dog", "a dog"]}))
    (row,) = rows_of(path)
    assert (row.question, row.answer, row.answers) == ("Describe the image.", "a dog", ("a dog", "the dog", "a dog"))


def test_numbers_as_answers_become_text_and_keep_their_type_in_meta(tmp_path):
    path = tmp_path / "n.jsonl"
    path.write_text(json.dumps({"image": "a.png", "question": "how many?", "answer": 2}))
    (row,) = rows_of(path)
    assert (row.answer, row.answers, row.meta) == ("2", ("2",), {"answer": 2})


def test_columns_can_be_named(tmp_path):
    path = tmp_path / "t.csv"
    path.write_text("pic,ask,say\na.png,what?,that\n")
    with pytest.raises(UserError, match=r"no column with answers.*pic, ask, say"):
        open_source(SourceSettings(location=str(path)))
    (row,) = rows_of(path, columns={"image": "pic", "question": "ask", "answer": "say"})
    assert (row.image, row.question, row.answer) == (("a.png",), "what?", "that")
    with pytest.raises(UserError, match="no column 'pics'"):
        open_source(SourceSettings(location=str(path), columns={"image": "pics"}))
    with pytest.raises(UserError, match="unknown role"):
        open_source(SourceSettings(location=str(path), columns={"photo": "pic"}))


def test_rows_whose_keys_differ_are_read_one_by_one(tmp_path):
    path = tmp_path / "mixed.jsonl"
    rows = [{"image": "a.png", "question": "q", "answer": "a"}, {"image": "b.png", "caption": "c"}, {"image": "c.png"}]
    path.write_text("\n".join(map(json.dumps, rows)))
    one, two, bad = rows_of(path)
    assert (one.answer, two.answer) == ("a", "c")
    assert isinstance(bad, BadRow)


def test_lists_of_an_inner_object_are_read(tmp_path):
    row = {"image": "a.jpg", "caption": "b"}
    path = tmp_path / "rows.json"
    path.write_text(json.dumps({"version": 1, "data": {"note": "n", "train": [row, row], "val": [row]}}))
    found = open_source(SourceSettings(location=str(path)))
    assert [sample.split for sample in found.rows()] == ["train", "train", "val"]
    assert found.notes == (f"{path}: one JSON object; its rows are 'train', 'val' in 'data'",)
    path.write_text(json.dumps({"data": {"rows": [row]}}))
    assert [(sample.answer, sample.split) for sample in open_source(SourceSettings(location=str(path))).rows()] == [
        ("b", "")
    ]
    path.write_text(json.dumps({"data": {"images": [row], "captions": [row]}}))
    with pytest.raises(UserError, match=r"several lists of rows .*jq '\.data\.captions'"):
        open_source(SourceSettings(location=str(path)))


@pytest.mark.parametrize(
    ("content", "layout"),
    [
        (b'[{"conversations": [{"from": "human", "value": "x"}]}]', "conversations"),
        (b'{"messages": [{"role": "user", "content": "x"}]}\n', "conversations"),
        (b'{"image": "a", "caption": "b"}\n', "table"),
        (b"image,caption\na,b\n", "table"),
    ],
)
def test_layout_is_known_by_content_whatever_the_name(tmp_path, content, layout):
    path = tmp_path / "data.bin"
    path.write_bytes(content)
    assert detect(str(path)) == layout


def test_what_is_no_source_is_a_sentence(tmp_path):
    (tmp_path / "empty.json").write_text("")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 but broken")
    (tmp_path / "folder").mkdir()
    with zipfile.ZipFile(tmp_path / "packed.json", "w") as packed:
        packed.writestr("a.json", "{}")
    (tmp_path / "cut.xlsx").write_bytes((tmp_path / "packed.json").read_bytes()[:-30])
    (tmp_path / "object.json").write_text('{\n"a": 1,\n"b": [2]}')
    for location, words in [
        ("none", "no such file"),
        ("folder", "a folder of no known layout; give a file in it"),
        ("empty.json", "empty.json: is empty"),
        ("object.json", "no column with answers, captions or questions among a, b"),
        ("broken.parquet", "Parquet"),
        ("packed.json", "is a zip file; unpack it"),
        ("cut.xlsx", "is no whole xlsx workbook"),
        ("x" * 300, "too long"),
        ("a\0b", "no such file"),
    ]:
        with pytest.raises(UserError, match=words):
            open_source(SourceSettings(location=str(tmp_path / location)))
    with pytest.raises(UserError, match=r"unknown layout 'vqq'; known: .*conversations.*docvqa.*vqa"):
        open_source(SourceSettings(location=str(tmp_path / "empty.json"), layout="vqq"))
    assert all(layout.title and layout.example for layout in LAYOUTS.values())
