"""Rules that ask about other rows are judged among the rows that the other rules leave."""

import json
import tempfile
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.duplicates.rows import find_duplicates
from curate.recipe import Rule
from curate.rules.decide import check_rules, decide
from curate.settings.copies import DuplicateSettings
from tests.curate.stored import image, sample, store

DROP = {
    "blurry": ("sharpness < 50", "drop"),
    "conflicting": ("conflicting", "drop"),
    "duplicate": ("duplicate", "drop"),
}


def twin(key, **more):
    """Images that all look the same."""
    return image(key, **{"phash": 7, "dhash": 7, "thumbnail": bytes([90]) * 768, "sharpness": 90.0, **more})


def decided(folder, samples, images, rules=DROP, **duplicates):
    """Id → (decision, reason, row that it gave way to)."""
    space = store(folder, samples, images)
    compare = DuplicateSettings(**duplicates)
    find_duplicates(space, compare)
    named = {name: Rule(when=when, action=action) for name, (when, action) in rules.items()}
    decide(space, check_rules(named), duplicates=compare)
    rows = pq.read_table(space.decisions).to_pylist()
    return {row["sample_id"]: (row["decision"], row["reason"], row["representative"]) for row in rows}


def test_a_group_does_not_vanish_with_its_best_row(tmp_path):
    """The largest image is blurred; the next best row stands for the group, also in the ledger."""
    images = [twin("a", width=640, sharpness=9.0), twin("b", width=320), twin("c", width=100)]
    found = decided(tmp_path, [sample(key, [key]) for key in "abc"], images)
    assert found == {"a": ("drop", "blurry", "b"), "b": ("keep", None, None), "c": ("drop", "duplicate", "b")}


def test_a_group_of_which_every_row_is_dropped_has_its_best_row(tmp_path):
    images = [twin("a", width=640, sharpness=9.0), twin("b", width=320, sharpness=9.0)]
    found = decided(tmp_path, [sample(key, [key]) for key in "ab"], images)
    assert found == {"a": ("drop", "blurry", None), "b": ("drop", "blurry", "a")}


def test_a_contradiction_that_is_gone_is_none(tmp_path):
    images = [twin("a"), twin("b", sharpness=9.0), twin("c")]
    rows = [sample("1", ["a"], answer="cat"), sample("2", ["b"], answer="dog"), sample("3", ["c"], "Where?", "here")]
    found = decided(tmp_path, rows, images)
    assert found["1"][:2] == ("keep", None)
    assert found["2"][:2] == ("drop", "blurry")
    assert found["3"][:2] == ("keep", None)


def test_a_row_dropped_for_a_contradiction_stands_for_nobody(tmp_path):
    """Only rows with few votes give way in a contradiction: the best twin does, so the other one stays."""
    rows = [
        sample("1", ["a"], answer="cat"),
        sample("2", ["b"], answer="cat", answers=["cat"] * 5),
        sample("3", ["c"], answer="dog", answers=["dog"] * 5),
    ]
    rules = {**DROP, "conflicting": ("conflicting AND votes < 3", "drop")}
    found = decided(tmp_path, rows, [twin("a", width=640), twin("b"), twin("c")], rules)
    assert [found[one][:2] for one in "123"] == [("drop", "conflicting"), ("keep", None), ("keep", None)]


def test_reviewers_decide_who_is_left(tmp_path):
    note = json.dumps({"corrections": ["c"]})
    images = [twin("a", width=640), twin("b", width=320, sharpness=9.0), twin("c", width=100)]
    rows = [
        sample("1", ["a"], forced="drop", forced_by=note),
        sample("2", ["b"], forced="keep", forced_by=note),
        sample("3", ["c"]),
    ]
    found = decided(tmp_path, rows, images)
    assert found["1"] == ("drop", "correction", "2")
    assert found["2"] == ("keep", None, None), "kept although it is blurred, so it stands for the group"
    assert found["3"] == ("drop", "duplicate", "2")


def test_scope_image_falls_back_on_the_best_image_that_is_left(tmp_path):
    images = [twin("a", width=640, sharpness=9.0), twin("b", width=320), twin("c", width=100)]
    rows = [sample(f"{key}{number}", [key], f"Question {number}?") for key in "abc" for number in (1, 2)]
    found = decided(tmp_path, rows, images, scope="image")
    assert {one: row[0] for one, row in found.items() if one[0] == "b"} == {"b1": "keep", "b2": "keep"}
    assert {row[:2] for one, row in found.items() if one[0] == "c"} == {("drop", "duplicate")}


