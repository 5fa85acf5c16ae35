import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.metrics import average_precision_score, roc_auc_score
from typer.testing import CliRunner

from winnow.demo.dataset import make_dataset
from winnow.demo.truth import RULES, app, compare, ranking
from winnow.errors import UserError
from winnow.parquet.table_parts import Parts
from winnow.rows.lines import read_jsonl
from winnow.run import write_manifest


@pytest.fixture(scope="module")
def raw(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("truth") / "raw"
    make_dataset(out, images=60)
    return out


@pytest.fixture
def truth(raw: Path) -> list[dict]:
    return pq.read_table(raw / "truth.parquet").to_pylist()


def fired(rule: str, *, values: dict | None = None, twin: str | None = None) -> dict:
    return {
        "rule": rule, "action": "drop", "expression": "", "values": json.dumps(values or {}),
        "threshold": "", "related_row": twin,
    }  # fmt: skip


def perfect(raw: Path, truth: list[dict]) -> dict[str, list[dict]]:
    """Rules per row as a faultless curation would fire them; the original of a copy is the row dropped."""
    rules: dict[str, list[dict]] = {sample.id: [] for sample in read_jsonl(raw / "vqa.jsonl")}
    for row in truth:
        if row["defect"] == "near_duplicate":
            rules[row["twin_id"]].append(fired("duplicate", twin=row["sample_id"]))
        elif row["defect"] in RULES:
            rules[row["sample_id"]].append(fired(RULES[row["defect"]]))
        else:
            rules[row["sample_id"]].append(fired("unreadable", values={"error": row["defect"]}))
    return rules


def curation(folder: Path, rules: dict[str, list[dict]], groups: dict[str, str] | None = None) -> Path:
    kind = pa.struct([(name, pa.string()) for name in fired("x")])
    table = pa.table(
        {
            "sample_id": list(rules),
            "rules": pa.array(list(rules.values()), pa.list_(kind)),
            "duplicate_group": pa.array([(groups or {}).get(name) for name in rules], pa.string()),
        }
    )
    folder.mkdir()
    pq.write_table(table, folder / "decisions.parquet")
    write_manifest(folder, stage="curate", recipe={}, inputs={}, outputs=[], counts={}, seconds={}, seeds={})
    return folder


def ids(truth: list[dict], defect: str) -> list[str]:
    return [row["sample_id"] for row in truth if row["defect"] == defect]


def test_a_faultless_curation_scores_one_everywhere(raw, truth, tmp_path):
    report = compare(curation(tmp_path / "c", perfect(raw, truth)), raw / "truth.parquet")
    assert {name: (made["recall"], made["precision"]) for name, made in report["defects"].items()} == dict.fromkeys(
        ["corrupt", "truncated", "empty", "not_an_image", "wrong_extension", "missing", "near_duplicate", *RULES],
        (1.0, 1.0),
    )
    assert report["clip_alignment"] is None


def test_misses_and_false_alarms_are_counted_and_named(raw, truth, tmp_path):
    rules = perfect(raw, truth)
    missed, alarmed = ids(truth, "blurred")[0], ids(truth, "leaked")[0]
    rules[missed] = []
    rules[alarmed].append(fired("blurry"))
    total = len(ids(truth, "blurred"))
    blurred = compare(curation(tmp_path / "c", rules), raw / "truth.parquet")["defects"]["blurred"]
    assert blurred["recall"] == blurred["precision"] == (total - 1) / total
    assert (blurred["missed"], blurred["false_alarms"]) == ((missed,), (alarmed,))


def test_a_corrupt_class_may_be_a_rule_of_its_own_and_a_mix_up_costs_both_classes(raw, truth, tmp_path):
    rules = perfect(raw, truth)
    for name in ids(truth, "missing"):
        rules[name] = [fired("missing")]
    mixed = ids(truth, "empty")[0]
    rules[mixed] = [fired("unreadable", values={"error": "truncated"})]
    made = compare(curation(tmp_path / "c", rules), raw / "truth.parquet")["defects"]
    assert made["missing"]["recall"] == made["corrupt"]["recall"] == made["corrupt"]["precision"] == 1
    assert made["empty"]["missed"] == made["truncated"]["false_alarms"] == (mixed,)


def test_a_pair_needs_its_own_twin_or_group(raw, truth, tmp_path):
    pairs = [(row["sample_id"], row["twin_id"]) for row in truth if row["defect"] == "near_duplicate"]
    rules = perfect(raw, truth)
    (first, source), (second, other_source) = pairs[:2]
    rules[source] = [fired("duplicate", twin=second)]  # the wrong twin
    rules[other_source] = []
    rules[second] = [fired("duplicate", twin="elsewhere")]  # wrong twin, right group
    stranger = ids(truth, "leaked")[0]
    rules[stranger].append(fired("duplicate", twin=first))
    groups = {second: "g", other_source: "g"}
    made = compare(curation(tmp_path / "c", rules, groups), raw / "truth.parquet")["defects"]["near_duplicate"]
    assert (made["affected"], made["found"], made["missed"]) == (len(pairs), len(pairs) - 1, (first,))
    assert (made["fired"], made["right"], made["false_alarms"]) == (len(pairs) + 1, len(pairs), (stranger,))


def test_the_wrong_answer_of_a_contradictory_pair_is_no_false_alarm(raw, truth, tmp_path):
    rules = perfect(raw, truth)
    added = [name for name in ids(truth, "contradictory") if "/con-" in name]
    for name in added:
        rules[name].append(fired("misaligned"))
    made = compare(curation(tmp_path / "c", rules), raw / "truth.parquet")["defects"]["wrong_answer"]
    assert made["precision"] == 1


def test_a_contradiction_is_settled_by_either_rule_and_missed_without_one(raw, truth, tmp_path):
    defects = (row for row in truth if row["defect"] == "contradictory")
    pairs = sorted({tuple(sorted((row["sample_id"], row["twin_id"]))) for row in defects})
    rules = perfect(raw, truth)
    by_alignment, unseen = pairs[0], pairs[1]
    rules[by_alignment[0]], rules[by_alignment[1]] = [fired("misaligned")], []
    rules[unseen[0]] = rules[unseen[1]] = []
    stranger = ids(truth, "leaked")[0]
    rules[stranger].append(fired("conflicting"))
    made = compare(curation(tmp_path / "c", rules), raw / "truth.parquet")["defects"]["contradictory"]
    assert (made["affected"], made["found"], made["missed"]) == (len(pairs), len(pairs) - 1, (unseen[0],))
    assert (made["fired"], made["right"]) == (2 * (len(pairs) - 2) + 1, 2 * (len(pairs) - 2))
    assert made["false_alarms"] == (stranger,)


def test_alignment_is_ranked(raw, truth, tmp_path):
    folder = curation(tmp_path / "c", perfect(raw, truth))
    wrong = set(ids(truth, "wrong_answer"))
    names = [sample.id for sample in read_jsonl(raw / "vqa.jsonl")]
    values = [0.1 if name in wrong else 0.3 for name in names]
    values[0] = None
    texts = Parts(folder / "signals/text")
    texts.folder.mkdir(parents=True)
    pq.write_table(pa.table({"sample_id": names, "clip_alignment": values}), texts.folder / "all.parquet")
    texts.finish(["all.parquet"])
    ranks = compare(folder, raw / "truth.parquet")["clip_alignment"]
    assert ranks["roc_auc"] == ranks["average_precision"] == ranks["recall_at_90_precision"] == 1
    assert ranks["wrong"] == len(wrong - {names[0]})


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(0, 6), st.booleans()), min_size=2, max_size=60))
def test_ranking_equals_scikit_learn(rows):
    suspicion = np.array([value for value, _ in rows], dtype=float)
    positive = np.array([flag for _, flag in rows])
    if positive.all() or not positive.any():
        return
    ranks = ranking(suspicion, positive)
    assert ranks["roc_auc"] == pytest.approx(roc_auc_score(positive, suspicion))
    assert ranks["average_precision"] == pytest.approx(average_precision_score(positive, suspicion))


