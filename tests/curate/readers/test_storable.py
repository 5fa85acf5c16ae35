"""One row never makes samples.jsonl unreadable for the libraries that people load it with."""

import json
import math

import duckdb
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.pipeline import run as curate
from curate.readers.storable import MAX_DEPTH, encodable, storable
from tests.curate import sets
from winnow.rows.records import BadRow, Sample, Turn, from_record, to_record


def nested(depth, kind=list):
    value: object = 1
    for _ in range(depth):
        value = [value] if kind is list else {"a": value}
    return value


HOSTILE = {
    "4,000 digits": "9" * 4000,
    "2^64": str(2**64),
    "-2^63-1": str(-(2**63) - 1),
    "NaN": "NaN",
    "-Infinity": "-Infinity",
    "beyond a double": "1e400",
    "900 lists": json.dumps(nested(900)),
    "900 objects": json.dumps(nested(900, dict)),
    "101 lists": json.dumps(nested(101)),
    "names that differ in case": '{"x": {"Answer": 1, "answer": 2}}',
}


def samples_with(folder, text):
    """The curated set of three rows, whose middle one has the JSON text ``text`` as ``extra``."""
    (folder / "images").mkdir()
    plain = json.dumps(sets.row(1, None)).replace('"meta": {}', '"extra": 1')
    hostile = json.dumps(sets.row(2, None)).replace('"meta": {}', f'"extra": {text}, "plain": 5')
    last = json.dumps(sets.row(3, None)).replace('"meta": {}', '"extra": 2')
    sets.write_lines(folder / "rows.jsonl", [plain, hostile, last])
    outcome = curate(sets.recipe(folder), "r")
    return outcome.workspace.samples, outcome.counts["read"][0]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_pandas_and_duckdb_read_the_set_whatever_a_row_holds(tmp_path, text):
    path, read = samples_with(tmp_path, text)
    assert len(pd.read_json(path, lines=True)) == 3
    assert len(duckdb.sql(f"SELECT * FROM read_json('{path}')").fetchall()) == 3
    meta = [json.loads(line)["meta"] for line in path.read_text().splitlines()]
    assert [one["extra"] for one in meta] == [1, json.dumps(json.loads(text)), 2] and meta[1]["plain"] == 5
    assert [(note["rows"], note["example"]) for note in read["notes"]] == [(1, "set/train/2")]


