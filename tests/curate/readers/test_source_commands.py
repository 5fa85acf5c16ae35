"""`curate inspect` and `curate sources` at the console; a curation of a two-file layout."""

import json

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner

from curate.cli import app
from curate.pipeline import input_digests, run
from curate.recipe import CurateRecipe, read_recipe
from tests.curate.make_images import noise, write
from tests.curate.readers import published
from winnow.digests import Digests
from winnow.errors import UserError


def curate(*words):
    return CliRunner().invoke(app, [str(word) for word in words], env={"COLUMNS": "160"})


def test_inspect_takes_annotations_split_and_layout(tmp_path):
    questions = published.vqa_v2(tmp_path)
    votes = (tmp_path / "v2_mscoco_val2014_annotations.json").rename(tmp_path / "votes.json")
    with pytest.raises(UserError, match="annotations"):
        raise curate("inspect", questions).exception
    shown = curate("inspect", questions, "--annotations", votes)
    assert shown.exit_code == 0
    for words in ("vqa", "answers a row", "10", "missing", "2 of 2"):
        assert words in shown.stdout
    published.scienceqa(tmp_path / "s")
    assert "minival 1" in curate("inspect", tmp_path / "s", "--split", "minival").stdout
    forced = curate("inspect", published.pope(tmp_path / "p"), "--as", "table")
    assert "layout" in forced.stdout
    assert "table" in forced.stdout


def test_sources_lists_every_layout():
    shown = curate("sources")
    assert shown.exit_code == 0
    for words in ("vqa", "chartqa", "{location: easy_vqa, split: train}"):
        assert words in shown.stdout
    for line in shown.stdout.splitlines():
        if line.strip().startswith("- {") and line.rstrip().endswith("}"):
            assert "location" in yaml.safe_load(line)[0]


def test_vqa_is_curated_with_votes_and_bad_rows_under_its_name(tmp_path):
    extra = {"image_id": 5, "question": "Who?", "question_id": 5000}
    questions = published.vqa_v2(tmp_path / "vqa", questions=[*published.VQA_QUESTIONS, extra])
    for number, image_id in enumerate((262148, 393225)):
        write(tmp_path / "vqa" / "val2014" / f"COCO_val2014_{image_id:012}.jpg", noise(seed=number))
    recipe_file = tmp_path / "r.yaml"
    recipe_file.write_text(
        json.dumps({"name": "v", "out": str(tmp_path / "out"), "sources": [{"location": str(questions)}]})
    )
    recipe = read_recipe(recipe_file)
    run(recipe, str(recipe_file), 1)
    rows = pq.read_table(tmp_path / "out" / "samples.parquet").to_pylist()
    assert [len(row["answers"]) for row in rows] == [10, 10, 10, 0]
    assert {row["source"] for row in rows} == {"vqa_v2"}
    assert (rows[3]["decision"], rows[3]["reason"]) == ("drop", "bad_row")
    assert rows[0]["images"] == ["val2014/COCO_val2014_000000262148.jpg"]


def test_a_changed_partner_file_is_a_changed_input(tmp_path):
    questions = published.vqa_v2(tmp_path)
    recipe = CurateRecipe(name="v", sources=[{"location": str(questions)}])
    digests = Digests(tmp_path / "digests.parquet")
    before = input_digests(recipe, digests)
    partner = tmp_path / "v2_mscoco_val2014_annotations.json"
    partner.write_text(partner.read_text().replace("down", "up"))
    after = input_digests(recipe, digests)
    assert {name for name in after if after[name] != before[name]} == {str(partner)}
