"""`--to original`: the files that were read, without the dropped rows and without another change."""

import csv
import datetime
import gzip
import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate import pipeline
from curate.exports.filtered import write_filtered
from curate.readers.files.json import iter_document, iter_json
from curate.readers.files.rows import iter_rows
from curate.settings.outputs import ExportSettings
from tests.curate import sets
from tests.curate.exports.made import exported
from winnow.errors import UserError

RULES = {"dropped": {"when": "question LIKE '%drop me%'", "action": "drop"}}


def curated(folder, *sources, **changes):
    """Curate files of ``folder`` with a rule that drops questions with `drop me` in them."""
    for name in ("a.png", "b.png"):
        sets.save(folder / "images" / name, sets.scene(ord(name[0])))
    entries = [source if isinstance(source, dict) else {"location": str(source)} for source in sources]
    entries = [{"image_root": str(folder / "images"), **entry} for entry in entries]
    pipeline.run(sets.recipe(folder, sources=entries, **{"rules": RULES, **changes}), "recipe.yaml")
    return folder / "out"


def llava(number, question, image="a.png", **more):
    return {
        "id": number,
        "image": image,
        "conversations": [{"from": "human", "value": f"<image>\n{question}"}, {"from": "gpt", "value": "discs"}],
        **more,
    }


@pytest.mark.parametrize("indent", [None, 2, "\t"])
def test_a_json_list_stays_one_with_its_layout(tmp_path, indent):
    rows = [llava(7, "drop me"), llava(8, "What ☃?", extra={"x": 1.50}), llava(9, "drop me"), llava(10, "Why?")]
    path = tmp_path / "set.json"
    path.write_text(json.dumps(rows, indent=indent) + "\n")
    folder, done = exported(curated(tmp_path, path), "original")
    assert (folder / "set.json").read_text() == json.dumps([rows[1], rows[3]], indent=indent) + "\n"
    assert done.counts["rows"] == 2
    assert "2 rows (train 2) with 2 images. 2 rows dropped." in (folder / "README.md").read_text()


def test_lines_are_copied_byte_for_byte(tmp_path):
    """Line ends, blanks, escapes, number spellings, and rows that are bad."""
    keep = [
        b'{ "id":1, "image": "a.png", "conversations":[{"from":"human","value":"caf\\u00e9 \\/ 1.0"},'
        b'{"from":"gpt","value":"x"}], "score": 1e-3}\r\n',
        json.dumps(llava("2", "kept ü"), ensure_ascii=False).encode() + b"\n",
    ]
    path = tmp_path / "set.jsonl"
    drop = [json.dumps(llava(n, "drop me")).encode() for n in (5, 6)]
    path.write_bytes(keep[0] + drop[0] + b"\n\nno json\n" + keep[1] + drop[1])
    folder, _ = exported(curated(tmp_path, path), "original")
    assert (folder / "set.jsonl").read_bytes() == b"".join(keep)


