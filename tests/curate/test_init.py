"""The recipe that is written for a location: what was found is in it, and it is a valid recipe whatever was found."""

import csv
import dataclasses
import json

import pytest
import yaml
from hypothesis import given, settings, strategies

from curate import init
from curate.recipe import read_recipe
from curate.settings.sources import SourceSettings
from tests.curate import sets
from tests.curate.stored import image, sample, store
from tests.curate.test_curate_cli import curate
from winnow.errors import UserError


def shop(folder, rows=30):
    """A CSV with image paths, a column that no role claims, blank answers in every tenth row."""
    for number in range(rows):
        sets.save(folder / "shop/pictures" / f"{number}.jpg", sets.scene(number))
    with (folder / "shop/rows.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "question", "answer", "colour", "split"])
        for number in range(rows):
            answer = "" if number % 10 == 0 else f"it is number {number}"
            writer.writerow([f"{number}.jpg", "Which one?", answer, "blue", "train" if number % 3 else "test"])
    return folder / "shop/rows.csv"


@pytest.mark.slow
def test_what_was_found_is_in_the_recipe(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shop(tmp_path)
    code, out, _ = curate(
        capsys, monkeypatch, "init", "shop/rows.csv", "--image-root", "shop/pictures", "-o", "my.yaml"
    )
    assert code == 0
    assert "next: edit my.yaml, then `curate run my.yaml`" in out
    recipe, text = read_recipe(tmp_path / "my.yaml"), (tmp_path / "my.yaml").read_text()
    assert recipe.name == "my"
    assert recipe.sources == [SourceSettings(location="shop/rows.csv", layout="table", image_root="shop/pictures")]
    assert recipe.signals.clip is None
    assert recipe.signals.nsfw is None
    assert not (tmp_path / "data").exists(), "nothing is curated"
    assert "# splits: train 20, test 10" in text
    assert "{location: shop/rows.csv, split: test}" in text
    assert "# Behind each rule: rows that it fired on, of all 30 rows" in text
    rules = {line.split(":")[0].strip(): line.rpartition("# ")[2] for line in text.splitlines() if "{when" in line}
    assert rules["unanswered"] == "3 (10.0%)"
    assert rules["unreadable"] == "0"
    before = text
    code, _, err = curate(capsys, monkeypatch, "init", "shop/rows.csv", "-o", "my.yaml")
    assert code == 2
    assert "my.yaml: exists already" in err
    assert (tmp_path / "my.yaml").read_text() == before


def test_fields_without_a_role_are_listed_with_an_example(tmp_path, monkeypatch):
    where = sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, None), sets.row(2, None)])
    opened = init.open_source(SourceSettings(location=str(where)))

    def rows():
        for row in opened.rows():
            yield dataclasses.replace(row, unclaimed=("colour", "size"), meta={"colour": "blue\nred", "size": None})

    monkeypatch.setattr(init, "open_source", lambda _: dataclasses.replace(opened, rows=rows))
    init.init(SourceSettings(location=str(where)), tmp_path / "r.yaml")
    text = (tmp_path / "r.yaml").read_text()
    assert "    #   colour: 2 rows, e.g. blue red; " in text
    assert "#   size" not in text


@pytest.mark.slow
def test_shares_are_those_of_a_sample_of_the_whole_set(tmp_path, monkeypatch):
    """The second half of the rows is broken: a look at the first rows alone would not see it."""
    monkeypatch.setattr(init, "SAMPLE", 40)
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    rows = [sets.row(number, "a.png" if number < 300 else "gone.png") for number in range(600)]
    where = sets.write_lines(tmp_path / "rows.jsonl", rows)
    found = init.init(SourceSettings(location=str(where), image_root=str(tmp_path / "images")), tmp_path / "r.yaml")
    assert found.complete
    text = (tmp_path / "r.yaml").read_text()
    assert "of a sample of 40 of 600 rows" in text
    line = next(line for line in text.splitlines() if line.startswith("  unreadable:"))
    assert 10 <= int(line.rpartition("# ")[2].split()[0]) <= 30


@pytest.mark.slow
def test_unlabelled_images_are_kept_and_missing_answers_are_not(tmp_path):
    sets.save(tmp_path / "folder/a.jpg", sets.scene(1))
    init.init(SourceSettings(location=str(tmp_path / "folder")), tmp_path / "folder.yaml")
    assert "unanswered" not in read_recipe(tmp_path / "folder.yaml").rules
    rows = [sets.row(1, None), sets.row(2, None, answer=None)]
    init.init(SourceSettings(location=str(sets.write_lines(tmp_path / "r.jsonl", rows))), tmp_path / "r.yaml")
    assert "unanswered" in read_recipe(tmp_path / "r.yaml").rules


def test_a_short_look_goes_on_to_the_first_answer(tmp_path, monkeypatch):
    monkeypatch.setattr(init, "_AT_LEAST", 10)
    rows = [sets.row(number, None, answer="yes" if number > 50 else None) for number in range(100)]
    where = sets.write_lines(tmp_path / "rows.jsonl", rows)
    found = init.look(SourceSettings(location=str(where)), whole=False)
    assert (found.answered, found.complete, found.facts.rows) == (1, False, 52)


