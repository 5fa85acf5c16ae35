from __future__ import annotations

from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dashboards.query.catalog import Folder, scan
from dashboards.query.decisions import fate_of, funnel, training_matches
from dashboards.query.engine import Connection


@pytest.fixture(scope="module")
def folder(data: Path) -> Folder:
    found = scan(data).find("curated", "demo")
    assert found
    return found


def test_funnel_counts_what_the_decisions_say(folder: Folder, connection: Connection) -> None:
    table = pd.read_parquet(folder.path / "decisions.parquet")
    found = funnel(connection, folder)
    assert found.rows_in == len(table)
    assert found.kept == (table["decision"] != "drop").sum()
    assert found.flagged == (table["decision"] == "flag").sum()
    dropped = Counter(table["reason"].dropna())
    fired = Counter(rule["rule"] for rules in table["rules"] for rule in rules)
    assert {step.rule: step.dropped for step in found.steps} == {rule: dropped.get(rule, 0) for rule in fired}
    assert {step.rule: step.fired for step in found.steps} == dict(fired)
    assert found.steps[-1].left == found.kept


def test_funnel_puts_built_in_rules_after_those_of_the_recipe(folder: Folder, connection: Connection) -> None:
    assert [step.rule for step in funnel(connection, folder).steps][-1] == "contaminated"


def test_fate_of_a_dropped_row_has_every_rule_with_its_values(folder: Folder, connection: Connection) -> None:
    fate = fate_of(connection, folder, "easy_vqa/train/5")
    assert fate and (fate.decision, fate.reason) == ("drop", "blurry")
    assert [(rule.rule, rule.action) for rule in fate.rules] == [("blurry", "drop"), ("misaligned", "flag")]
    assert fate.rules[0].values == {"sharpness": 12.25, "entropy": 4.5}
    assert fate.answers == ("yes",) * 3 or len(fate.answers) == 3


def test_fate_of_kept_missing_and_unknown_rows(folder: Folder, connection: Connection) -> None:
    kept = fate_of(connection, folder, "easy_vqa/train/0")
    assert kept and kept.decision == "keep" and kept.rules == ()
    missing = fate_of(connection, folder, "easy_vqa/train/7")
    assert missing and missing.image_keys == (None,)
    assert fate_of(connection, folder, "nope' OR true --") is None


def test_matches_of_a_leaked_test_row(folder: Folder, connection: Connection) -> None:
    found = training_matches(connection, folder, "easy_vqa/test/0")
    assert [match.sample_id for match in found] == [f"easy_vqa/train/{number}" for number in (12, 25, 38, 51)]
    assert found[0].values == {"hamming": 2, "distance": 1.5}
    assert training_matches(connection, folder, "easy_vqa/test/1") == []


def test_values_that_are_no_json_are_shown_as_they_are() -> None:
    from dashboards.query.decisions import _json

    assert _json("not json") == {"values": "not json"}
    assert _json("[1]") == {"values": [1]}
    assert _json(None) == {}