@pytest.mark.parametrize("delimiter", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_a_csv_keeps_its_dialect_and_encoding(tmp_path, delimiter, mark):
    head = delimiter.join(["id", "image", "question", "answer"]) + "\r\n"
    kept = [
        delimiter.join(["1", "a.png", '"What, ""this""\r\nor; that?"', " x "]) + "\r\n",
        delimiter.join(["3", "b.png", "Größe?", "'y'"]),
    ]
    dropped = delimiter.join(["2", "a.png", '"please\ndrop me"', "x"]) + "\r\n"
    bad = delimiter.join(["4", "too short"]) + "\n"
    path = tmp_path / "set.csv"
    path.write_bytes((mark + head + kept[0] + dropped + "\r\n" + bad + kept[1]).encode())
    folder, _ = exported(curated(tmp_path, path), "original")
    assert (folder / "set.csv").read_bytes() == (mark + head + "".join(kept)).encode()


@pytest.mark.parametrize("encoding", ["cp1252", "utf-16", "utf-16-be"])
def test_a_csv_keeps_another_encoding(tmp_path, encoding):
    head, *rows = [
        "image,question,answer",
        "a.png,Größe des Cafés?,groß",
        "a.png,drop me,x",
        "b.png,Où est-il déjà?,là",
    ]
    mark = "\ufeff" if encoding == "utf-16-be" else ""
    path = tmp_path / "set.csv"
    path.write_bytes((mark + "\r\n".join([head, *rows])).encode(encoding))
    folder, _ = exported(curated(tmp_path, path), "original")
    expected = (mark + "\r\n".join([head, rows[0], rows[2]])).encode(encoding)
    assert (folder / "set.csv").read_bytes() == expected


def test_a_packed_file_is_refused(tmp_path):
    path = tmp_path / "set.jsonl"
    path.write_bytes(gzip.compress(json.dumps(llava(1, "q")).encode()))
    with pytest.raises(UserError, match=r"set\.jsonl: rows cannot be copied out of it, because it is packed"):
        exported(curated(tmp_path, path), "original")


def test_corrections_of_parquet_leave_classes_alone(tmp_path):
    features = {"kind": {"_type": "ClassLabel", "names": ["x", "y"]}, "answer": {"_type": "Value", "dtype": "string"}}
    table = pa.table(
        {"id": ["p0", "p1"], "image": ["a.png"] * 2, "question": ["q", "r"], "answer": ["cat", "dog"], "kind": [1, 0]}
    )
    table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
    path = tmp_path / "set.parquet"
    pq.write_table(table, path)
    changed = corrections(tmp_path, curated(tmp_path, path), p1=("relabel", "fox"))
    folder, _ = exported(curated(tmp_path, path, **changed), "original")
    expected = table.set_column(3, "answer", pa.array(["cat", "fox"]))
    assert pq.read_table(folder / "set.parquet").equals(expected, check_metadata=True)


def test_parquet_keeps_schema_metadata_and_values(tmp_path):
    image = sets.jpeg(sets.scene(1))
    questions = [f"drop me {n}" if n % 3 else f"Question {n}?" for n in range(30)]
    table = pa.table(
        {
            "image": pa.array(
                [{"bytes": image, "path": "x.jpg"}] * 30, pa.struct([("bytes", pa.binary()), ("path", pa.string())])
            ),
            "question": questions,
            "answer": pa.array([f"a{n}" for n in range(30)]).dictionary_encode(),
            "when": pa.array([datetime.datetime(2026, 1, 1, 0, 0, n) for n in range(30)], pa.timestamp("us")),
            "score": pa.array(range(30), pa.float16()),
        }
    ).replace_schema_metadata({"huggingface": json.dumps({"info": {"features": {"image": {"_type": "Image"}}}})})
    path = tmp_path / "set.parquet"
    pq.write_table(table, path, row_group_size=7, compression={"question": "zstd"})
    folder, _ = exported(curated(tmp_path, path), "original")
    found = pq.read_table(folder / "set.parquet")
    assert found.schema.equals(table.schema, check_metadata=True)
    assert found.equals(table.filter([n % 3 == 0 for n in range(30)]))
    assert pq.read_metadata(folder / "set.parquet").row_group(0).column(2).compression == "ZSTD"


def test_votes_are_filtered_with_their_questions(tmp_path):
    """Two files, the annotations in another order; every other key of both stays."""
    questions = [{"question_id": n, "image_id": 1, "question": "drop me" if n == 2 else f"q{n}"} for n in (1, 2, 3)]
    votes = [
        {
            "question_id": n,
            "image_id": 1,
            "answers": [{"answer": "yes", "answer_id": 1}],
            "multiple_choice_answer": "yes",
        }
        for n in (3, 2, 1)
    ]
    first = tmp_path / "v2_OpenEnded_mscoco_val2014_questions.json"
    second = tmp_path / "v2_mscoco_val2014_annotations.json"
    document = {"info": {"version": "2.0"}, "data_subtype": "val2014", "questions": questions, "license": {}}
    first.write_text(json.dumps(document))
    second.write_text(json.dumps({"info": {"version": "2.0"}, "annotations": votes, "license": {"name": "x"}}))
    folder, _ = exported(curated(tmp_path, first), "original")
    assert json.loads((folder / first.name).read_text()) == {**document, "questions": [questions[0], questions[2]]}
    assert json.loads((folder / second.name).read_text())["annotations"] == [votes[0], votes[2]]
    assert json.loads((folder / second.name).read_text())["license"] == {"name": "x"}


def test_captions_are_filtered_with_their_images(tmp_path):
    images = [{"id": n, "file_name": f"{name}.png"} for n, name in ((5, "a"), (6, "b"))]
    captions = [{"id": n, "image_id": 5 + n % 2, "caption": f"caption {n}"} for n in range(6)]
    path = tmp_path / "captions_val2014.json"
    path.write_text(json.dumps({"images": images, "annotations": captions, "licenses": []}))
    rules = {"dropped": {"when": "answer LIKE '%1'", "action": "drop"}}
    folder, _ = exported(curated(tmp_path, path, rules=rules), "original")
    found = json.loads((folder / path.name).read_text())
    assert found == {"images": images[:1], "annotations": captions[::2], "licenses": []}


def test_sources_and_splits_have_folders_of_their_own(tmp_path):
    one = sets.write_lines(tmp_path / "one/rows.jsonl", [llava(n, f"Which {n}?", "a.png") for n in range(20)])
    two = sets.write_lines(tmp_path / "two/rows.jsonl", [llava(n, f"What {n}?", "b.png") for n in range(20)])
    sources = [{"location": str(one), "source": "left"}, {"location": str(two), "source": "right"}]
    folder, _ = exported(curated(tmp_path, *sources, splits={"train": 0.5, "val": 0.5, "seed": 1}), "original")
    read = [path.read_bytes() for split in ("train", "val") for path in sorted((folder / split).rglob("*.jsonl"))]
    assert {str(path.relative_to(folder)) for path in folder.rglob("rows.jsonl")} == {
        f"{split}/{source}/rows.jsonl" for split in ("train", "val") for source in ("left", "right")
    }
    lines = [line for text in read for line in text.splitlines(keepends=True)]
    assert sorted(lines) == sorted((one.read_bytes() + two.read_bytes()).splitlines(keepends=True))


def test_a_missing_image_costs_no_row_that_was_kept(tmp_path):
    path = sets.write_lines(tmp_path / "set.jsonl", [llava(1, "q", "gone.png"), llava(2, "r", "../up\x00.png")])
    folder, done = exported(curated(tmp_path, path), "original")
    assert (folder / "set.jsonl").read_bytes() == path.read_bytes()
    assert done.counts["rejected"] == 0


def test_a_folder_of_images_is_refused(tmp_path):
    out = curated(tmp_path, tmp_path / "images")
    with pytest.raises(UserError, match=r"layout `image_folder` cannot be written back; `--to original` does JSON"):
        exported(out, "original")
    assert not (out / "exports/original").exists()


def test_a_source_that_has_changed_since_is_refused(tmp_path):
    path = sets.write_lines(tmp_path / "set.jsonl", [llava(1, "q")])
    out = curated(tmp_path, path)
    sets.write_lines(path, [llava(1, "another question")])
    with pytest.raises(UserError, match=r"set\.jsonl: has changed since it was curated"):
        exported(out, "original")


def test_images_are_not_copied():
    with pytest.raises(ValueError, match="leaves every row as it is"):
        ExportSettings(to="original", images="copy")


def corrections(folder, out, **lines):
    """Write a reviewer's lines: sample id's end → (action, new value)."""
    rows = {row["sample_id"]: row for row in pq.read_table(out / "samples.parquet").to_pylist()}
    made = []
    for end, (action, new) in lines.items():
        (sample_id,) = [one for one in rows if one.endswith(end)]
        made.append(
            {
                "correction_id": end,
                "sample_id": sample_id,
                "content_hash": rows[sample_id]["content_hash"],
                "action": action,
                "new": new,
                "reviewer": "r",
                "at": "2026-01-01T00:00:00Z",
            }
        )
    sets.write_lines(folder / "corrections/r.jsonl", made)
    return {"corrections": str(folder / "corrections")}


def test_corrections_are_written_in_the_form_of_the_row(tmp_path):
    rows = [llava(f"r{n}", f"Question {n}") for n in range(3)]
    path = tmp_path / "set.json"
    path.write_text(json.dumps(rows, indent=1))
    changed = corrections(tmp_path, curated(tmp_path, path), r0=("relabel", "a cat"), r2=("edit_question", "Who?"))
    folder, _ = exported(curated(tmp_path, path, **changed), "original")
    rows[0]["conversations"][1]["value"] = "a cat"
    rows[2]["conversations"][0]["value"] = "<image>\nWho?"
    assert json.loads((folder / "set.json").read_text()) == rows
    assert "Reviewers have corrected the texts of 2 rows." in (folder / "README.md").read_text()


def test_corrections_of_a_table_go_to_the_column_with_the_old_text(tmp_path):
    rows = [
        ["i0", "a.png", "Which?", "cat", ""],
        ["i1", "a.png", "What?", "dog", "dog"],
        ["i2", "b.png", "Who?", "hen", ""],
    ]
    text = io.StringIO()
    csv.writer(text).writerows([["id", "image", "question", "answer", "note"], *rows])
    path = tmp_path / "set.csv"
    path.write_text(text.getvalue(), newline="")
    new = {"i0": ("relabel", "a, b"), "i1": ("relabel", "fox"), "i2": ("edit_question", "Where?")}
    changed = corrections(tmp_path, curated(tmp_path, path), **new)
    folder, done = exported(curated(tmp_path, path, **changed), "original")
    found = list(csv.reader((folder / "set.csv").open(newline="")))
    assert found[1:] == [["i0", "a.png", "Which?", "a, b", ""], ["i2", "b.png", "Where?", "hen", ""]]
    (rejected,) = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    assert rejected["reason"] == "a reviewer has changed its answer, and no single field of the row holds the old one"
    assert done.counts["rejected"] == 1


_TEXTS = st.text(st.characters(exclude_categories=["Cs"]))
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | _TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXTS, inner, max_size=3),
    max_leaves=8,
)
_LAYOUTS = st.tuples(st.sampled_from([None, 0, 2]), st.sampled_from([(",", ":"), (" , ", " : "), (", ", ": ")]))


