"""Explanations: every rule in order with its values, and what else is known about a row, kept ones too."""

import shutil

import pyarrow.parquet as pq
import pytest

from curate import pipeline
from curate.rules.explain import explain_row
from tests.curate import sets
from tests.curate.test_curate_cli import curate
from tests.curate.test_pipeline import full, make


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    folder = tmp_path_factory.mktemp("explain")
    make(folder)
    recipe = full(folder, splits={"train": 0.5, "val": 0.5})
    pipeline.run(recipe, "recipe.yaml")
    table = {row["sample_id"]: row for row in pq.read_table(folder / "out/samples.parquet").to_pylist()}

    def line(number, sample_id, **values):
        known = {"correction_id": f"c{number}", "sample_id": sample_id, "at": f"2026-01-0{number}T00:00:00Z"}
        return {**known, "content_hash": table[sample_id]["content_hash"], "reviewer": "ann", **values}

    lines = [
        line(1, "set/train/8", action="relabel", new="four"),
        line(2, "set/train/1", action="drop", content_hash="0" * 64),
        line(3, "set/train/3", action="keep"),
        line(4, "set/train/3", action="drop", reviewer="bob"),
    ]
    sets.write_lines(folder / "fixes/all.jsonl", lines)
    pipeline.decide_again(recipe, "recipe.yaml")
    return folder


@pytest.mark.slow
def test_a_kept_row_is_explained_as_fully(done):
    found = explain_row(done / "out", "set/train/1")
    assert found.decision["decision"] == "keep"
    assert [one.rule.name for one in found.rules] == [
        "bad_row", "unreadable", "tiny", "shouting", "contaminated", "leak_suspected", "contaminated_text",
        "conflicting", "duplicate", "edited_copy",
    ]  # fmt: skip
    assert not any(one.fired for one in found.rules)
    tiny = found.rules[2]
    assert (tiny.values, tiny.rule.expression.thresholds) == ({"width": 64}, ("width < 20",))
    assert (found.stands_for, found.repeats) == (["set/train/2"], 1)
    assert [(line.correction_id, became) for line, became in found.corrections] == [("c2", "stale")]
    assert found.sample["assigned_split"] in ("train", "val")


def test_rivals_and_disagreeing_reviewers(done):
    found = explain_row(done / "out", "set/train/3")
    assert found.rival == "set/train/4"
    assert [became for _, became in found.corrections] == ["conflict", "conflict"]


@pytest.mark.slow
def test_every_decision_is_what_the_rules_say(done):
    """The same rules, evaluated one row at a time."""
    for row in pq.read_table(done / "out/decisions.parquet").to_pylist():
        found = explain_row(done / "out", row["sample_id"])
        fired = [one.rule.name for one in found.rules if one.fired]
        assert fired == [one["rule"] for one in row["rules"] if one["rule"] != "correction"]


def test_what_is_printed(done, capsys, monkeypatch):
    _, out, _ = curate(capsys, monkeypatch, "explain", "set/train/8", "--curated", done / "out")
    assert "set/train/8  keep  in " in out
    assert "ann on 2026-01-01: relabel → four (applied, c1)" in out
    _, out, _ = curate(capsys, monkeypatch, "explain", "set/train/1", "--curated", done / "out")
    assert "it stands for set/train/2, which repeat it" in out
    _, out, _ = curate(capsys, monkeypatch, "explain", "set/train/3", "--curated", done / "out")
    assert "same image and question, another answer: set/train/4" in out


def test_an_image_that_cannot_be_used_is_explained(tmp_path, capsys, monkeypatch):
    sets.save(tmp_path / "images/far/0.png", sets.scene(0))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "0.png")])
    pipeline.run(sets.recipe(tmp_path), "r.yaml")
    _, out, _ = curate(capsys, monkeypatch, "explain", "set/train/0", "--curated", tmp_path / "out")
    assert "missing   0.png: found as 0.png in far/" in out


def test_signals_of_another_version_are_told(done, tmp_path, capsys, monkeypatch):
    old = shutil.copytree(done / "out", tmp_path / "old")
    for part in old.glob("signals/part-*.parquet"):
        pq.write_table(pq.read_table(part).drop_columns(["width"]), part)
    for command in (("explain", "set/train/1", "--curated", old), ("plot", old)):
        code, _, err = curate(capsys, monkeypatch, *command)
        assert code == 2
        assert "was measured by another version of Winnow; bring it up to date with `curate run RECIPE`" in err


def test_lines_written_since_are_new(done):
    new = {"correction_id": "c9", "sample_id": "set/train/7", "content_hash": "0" * 64, "action": "keep",
           "reviewer": "eve", "at": "2026-02-01T00:00:00Z"}  # fmt: skip
    path = sets.write_lines(done / "fixes/eve.jsonl", [new])
    assert [became for _, became in explain_row(done / "out", "set/train/7").corrections] == ["new"]
    path.unlink()