def test_recall_at_a_precision():
    ranks = ranking(np.array([9.0, 8, 7, 6, 5, 4]), np.array([True, True, False, True, False, False]))
    assert ranks["recall_at_90_precision"] == pytest.approx(2 / 3)
    assert ranks["recall_at_50_precision"] == 1


def test_the_command_prints_a_table_and_writes_the_report(raw, truth, tmp_path):
    folder = curation(tmp_path / "c", perfect(raw, truth))
    arguments = ["--curated", str(folder), "--truth", str(raw / "truth.parquet")]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert "near_duplicate" in result.output and "1.0000" in result.output
    assert json.loads((folder / "truth_report.json").read_text())["defects"]["leaked"]["recall"] == 1


def test_an_unfinished_or_other_curation_is_refused(raw, truth, tmp_path):
    rules = perfect(raw, truth)
    del rules[truth[0]["sample_id"]]
    folder = curation(tmp_path / "c", rules)
    with pytest.raises(UserError, match="has no decision about 1 of"):
        compare(folder, raw / "truth.parquet")
    (folder / "manifest.json").unlink()
    with pytest.raises(UserError, match="did not finish"):
        compare(folder, raw / "truth.parquet")
    with pytest.raises(UserError, match="no such folder"):
        compare(tmp_path / "nowhere", raw / "truth.parquet")
