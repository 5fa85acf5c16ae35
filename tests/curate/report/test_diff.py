"""Two curations compared: against a naive comparison row by row, and as people read it."""

import json
from collections import Counter

import pyarrow.parquet as pq
import pytest
import yaml

from curate import pipeline
from curate.report.diff import as_json, diff
from tests.curate import sets
from tests.curate.test_curate_cli import curate
from tests.curate.test_pipeline import digests, full, make
from winnow.errors import UserError

STRICTER = {
    **sets.RULES,
    "tiny": {"when": "width < 65", "action": "drop"},
    "shouting": {"when": "false", "action": "flag"},
}


@pytest.fixture(scope="module")
def pair(tmp_path_factory):
    """The small set, and a branch of it with other rules."""
    folder = tmp_path_factory.mktemp("diff")
    make(folder)
    pipeline.run(full(folder), "recipe.yaml")
    recipe = full(folder, rules=STRICTER)
    (folder / "stricter.yaml").write_text(
        yaml.safe_dump(recipe.model_dump(mode="json", exclude_defaults=True), sort_keys=False)
    )
    before = digests(folder / "out")
    pipeline.decide_again(recipe, "stricter.yaml", into=folder / "stricter")
    assert digests(folder / "out") == before, "the first result is as it was"
    return folder


def decisions(folder):
    found = {}
    for row in pq.read_table(folder / "decisions.parquet").to_pylist():
        flags = [one["rule"] for one in row["rules"] if one["action"] == "flag"]
        rule = row["reason"] or (flags[0] if row["decision"] == "flag" else None)
        found[row["sample_id"]] = (row["decision"], rule)
    return found


def test_transitions_are_those_of_a_naive_comparison(pair):
    was, now = decisions(pair / "out"), decisions(pair / "stricter")
    expected = Counter((*was[one], *now[one]) for one in was if was[one] != now[one])
    found = diff(pair / "out", pair / "stricter", limit=100)
    assert {(one.was, one.was_by, one.now, one.now_by): one.rows for one in found.transitions} == expected
    assert found.changed == expected.total() > 3
    assert found.same == len(was) - found.changed
    assert (found.new, found.gone) == (0, 0)
    for way in found.transitions:
        assert len(way.examples) == way.rows
        for example in way.examples:
            assert was[example.sample_id] == (way.was, way.was_by)
            assert now[example.sample_id] == (way.now, way.now_by)
    tiny = next(one for one in found.transitions if one.was == "keep" and one.now_by == "tiny")
    assert tiny.examples[0].values == {"width": 64}
    assert tiny.examples[0].threshold == "width < 65"
    assert [(one.rule, one.was, one.now) for one in found.rules] == [
        ("tiny", "drop when width < 20", "drop when width < 65"),
        ("shouting", "flag when question LIKE '%!%'", "flag when false"),
    ]


def test_rows_that_only_one_has(pair, tmp_path):
    make(tmp_path)
    lines = (tmp_path / "rows.jsonl").read_text().splitlines()
    sets.write_lines(tmp_path / "rows.jsonl", [*lines[1:], json.dumps(sets.row(99, "a.png", "New?"))])
    pipeline.run(full(tmp_path), "recipe.yaml")
    found = diff(pair / "out", tmp_path / "out")
    ways = {(one.was, one.now): [example.sample_id for example in one.examples] for one in found.transitions}
    assert "set/train/99" in ways["absent", "keep"]
    assert "set/train/1" in ways["keep", "absent"]
    assert found.new + found.gone + found.changed == sum(one.rows for one in found.transitions)
    assert diff(pair / "out", pair / "out").transitions == []


def test_what_is_printed(pair, capsys, monkeypatch):
    code, out, _ = curate(capsys, monkeypatch, "diff", pair / "out", pair / "stricter", "--limit", "1")
    assert code == 0
    assert "rows changed" in out
    assert "drop when width < 65" in out
    assert "(width 64)" in out
    code, out, _ = curate(capsys, monkeypatch, "diff", pair / "out", pair / "stricter", "--json")
    assert json.loads(out) == json.loads(as_json(diff(pair / "out", pair / "stricter")))
    code, _, err = curate(capsys, monkeypatch, "diff", pair / "out", pair / "nowhere")
    assert code == 2 and "nowhere: no such folder" in err


def test_branches_measure_nothing(pair, capsys, monkeypatch):
    monkeypatch.setattr(pipeline, "measure_images", None)
    monkeypatch.setattr(pipeline, "measure_text", None)
    code, _, err = curate(capsys, monkeypatch, "decide", pair / "stricter.yaml", "--into", pair / "again")
    assert code == 0, err
    assert digests(pair / "again").keys() == digests(pair / "stricter").keys()
    assert decisions(pair / "again") == decisions(pair / "stricter")


def test_a_branch_takes_the_place_of_nothing(pair, tmp_path):
    recipe = full(pair)
    with pytest.raises(UserError, match="is the recipe's own folder"):
        pipeline.decide_again(recipe, "recipe.yaml", into=pair / "out")
    with pytest.raises(UserError, match="is the recipe's own folder"):
        pipeline.decide_again(recipe, "recipe.yaml", into=pair / "out/inside")
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(UserError, match="is not a curated folder"):
        pipeline.decide_again(recipe, "recipe.yaml", into=tmp_path)
    with pytest.raises(UserError, match="nothing is measured there yet"):
        pipeline.decide_again(full(pair, out=str(tmp_path / "new")), "recipe.yaml", into=tmp_path / "other")
