from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pandas as pd
import pytest

from dashboards.data.catalog import Folder, scan
from dashboards.data.curated import (
    cases_at,
    cases_of,
    cases_of_rule,
    fired_rules,
    funnel,
    json_object,
    row_decision,
)


@pytest.fixture(scope="module")
def folder(data: Path) -> Folder:
    found = scan(data).find("curated", "demo")
    assert found
    return found


def test_funnel_counts_what_the_decisions_say(folder: Folder) -> None:
    table = pd.read_parquet(folder.path / "decisions.parquet")
    found = funnel(folder)
    assert found.rows_in == len(table)
    assert found.kept == (table["decision"] != "drop").sum()
    assert found.flagged == (table["decision"] == "flag").sum()
    dropped = Counter(table["reason"].dropna())
    fired = Counter(rule["rule"] for rules in table["rules"] for rule in rules)
    assert {step.rule: step.dropped for step in found.steps} == {rule: dropped.get(rule, 0) for rule in fired}
    assert {step.rule: step.fired for step in found.steps} == dict(fired)
    assert found.steps[-1].left == found.kept


def test_rules_come_in_the_order_of_the_manifest(folder: Folder) -> None:
    names = [step.rule for step in funnel(folder).steps]
    assert names == ["unreadable", "blurry", "misaligned", "contaminated"]


@pytest.mark.parametrize("counts", [{}, {"rules": {"blurry": 1}}, {"rules": ["blurry"]}, None])
def test_a_manifest_without_the_order_still_gives_a_funnel(own: Path, counts: object) -> None:
    path = own / "curated" / "demo" / "manifest.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "counts": counts}))
    found = scan(own).find("curated", "demo")
    assert found and funnel(found).steps[0].rule == "blurry", "most fired first"


def test_the_decision_about_a_dropped_row_has_every_rule_with_its_values(folder: Folder) -> None:
    row = row_decision(folder, "easy_vqa/train/5")
    assert row and (row.decision, row.reason) == ("drop", "blurry")
    assert [(rule.rule, rule.action) for rule in row.rules] == [("blurry", "drop"), ("misaligned", "flag")]
    assert row.rules[0].values == {"sharpness": 12.25, "entropy": 4.5}
    assert len(row.answers) == 3


def test_the_decision_about_kept_missing_and_unknown_rows(folder: Folder) -> None:
    kept = row_decision(folder, "easy_vqa/train/0")
    assert kept and kept.decision == "keep" and kept.rules == ()
    missing = row_decision(folder, "easy_vqa/train/7")
    assert missing and missing.image_keys == (None,)
    assert row_decision(folder, "nope' OR true --") is None


def test_values_that_are_not_json_are_shown_as_they_are() -> None:
    assert json_object("not json") == {"values": "not json"}
    assert json_object("[1]") == {"values": [1]}
    assert json_object(None) == {}


@pytest.fixture(scope="module")
def small_set(small: Path) -> Folder:
    found = scan(small).find("curated", "small")
    assert found is not None
    return found


def test_rows_by_place_id_and_rule(small: Path, small_set: Folder) -> None:
    samples = pd.read_parquet(small / "curated/small/samples.parquet")
    assert [case.sample_id for case in cases_at(small_set, [5, 3])] == list(samples["sample_id"][[5, 3]])
    assert set(cases_of(small_set, ("t/train/blurred", "x"))) == {"t/train/blurred"}
    fired = fired_rules(small_set)
    total = int((samples["reason"] == "duplicate").sum())
    assert total == fired.is_reason("duplicate").sum()
    pages = [cases_of_rule(small_set, "duplicate", start, 4) for start in range(0, total, 4)]
    shown = [case.sample_id for page in pages for case in page]
    assert shown[:total] == list(samples[samples["reason"] == "duplicate"]["sample_id"])
    assert cases_of_rule(small_set, "no such rule", 0, 4) == []