def test_field_names_and_values_stay_comments(tmp_path):
    evil = "x\n  - {location: /etc}\u2028rules: {}"
    row = {"image": "a.jpg", "question": "q: {", "answer": "# a", evil: evil, "split": "test\nname: evil"}
    folder = tmp_path / "we: ird # 'name'"
    sets.save(folder / "a.jpg", sets.scene(1))
    where = sets.write_lines(folder / "rows.jsonl", [row, {**row, "split": "b"}])
    init.init(SourceSettings(location=str(where)), tmp_path / "r.yaml")
    recipe = read_recipe(tmp_path / "r.yaml")
    assert recipe.name == "r"
    assert [source.location for source in recipe.sources] == [str(where)]
    assert recipe.rules["unreadable"].action == "drop"


@settings(max_examples=200, deadline=None)
@given(strategies.text(strategies.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=40))
def test_every_location_has_a_valid_name(location):
    values = {"name": init.name_of(location), "sources": [{"location": location}]}
    from curate.recipe import CurateRecipe

    CurateRecipe.model_validate(
        yaml.safe_load(f"name: {init.yaml_line(values['name'])}") | {"sources": values["sources"]}
    )
    assert yaml.safe_load(f"a: {init.yaml_line(location)}") == {"a": location}


@pytest.mark.parametrize(
    ("location", "name"),
    [
        ("photos/", "photos"),
        ("my-data/train.jsonl", "my-data-train"),
        ("sroie/data/img", "sroie-img"),
        ("shards/train-{000..012}.tar", "shards-train"),
        ("hub:HuggingFaceM4/ChartQA::test", "ChartQA"),
        ("easy_vqa", "easy_vqa"),
        ("2017/x.y.csv", "x.y"),
        ("2017.csv", "set-2017"),
    ],
)
def test_names(location, name):
    assert init.name_of(location) == name


def test_shares_are_replaced_not_added():
    text = init.POLICY.read_text()
    once = init.with_shares(text, [{"rule": "tiny", "fired": 3}], 12, "all 12 rows")
    assert "tiny" in once
    assert "# 3 (25.0%)" in once
    again = init.with_shares(once, [{"rule": "tiny", "fired": 0}], 10, "all 10 rows")
    assert again == once.replace("# 3 (25.0%)", "# 0").replace("all 12 rows", "all 10 rows")
    assert yaml.safe_load(once) == yaml.safe_load(text)


def test_the_policy_judges_pages_and_photographs(tmp_path):
    """Values as measured on a sparse page, a blank scan, a blurred photograph, stripes and a line of text."""
    import pyarrow.parquet as pq

    from curate.recipe import all_rules
    from curate.rules.decide import check_rules, decide

    base = {"width": 800, "height": 1000, "aspect_ratio": 0.8, "contrast": 50.0, "sharpness": 60.0,
            "sharpness_coarse": 70.0, "detail": -10.0, "detail_full": -8.0, "blocking": 1.02, "entropy": 6.0,
            "luminance_p50": 120.0, "luminance_p99": 240.0, "banding": 0.01}  # fmt: skip
    images = {
        "photo": {},
        "page": {"contrast": 2.5, "entropy": 0.3, "luminance_p50": 255.0, "luminance_p99": 255.0},
        "soft scan": {"detail": -20.0, "detail_full": -25.0, "entropy": 4.5, "luminance_p50": 230.0},
        "line": {"width": 300, "height": 20, "aspect_ratio": 15.0},
        "blank": {"contrast": 0.5, "sharpness": None, "sharpness_coarse": None},
        "pixel": {"width": 1, "height": 1, "aspect_ratio": 1.0},
        "blurred": {"detail": -25.0, "detail_full": -30.0},
        "enlarged": {"detail_full": -22.0},
        "stripes": {"detail": -35.0, "entropy": 1.0},
        "blocks": {"blocking": 2.0},
        "bands": {"banding": 0.4},
        "night": {"luminance_p99": 30.0},
    }
    rows = [sample(name, [name], text={"turns": 2, "alternates": True, "empty_answer": False}) for name in images]
    space = store(tmp_path, rows, [image(name, **{**base, **values}) for name, values in images.items()])
    decide(space, check_rules(all_rules(read_recipe(init.POLICY))))
    found = {
        row["sample_id"]: (row["decision"], [rule["rule"] for rule in row["rules"]])
        for row in pq.read_table(space.decisions).to_pylist()
    }
    assert found == {
        "photo": ("keep", []),
        "page": ("keep", []),
        "soft scan": ("keep", []),
        "line": ("flag", ["thin"]),
        "blank": ("drop", ["blank"]),
        "pixel": ("drop", ["tiny"]),
        "blurred": ("flag", ["blurry"]),
        "enlarged": ("flag", ["enlarged"]),
        "stripes": ("keep", []),
        "blocks": ("flag", ["blocky"]),
        "bands": ("flag", ["banded"]),
        "night": ("flag", ["dark"]),
    }


def test_a_location_that_cannot_be_read_writes_nothing(tmp_path):
    with pytest.raises(UserError, match="no such file"):
        init.init(SourceSettings(location=str(tmp_path / "gone.csv")), tmp_path / "r.yaml")
    (tmp_path / "x.jsonl").write_text(json.dumps({"a": 1}) + "\n")
    with pytest.raises(UserError):
        init.init(SourceSettings(location=str(tmp_path / "x.jsonl")), tmp_path / "r.yaml")
    assert not (tmp_path / "r.yaml").exists()
