"""Images carried as bytes or base64: from the cell to a curated set whose paths resolve."""

import base64
import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.pipeline import run
from curate.readers import open_source
from curate.readers.images.store import ImageStore, content_path, decoded, is_encoded, store_images
from curate.readers.ingest import as_files
from curate.readers.tables.cells import image_cell
from curate.settings.sources import SourceSettings
from tests.curate.make_images import encoded, noise
from tests.curate.sets import recipe, row, save, scene
from winnow.errors import UserError
from winnow.files import sha256_bytes
from winnow.media.images import suffix_of
from winnow.rows.records import Sample, to_original
from winnow.run import read_manifest

JPEG, PNG = encoded(scene(1), "JPEG"), encoded(scene(2))
RULES = {"unreadable": {"when": "error IS NOT NULL", "action": "drop"}}


def text_of(data):
    return base64.b64encode(data).decode()


def curated(tmp_path, sources, **changes):
    outcome = run(recipe(tmp_path, sources=sources, rules=RULES, **changes), "r.yaml")
    manifest = read_manifest(outcome.workspace.folder, finish_with="")
    lines = (outcome.workspace.folder / "samples.jsonl").read_text().splitlines()
    ledger = [json.loads(line) for line in (outcome.workspace.folder / "ledger.jsonl").read_text().splitlines()]
    return Path(manifest["image_root"]), [json.loads(line) for line in lines], ledger


@pytest.mark.parametrize(
    ("format", "suffix"),
    [("JPEG", ".jpg"), ("PNG", ".png"), ("GIF", ".gif"), ("WEBP", ".webp"), ("BMP", ".bmp"), ("TIFF", ".tif"),
     ("PPM", ".ppm"), ("JPEG2000", ".jp2"), ("AVIF", ".avif"), ("ICO", ".ico"), ("PCX", ".pcx"), ("SGI", ".sgi")],
)  # fmt: skip
def test_suffix_by_content(format, suffix):
    data = encoded(scene(1), format)
    assert suffix_of(data) == suffix
    assert is_encoded(text_of(data))
    assert content_path(data) == f"images/{sha256_bytes(data)[:2]}/{sha256_bytes(data)}{suffix}"


@given(st.binary(min_size=1, max_size=99))
def test_base64_in_all_its_spellings(data):
    plain = text_of(data)
    for text in (plain, plain.rstrip("="), base64.urlsafe_b64encode(data).decode(), "\n".join([plain[:7], plain[7:]])):
        assert decoded(text) == data
    assert decoded(f"data:image/png;charset=x;base64,{plain}") == data


@pytest.mark.parametrize(
    "text", ["data:image/png,abc", "data:nonsense", "/9j/!!!!", "====", "iVBORw0KGgo\0", "ä" * 9, "A"]
)
def test_bad_base64_is_a_value_error(text):
    with pytest.raises(ValueError):
        decoded(text)


@pytest.mark.parametrize("path", ["a/b.jpg", "/9j/4.jpg", "COCO_val2014_000000262148.jpg", "https://x.org/a.png"])
def test_paths_are_not_taken_for_base64(path):
    assert not is_encoded(path)


def test_parquet_of_bytes_gives_a_set_whose_paths_resolve(tmp_path):
    plain = save(tmp_path / "data" / "plain.png", scene(3))
    table = {
        "id": [1, 2, 3, 4, 5],
        "image": [{"bytes": JPEG, "path": "one.jpg"}, {"bytes": PNG, "path": None},
                  {"bytes": None, "path": "plain.png"}, {"bytes": b"no image", "path": "x.jpg"},
                  {"bytes": JPEG, "path": "again.jpg"}],
        "question": ["q1", "q2", "q3", "q4", "q5"],
        "answer": ["a"] * 5,
    }  # fmt: skip
    pq.write_table(pa.table(table), plain.parent / "set.parquet")
    root, rows, ledger = curated(tmp_path, [{"location": str(tmp_path / "data" / "set.parquet")}])
    assert [one["id"] for one in rows] == [f"set/{number}" for number in (1, 2, 3, 5)]
    assert [(root / one["image"]).read_bytes() for one in rows] == [JPEG, PNG, plain.read_bytes(), JPEG]
    assert root == tmp_path
    assert rows[0]["image"].startswith("out/images/")
    assert rows[0]["meta"]["image_path"] == "one.jpg"
    assert len(list((tmp_path / "out" / "images").glob("??/*"))) == 3  # one of them is no image
    assert [(one["sample_id"], one["reason"]) for one in ledger] == [("set/4", "unreadable")]