@pytest.mark.parametrize("text", HOSTILE.values(), ids=HOSTILE)
def test_datasets_reads_the_set_whatever_a_row_holds(tmp_path, text):
    from datasets import load_dataset

    path, _ = samples_with(tmp_path, text)
    rows = load_dataset("json", data_files=str(path), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == 3 and rows[1]["id"] == "set/train/2"


def test_datasets_reads_a_curated_folder_of_rows_that_differ_after_the_first_ten_megabytes(tmp_path):
    from datasets import load_dataset

    (tmp_path / "images").mkdir()
    like = [sets.row(n, "a.png", meta={"x": n, "text": "y" * 500_000}) for n in range(24)]
    unlike = [
        sets.row(24, ["a.png", "b.png"], meta={"x": {"deep": [1]}, "X": "other case", "new": 1}),
        sets.row(25, None, answers=["a", "b", "a"], meta={"x": "text"}),
    ]
    sets.write_lines(tmp_path / "rows.jsonl", [*like, *unlike])
    folder = curate(sets.recipe(tmp_path, rules={}), "r").workspace.folder
    rows = load_dataset(str(folder), split="train", cache_dir=str(tmp_path / "cache"))
    assert rows.num_rows == 26 and rows[0]["meta"]["x"] == 0 and rows[0]["image"] == "a.png"
    assert rows[24]["image"] == ["a.png", "b.png"]
    assert rows[24]["meta"] == {"x": {"deep": [1]}, "X": "other case", "new": 1}
    assert rows[25]["answers"] == ["a", "b", "a"] and rows[25]["image"] is None
    assert rows[25]["conversations"][1]["value"] == "a cat"
    columns = "{id: 'VARCHAR', image: 'JSON', conversations: 'JSON', answers: 'VARCHAR[]', meta: 'JSON'}"
    query = f"SELECT meta ->> '$.x' FROM read_json('{folder}/samples.jsonl', columns = {columns})"
    assert [row[0] for row in duckdb.sql(query).fetchall()] == [*map(str, range(24)), '{"deep":[1]}', "text"]


@pytest.mark.parametrize("form", ["{}\n{}\n", "[{},\n{}]"])
def test_a_number_that_python_refuses_to_convert_is_kept_as_its_digits(tmp_path, form):
    digits = "7" * 5000
    (tmp_path / "images").mkdir()
    rows = [
        json.dumps(sets.row(n, None)).replace('"meta": {}', f'"extra": {value}') for n, value in ((1, digits), (2, 1))
    ]
    (tmp_path / "rows.jsonl").write_text(form.format(*rows))
    outcome = curate(sets.recipe(tmp_path), "r")
    made = [json.loads(line)["meta"]["extra"] for line in outcome.workspace.samples.read_text().splitlines()]
    assert made == [digits, 1]
    assert [note["rows"] for note in outcome.counts["read"][0]["notes"]] == [1]


def sample(**meta):
    return Sample("s/1", (), (Turn("user", "q"), Turn("assistant", "a")), meta=meta)


def test_only_what_is_refused_becomes_text():
    fine = sample(a=2**64 - 1, b=-(2**63), c=1.5, d=None, e=True, f=nested(MAX_DEPTH), g={"": [{"x": "\U0001f600"}]})
    assert storable(fine) is fine
    made = storable(sample(deep=nested(MAX_DEPTH + 1), half=["\ud800"], kept=[1]))
    assert json.loads(made.meta["deep"]) == nested(MAX_DEPTH + 1)
    assert json.loads(made.meta["half"]) == ["\ud800"] and made.meta["kept"] == [1]


HALF = "\\ud83d"
HALVES = {
    "conversations": f'[{{"from": "user", "value": "q"}}, {{"from": "assistant", "value": "{HALF}"}}]',
    "answers": f'["{HALF}", "b"]',
}


@pytest.mark.parametrize("column", HALVES)
def test_half_a_surrogate_pair_that_json_in_a_cell_spells_costs_its_row(tmp_path, column):
    (tmp_path / "images").mkdir()
    plain = {"conversations": HALVES["conversations"].replace(HALF, "a"), "answers": '["a", "b"]'}
    table = pd.DataFrame({"id": [1, 2], "question": ["q", "q"], column: [HALVES[column], plain[column]]})
    table.to_csv(tmp_path / "rows.csv", index=False)
    source = {"location": str(tmp_path / "rows.csv"), "image_root": str(tmp_path / "images")}
    workspace = curate(sets.recipe(tmp_path, sources=[source]), "r").workspace
    assert [json.loads(line)["id"] for line in workspace.samples.read_text().splitlines()] == ["rows/2"]
    (dropped,) = [json.loads(line) for line in workspace.ledger.read_text().splitlines()]
    assert dropped["reason"] == "bad_row"
    assert "rows.csv:2: holds half a surrogate pair" in dropped["rules"][0]["values"]["bad_row"]


@given(st.text(st.characters(codec=None)), st.sampled_from(["answer", "turn", "meta name", "note", "image"]))
def test_a_row_is_bad_exactly_where_utf8_cannot_hold_a_text_of_it(text, place):
    row = {
        "answer": Sample("s/1", (), (Turn("user", "q"),), answers=("b", text)),
        "turn": Sample("s/1", (), (Turn("user", text),)),
        "meta name": sample(**{text: 1}),
        "note": Sample("s/1", (), (Turn("user", "q"),), notes=(text,)),
        "image": Sample("s/1", (text,), (Turn("user", "q"),)),
    }[place]
    made = encodable(row, "f:1", 7)
    if any("\ud800" <= letter <= "\udfff" for letter in text):
        assert isinstance(made, BadRow) and (made.where, made.position) == ("f:1", 7)
    else:
        assert made is row


def test_what_is_said_of_a_bad_row_is_text():
    made = encodable(BadRow("caf\udce9.csv:1", "no \ud83d", 3), "", 0)
    assert (made.where, made.reason, made.position) == ("caf\\udce9.csv:1", "no \\ud83d", 3)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(codec=None)),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(st.characters(codec=None), max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)


@given(st.dictionaries(st.text(st.characters(codec="utf-8"), max_size=5), JSON, max_size=3))
def test_every_record_is_a_line_of_strict_json(meta):
    made = storable(sample(**meta))
    line = json.dumps(to_record(made), ensure_ascii=False, allow_nan=False)
    assert json.loads(line.encode()) == to_record(made)
    again = from_record(json.loads(line))
    for name, value in meta.items():
        kept = again.meta[name]
        restored = json.loads(kept) if kept != value and isinstance(kept, str) else kept
        assert restored == value or json.dumps(restored) == json.dumps(value) or math.isnan(restored)
