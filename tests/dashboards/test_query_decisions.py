from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dashboards.data.catalog import Folder, scan
from dashboards.data.curated import funnel, json_object, read_fired, row_decision
from dashboards.data.duplicates import matches_of
from dashboards.data.engine import Connection, connect


@pytest.fixture(scope="module")
def folder(data: Path) -> Folder:
    found = scan(data).find("curated", "demo")
    assert found
    return found


def test_funnel_counts_what_the_decisions_say(folder: Folder) -> None:
    table = pd.read_parquet(folder.path / "decisions.parquet")
    found = funnel(folder, read_fired(folder))
    assert found.rows_in == len(table)
    assert found.kept == (table["decision"] != "drop").sum()
    assert found.flagged == (table["decision"] == "flag").sum()
    dropped = Counter(table["reason"].dropna())
    fired = Counter(rule["rule"] for rules in table["rules"] for rule in rules)
    assert {step.rule: step.dropped for step in found.steps} == {rule: dropped.get(rule, 0) for rule in fired}
    assert {step.rule: step.fired for step in found.steps} == dict(fired)
    assert found.steps[-1].left == found.kept


def test_rules_come_in_the_order_of_the_manifest(folder: Folder) -> None:
    names = [step.rule for step in funnel(folder, read_fired(folder)).steps]
    assert names == ["unreadable", "blurry", "misaligned", "contaminated"]


@pytest.mark.parametrize("counts", [{}, {"rules": {"blurry": 1}}, {"rules": ["blurry"]}, None])
def test_a_manifest_without_the_order_still_gives_a_funnel(own: Path, counts: object) -> None:
    path = own / "curated" / "demo" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "counts": counts}))
    found = scan(own).find("curated", "demo")
    assert found and funnel(found, read_fired(found)).steps[0].rule == "blurry", "most fired first"


def test_fate_of_a_dropped_row_has_every_rule_with_its_values(folder: Folder, connection: Connection) -> None:
    fate = row_decision(connection, folder, "easy_vqa/train/5")
    assert fate and (fate.decision, fate.reason) == ("drop", "blurry")
    assert [(rule.rule, rule.action) for rule in fate.rules] == [("blurry", "drop"), ("misaligned", "flag")]
    assert fate.rules[0].values == {"sharpness": 12.25, "entropy": 4.5}
    assert len(fate.answers) == 3


def test_fate_of_kept_missing_and_unknown_rows(folder: Folder, connection: Connection) -> None:
    kept = row_decision(connection, folder, "easy_vqa/train/0")
    assert kept and kept.decision == "keep" and kept.rules == ()
    missing = row_decision(connection, folder, "easy_vqa/train/7")
    assert missing and missing.image_keys == (None,)
    assert row_decision(connection, folder, "nope' OR true --") is None


def test_leaks_are_found_by_image_for_every_question_about_it(
    folder: Folder, data: Path, connection: Connection
) -> None:
    test = pd.read_parquet(data / "evals" / "demo-tuned" / "predictions.parquet")
    for _, row in test.iterrows():
        found = matches_of(connection, folder, row["sample_id"], list(row["image_keys"]))
        leaked = row["image_keys"][0] == test["image_keys"][0][0]
        assert found.leak_count == len(found.leaks) == (4 if leaked else 0)
        assert found.checked and found.copies == ()
    found = matches_of(connection, folder, "easy_vqa/test/0", list(test["image_keys"][0]))
    assert [match.sample_id for match in found.leaks] == [f"easy_vqa/train/{number}" for number in (25, 12, 38, 51)]
    first = found.leaks[0]
    assert (first.decision, first.distance, first.hamming, first.same_question) == ("drop", 1.5, 2, True)


def test_copies_are_rows_that_name_the_row_as_their_twin(own: Path) -> None:
    (own / "curated" / "demo" / "contamination.parquet").unlink()
    found = scan(own).find("curated", "demo")
    assert found
    matches = matches_of(connect(own), found, "easy_vqa/test/0", ["0" * 64])
    assert not matches.checked and matches.leaks == () and matches.copy_count == 4
    assert [match.sample_id for match in matches.copies] == [f"easy_vqa/train/{number}" for number in (12, 25, 38, 51)]
    assert matches_of(connect(own), found, "easy_vqa/test/1", []).copies == ()


def test_values_that_are_no_json_are_shown_as_they_are() -> None:
    assert json_object("not json") == {"values": "not json"}
    assert json_object("[1]") == {"values": [1]}
    assert json_object(None) == {}