def test_a_set_of_bytes_only_is_its_own_image_root(tmp_path):
    pq.write_table(pa.table({"image": [JPEG, PNG], "caption": ["a", "b"]}), tmp_path / "set.parquet")
    root, rows, _ = curated(tmp_path, [{"location": str(tmp_path / "set.parquet")}])
    assert root == tmp_path / "out"
    assert [one["image"] for one in rows] == [content_path(JPEG), content_path(PNG)]


def test_tsv_and_jsonl_of_base64(tmp_path):
    broken = text_of(JPEG)[:200] + "!!" + text_of(JPEG)[200:]
    with (tmp_path / "set.tsv").open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t")
        writer.writerows([["index", "image", "question", "answer"], ["0", text_of(JPEG), "q0", "a"]])
        writer.writerow(["1", broken, "q1", "a"])
    turns = row(1, None)["conversations"]
    record = {"id": "7", "image": f"data:image/png;base64,{text_of(PNG)}", "conversations": turns}
    (tmp_path / "set.jsonl").write_text(json.dumps(record))
    sources = [{"location": str(tmp_path / name), "source": name} for name in ("set.tsv", "set.jsonl")]
    root, rows, ledger = curated(tmp_path, sources)
    assert [(root / one["image"]).read_bytes() for one in rows] == [JPEG, PNG]
    (dropped,) = ledger
    assert dropped["reason"] == "unreadable"
    assert "bad_base64" in json.dumps(dropped["rules"])
    (as_it_was,) = open_source(SourceSettings(location=str(tmp_path / "set.jsonl"))).rows()
    assert to_original(as_it_was) == record


def test_ids_of_rows_without_one_do_not_depend_on_the_name_of_the_image(tmp_path):
    ids = []
    for name, data in [("a", JPEG), ("b", JPEG), ("c", PNG)]:
        pq.write_table(pa.table({"image": [{"bytes": data, "path": name}], "caption": ["x"]}), tmp_path / "s.parquet")
        (sample,) = open_source(SourceSettings(location=str(tmp_path / "s.parquet"))).rows()
        ids.append(sample.id)
    assert ids[0] == ids[1] != ids[2]


def test_numbered_image_columns_are_several_images(tmp_path):
    cells = {f"image_{number}": [{"bytes": data, "path": None}] for number, data in [(2, PNG), (10, JPEG), (1, JPEG)]}
    pq.write_table(pa.table({**cells, "question": ["q"], "answer": ["a"]}), tmp_path / "s.parquet")
    (sample,) = open_source(SourceSettings(location=str(tmp_path / "s.parquet"))).rows()
    assert sample.image == (content_path(JPEG), content_path(PNG), content_path(JPEG))


def test_first_rows_without_images_do_not_mislead_the_root(tmp_path):
    rows = [row(number, None) for number in range(60)] + [row(60, f"data:;base64,{text_of(PNG)}"), row(61, "a.png")]
    save(tmp_path / "images" / "a.png", scene(4))
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    source = {"location": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path / "images")}
    root, kept, ledger = curated(tmp_path, [source])
    assert ledger == [] and root == tmp_path
    assert [(root / one["image"]).is_file() for one in kept[60:]] == [True, True]