@given(values=st.lists(_VALUES, max_size=6), picked=st.sets(st.integers(0, 5)), layout=_LAYOUTS, ascii=st.booleans())
def test_any_json_list_without_some_elements(tmp_path_factory, values, picked, layout, ascii):
    indent, separators = layout
    folder = tmp_path_factory.mktemp("json")
    text = json.dumps(values, indent=indent, separators=separators, ensure_ascii=ascii)
    kept = sorted(n for n in picked if n < len(values))
    for name, wrapped in (("list", text), ("key", f'{{"a": [1, {{}}],\n"rows": {text}, "z": []}}')):
        path = folder / name
        path.write_text(wrapped, encoding="utf-8")
        source = iter_json(path) if name == "list" else iter_document(path, "rows")
        write_filtered(source, folder / "out", kept, {})
        found = json.loads((folder / "out").read_text(encoding="utf-8"))
        assert (found if name == "list" else found["rows"]) == [values[n] for n in kept]
        assert name == "list" or (found["a"], found["z"]) == ([1, {}], [])
        write_filtered(source, folder / "out", range(len(values)), {})
        assert (folder / "out").read_bytes() == path.read_bytes()


@given(
    values=st.dictionaries(_TEXTS, _VALUES, max_size=6),
    picked=st.sets(st.integers(0, 5)),
)
def test_any_json_object_without_some_members(tmp_path_factory, values, picked):
    path = tmp_path_factory.mktemp("json") / "set.json"
    path.write_text(json.dumps(values, indent=1), encoding="utf-8")
    write_filtered(iter_document(path), path.with_name("out"), sorted(n for n in picked if n < len(values)), {})
    items = list(values.items())
    assert json.loads(path.with_name("out").read_text()) == dict(items[n] for n in sorted(picked) if n < len(items))


@given(
    cells=st.lists(st.tuples(st.text(), st.text(min_size=1)), max_size=5),
    picked=st.sets(st.integers(0, 4)),
    dialect=st.sampled_from(["excel", "unix", "excel-tab"]),
)
def test_any_csv_without_some_rows(tmp_path_factory, cells, picked, dialect):
    cells = [tuple(cell.replace("\0", "").encode("utf-8", "replace").decode() for cell in row) for row in cells]
    path = tmp_path_factory.mktemp("csv") / "set.csv"
    with path.open("w", encoding="utf-8", newline="") as out:
        csv.writer(out, dialect).writerows([("a", "b"), *cells])
    read = [row.value for row in iter_rows(path)]
    kept = sorted(n for n in picked if n < len(read))
    write_filtered(iter_rows(path), path.with_name("out"), kept, {})
    assert [row.value for row in iter_rows(path.with_name("out"))] == [read[n] for n in kept]
    write_filtered(iter_rows(path), path.with_name("out"), range(len(read)), {})
    assert path.with_name("out").read_bytes() == path.read_bytes()