def test_the_reason_is_the_first_rule_of_the_recipe_whatever_is_judged_first(tmp_path):
    images = [twin("a", width=640), twin("b", sharpness=9.0)]
    rules = {"duplicate": DROP["duplicate"], "blurry": DROP["blurry"]}
    found = decided(tmp_path, [sample("1", ["a"]), sample("2", ["b"])], images, rules)
    assert found["2"] == ("drop", "duplicate", "1")


def test_a_rule_that_only_flags_takes_nothing_out(tmp_path):
    images = [twin("a", width=640, sharpness=9.0), twin("b")]
    rules = {**DROP, "blurry": ("sharpness < 50", "flag")}
    found = decided(tmp_path, [sample("1", ["a"]), sample("2", ["b"])], images, rules)
    assert found == {"1": ("flag", None, None), "2": ("drop", "duplicate", "1")}


IMAGES = [twin("a", width=200), twin("b", width=100), twin("c", width=100, sharpness=9.0), image("d", sharpness=90.0)]
ROWS = st.lists(
    st.fixed_dictionaries(
        {
            "images": st.sampled_from(["a", "b", "c", "d"]),
            "question": st.sampled_from(["Who?", "Where?"]),
            "answer": st.sampled_from(["cat", "dog"]),
            "votes": st.integers(0, 2),
            "forced": st.sampled_from([None, None, None, "keep", "drop"]),
        }
    ),
    max_size=14,
)
ORACLE_RULES = {
    "duplicate": ("duplicate", "drop"),
    "blurry": ("sharpness < 50", "drop"),
    "torn": ("conflicting AND votes = 0", "drop"),
}


def naive(rows):
    """Id → (decision, reason), by looping over all pairs."""
    sharp = {one["image_key"]: one["sharpness"] for one in IMAGES}
    width = {one["image_key"]: one["width"] for one in IMAGES}
    ids = range(len(rows))
    asked = [(rows[i]["images"] == "d", rows[i]["question"]) for i in ids]
    better = sorted(ids, key=lambda i: (-width[rows[i]["images"]], -rows[i]["votes"], f"{i:02d}"))
    fired = {name: set() for name in ORACLE_RULES}
    gone = {i for i in ids if rows[i]["forced"] == "drop"}

    def judge(name, rows_of_rule):
        fired[name] = set(rows_of_rule)
        gone.update(i for i in fired[name] if rows[i]["forced"] != "keep")

    judge("blurry", [i for i in ids if sharp[rows[i]["images"]] < 50])
    left = [i for i in ids if i not in gone]
    torn = [
        i
        for i in ids
        if rows[i]["votes"] == 0 and any(asked[i] == asked[j] and rows[i]["answer"] != rows[j]["answer"] for j in left)
    ]
    judge("torn", torn)
    repeats = []
    for i in ids:
        same = [j for j in better if asked[i] == asked[j] and rows[i]["answer"] == rows[j]["answer"]]
        kept = next((j for j in same if j not in gone), same[0])
        repeats += [i] if kept != i else []
    judge("duplicate", repeats)
    outcome = {}
    for i in ids:
        reason = next((name for name in ORACLE_RULES if i in fired[name]), None)
        forced = rows[i]["forced"]
        outcome[f"{i:02d}"] = (
            (forced, "correction" if forced == "drop" else None) if forced else ("drop" if reason else "keep", reason)
        )
    return outcome


@pytest.mark.slow
@settings(max_examples=15, deadline=None)
@given(ROWS)
def test_as_a_naive_oracle_decides(rows):
    samples = [
        sample(f"{i:02d}", [row["images"]], row["question"], row["answer"], [row["answer"]] * row["votes"],
               forced=row["forced"], forced_by=row["forced"] and "{}")
        for i, row in enumerate(rows)
    ]  # fmt: skip
    with tempfile.TemporaryDirectory() as folder:
        found = decided(Path(folder), samples, IMAGES, ORACLE_RULES)
    assert {one: row[:2] for one, row in found.items()} == naive(rows)