def test_a_second_run_writes_no_image_again(tmp_path, monkeypatch):
    pq.write_table(pa.table({"image": [JPEG, PNG], "caption": ["a", "b"]}), tmp_path / "set.parquet")
    sources = [{"location": str(tmp_path / "set.parquet")}]
    root, before, _ = curated(tmp_path, sources)
    times = {path: path.stat().st_mtime_ns for path in (root / "images").glob("??/*")}
    pq.write_table(pa.table({"image": [JPEG, PNG, PNG], "caption": ["a", "b", "c"]}), tmp_path / "set.parquet")
    _, after, _ = curated(tmp_path, sources)
    assert after[:2] == before and len(after) == 3
    assert times == {path: path.stat().st_mtime_ns for path in (root / "images").glob("??/*")}


def test_caps_and_a_folder_that_cannot_be_written(tmp_path):
    path = content_path(JPEG)
    sample = Sample("1", (path,), (), embedded={path: JPEG})
    (capped,) = store_images([sample], ImageStore(tmp_path), max_bytes=10)
    assert capped.image[0].startswith("too_large_bytes:")
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "images").write_text("in the way")
    with pytest.raises(UserError, match="cannot be written"):
        list(store_images([sample], ImageStore(tmp_path), max_bytes=10_000_000))


def test_a_torn_file_is_written_again(tmp_path):
    store = ImageStore(tmp_path)
    path = content_path(PNG)
    store.put(path, PNG)
    (tmp_path / path).write_bytes(PNG[:10])
    store.put(path, PNG)
    assert (tmp_path / path).read_bytes() == PNG


def test_an_evaluation_set_with_embedded_images_gets_files(tmp_path):
    save(tmp_path / "plain.png", scene(3))
    cells = [{"bytes": JPEG, "path": None}, {"bytes": None, "path": "plain.png"}]
    pq.write_table(pa.table({"image": cells, "caption": ["a", "b"]}), tmp_path / "s.parquet")
    opened = open_source(SourceSettings(location=str(tmp_path / "s.parquet")))
    found = as_files(opened, tmp_path / "cache", max_bytes=10**8)
    for _ in range(2):
        assert [(found.image_root / one.image[0]).is_file() for one in found.rows()] == [True, True]
    assert found.image_root == tmp_path
    (tmp_path / "rows.jsonl").write_text(json.dumps(row(1, "plain.png")))
    plain = open_source(SourceSettings(location=str(tmp_path / "rows.jsonl")))
    assert as_files(plain, tmp_path / "none", max_bytes=1).image_root == plain.image_root
    assert list(as_files(plain, tmp_path / "none", max_bytes=1).rows()) == list(plain.rows())
    assert not (tmp_path / "none").exists()


def test_a_cell_may_list_several_images_in_base64(tmp_path):
    large = encoded(noise(400, 300), "PNG")
    assert len(text_of(large)) > 100_000
    with (tmp_path / "set.tsv").open("w", newline="") as handle:
        writer = csv.writer(handle, delimiter="\t")
        writer.writerows([["image", "question", "answer"], [str([text_of(large), text_of(PNG)]), "q", "a"]])
    (sample,) = open_source(SourceSettings(location=str(tmp_path / "set.tsv"))).rows()
    assert sample.image == (content_path(large), content_path(PNG))


CELLS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=99) | st.binary(max_size=99)
    | st.text(max_size=20).map("/9j/".__add__).map(lambda text: text * 20),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["bytes", "path", "other"]), inner, max_size=3),
    max_leaves=6,
)  # fmt: skip


@pytest.mark.slow
@given(CELLS)
def test_any_cell_is_images_or_a_value_error(value):
    try:
        found = image_cell(value, "here")
    except ValueError:
        return
    assert all(isinstance(path, str) and path for path in found.paths)
    assert all(content_path(data) == path for path, data in found.embedded.items())
