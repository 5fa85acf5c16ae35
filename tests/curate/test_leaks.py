"""Photographs whose edited copies are in the training set: the pipeline's tables, and ``curate leaks``."""

import csv
import itertools
import json

import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.rules.explain import explain_row
from tests.curate import edits, sets
from tests.curate.test_curate_cli import curate

PHOTOS = ("coffee", "chelsea")
KINDS = {name: name.removesuffix("-60") for name in edits.EDITS}
# Brighter by 1.4 burns the whites out, which then look like something laid over; a banner hides what tells a turn.
OTHERS = {"coffee-brighter": "overlaid", "chelsea-overlaid": "turned"}
FLAGGED = ("framed", "overlaid", "turned")
MISSED = "coffee-cropped-60"  # of crops to 60% one in seven is missed, see docs/results/photographs.md


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("photos")
    edits.write(made, PHOTOS)
    return made


def location(folder, name):
    return f"{folder / name}.jsonl,image_root={folder / 'images'}"


@pytest.fixture(scope="module")
def done(folder):
    against = {"location": str(folder / "originals.jsonl"), "image_root": str(folder / "images")}
    recipe = sets.recipe(folder, duplicates={}, contamination={"against": [against]}, rules={})
    pipeline.run(recipe, "recipe.yaml")
    return folder / "out"


def test_each_edit_is_found_by_its_kind_and_treated_by_it(done):
    rows = {row["sample_id"]: row for row in pq.read_table(done / "decisions.parquet").to_pylist()}
    named = {}
    for name, edit in itertools.product(PHOTOS, KINDS):
        row = rows[f"set/train/{name}-{edit}"]
        kind = row["contaminated_kind"]
        if f"{name}-{edit}" == MISSED:
            assert (row["decision"], kind) == ("keep", None)
            continue
        named[f"{name}-{edit}"] = kind
        assert (row["decision"], row["reason"]) == (("flag", None) if kind in FLAGGED else ("drop", "contaminated")), (
            row
        )
        fired = next(one for one in row["rules"] if one["rule"] in ("contaminated", "leak_suspected"))
        assert json.loads(fired["values"])["contaminated_kind"] == kind
        assert fired["related_row"] == f"held/test/set/train/{name}"
    wrong = {one: kind for one, kind in named.items() if kind != KINDS[one.partition("-")[2]]}
    assert wrong.items() <= OTHERS.items(), "nearly all by their kind"
    report = json.loads((done / "contamination.json").read_text())["benchmarks"][0]
    assert (report["evaluation_images_found"], report["rows"]) == (2, 17)
    assert {one["kind"]: one["rows"] for one in report["kinds"]}["cropped"] == 3
    card = (done / "README.md").read_text()
    assert "| originals | cropped | drop | 3 | 3 | 3 |" in card
    assert "Looked for: drop: exact, re-encoded, resized; flag: toned" in card
    assert "Not looked for: semantic" in card


def test_explain_names_the_kind_and_the_partner(done, capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "explain", "set/train/coffee-mirrored", "--curated", done)
    assert code == 0
    assert "same image as coffee.png (mirrored: alike by" in out
    assert "contaminated: see held/test/set/train/coffee" in out
    assert explain_row(done, "set/train/coffee-mirrored").contamination[0]["action"] == "drop"


def test_leaks_lists_what_a_set_shares_with_an_evaluation_set(folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    pairs = tmp_path / "pairs.csv"
    arguments = ("leaks", location(folder, "rows"), "--against", location(folder, "originals"), "--workers", 1)
    code, out, _ = curate(capsys, monkeypatch, *arguments, "--out", pairs)
    assert code == 1
    assert "originals: 2 rows, 2 images; 2 of these images found, in 17 of 18 rows of the set" in out
    assert "not looked for: semantic" in out
    assert "measured in data/leaks/" in out
    with pairs.open(newline="") as lines:
        found = {row["sample_id"]: (row["kind"], row["evaluation_path"]) for row in csv.DictReader(lines)}
    assert len(found) == 17
    assert all(place == f"{one.split('/')[-1].split('-')[0]}.png" for one, (_, place) in found.items())
    code, out, err = curate(capsys, monkeypatch, *arguments, "--kinds", "toned,mirrored", "--out", "pairs.jsonl")
    assert code == 1
    assert {json.loads(line)["kind"] for line in (tmp_path / "pairs.jsonl").read_text().splitlines()} == {
        "toned", "mirrored",
    }  # fmt: skip
    assert "looked for: toned, mirrored" in out
    assert "read:" not in err, "what was read and measured is used again"


def test_leaks_of_a_curated_folder_are_those_of_its_kept_rows(done, folder, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}
    code, out, _ = curate(capsys, monkeypatch, "leaks", done, "--against", location(folder, "originals"))
    assert code == 1
    kept = sum(1 for _ in (done / "samples.jsonl").open())
    assert f"in {kept - 1} of {kept} rows of the set" in out, "those that were only flagged, not the one that is missed"
    code, out, _ = curate(
        capsys, monkeypatch, "leaks", done, "--against", location(folder, "originals"), "--kinds", "exact"
    )
    assert code == 0
    assert "0 of these images found" in out
    assert before == {path: path.stat().st_mtime_ns for path in done.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("rows", "--against", "nowhere.jsonl"), "nowhere.jsonl"),
        (("rows", "--against", "rows", "--kinds", "croped"), "--kinds croped: is none of exact"),
        (("rows", "--against", "rows", "--out", "pairs.txt"), "pairs.txt: ends in none of .parquet"),
        (("rows", "--against", "rows", "--against", "rows"), "two evaluation sets are called 'rows'"),
        (("rows", "--against", "rows,split=a,layout=nothing"), "nothing"),
        (("nowhere.yaml", "--against", "rows"), "nowhere.yaml"),
    ],
)
def test_bad_input_is_one_sentence(folder, capsys, monkeypatch, arguments, sentence):
    monkeypatch.chdir(folder)
    given = [f"{each}.jsonl" if each == "rows" else each.replace("rows,", "rows.jsonl,") for each in arguments]
    code, _, err = curate(capsys, monkeypatch, "leaks", *given)
    assert code == 2
    assert sentence in err
    assert "Traceback" not in err
