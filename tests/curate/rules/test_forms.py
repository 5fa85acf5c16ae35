"""Rules over meta, quantiles, the best share and groups, each against a naive oracle in Python."""

import hashlib
import json
import math
import tempfile
from fractions import Fraction
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import pipeline
from curate.recipe import Rule
from curate.rules.decide import check_on_rows, check_rules, decide
from curate.rules.explain import explain_row
from tests.curate import sets
from tests.curate.stored import image, sample, store
from winnow.errors import UserError


def rule(when=None, action="drop", **more):
    return Rule(when=when, action=action, **more)


def with_meta(own_id, images, meta, **more):
    made = sample(own_id, images, **more)
    return {**made, "record": json.dumps({**json.loads(made["record"]), "meta": meta})}


def decisions(space, **rules):
    decide(space, check_rules(rules))
    return {row["sample_id"]: row for row in pq.read_table(space.decisions).to_pylist()}


def taken(space, **rules):
    return {one for one, row in decisions(space, **rules).items() if row["decision"] == "drop"}


METAS = [
    {"aesthetic": 4.1, "nsfw": True, "lang": "en", "scores": {"clip.b": 1}, "tags": ["a", "b"], "a b": "x", "n": "1.5",
     "mixed": 3, "zip": "007", "big": 2**62 + 1, "empty": None},
    {"aesthetic": 5, "nsfw": False, "lang": "de", "scores": {"clip.b": 2}, "tags": [], "a b": "y", "n": "22",
     "mixed": "many", "zip": "7"},
    {},
]  # fmt: skip


@pytest.mark.parametrize(
    ("when", "fires"),
    [
        ("meta.aesthetic < 4.5", "0"),
        ("meta.aesthetic BETWEEN 4 AND 5", "01"),
        ("meta.nsfw", "0"),
        ("NOT meta.nsfw", "1"),
        ("meta.lang IN ('en', 'fr')", "0"),
        ("meta.lang NOT IN ('en', 'fr')", "1"),
        ('meta.scores."clip.b" = 2', "1"),
        ("len(meta.tags) = 0", "1"),
        ("list_contains(meta.tags, 'a')", "0"),
        ("meta.\"a b\" = 'y'", "1"),
        ("meta.n < 3", "0"),
        ("meta.n * 2 > 40", "1"),
        ("meta.mixed > 2", "0"),
        ("meta.mixed = 'many'", "1"),
        ("meta.zip = '7'", "1"),
        ("meta.big = '4611686018427387905'", "0"),
        ("meta.empty IS NULL", "012"),
        ("meta.scores IS NOT NULL", "01"),
        ("meta.aesthetic IS NULL", "2"),
    ],
)
def test_keys_of_meta_have_the_type_of_their_values(tmp_path, when, fires):
    rows = [with_meta(str(number), ["a"], meta) for number, meta in enumerate(METAS)]
    space = store(tmp_path, rows, [image("a")])
    assert taken(space, r=rule(when)) == set(fires)


def test_the_ledger_holds_the_value_under_the_name_of_the_key(tmp_path):
    space = store(tmp_path, [with_meta("1", ["a"], {"a b": 2})], [image("a")])
    fired = decisions(space, r=rule('meta."a b" > 1'))["1"]["rules"][0]
    assert (json.loads(fired["values"]), fired["threshold"]) == ({'meta."a b"': 2}, 'meta."a b" > 1')


@pytest.mark.parametrize(
    ("when", "said"),
    [
        ("meta.aestetic < 3", r"no row has meta\.aestetic; did you mean meta\.aesthetic"),
        ("meta.scores.clip > 1", r'no row has meta\.scores\.clip; did you mean meta\.scores\."clip\.b"\?'),
        ("meta.scors.clip > 1", r"no row has meta\.scors; did you mean meta\.scores"),
        ("meta.lang", "rule 'r': must be true or false"),
        ("meta.tags < 3 AND meta.lang > meta.nsfw + 'x'", "rule 'r': "),
        ("meta < 3", "unknown column 'meta'"),
        ("aesthetic < 3", r"unknown column 'aesthetic'.* a field of your rows is meta\.aesthetic"),
    ],
)
def test_what_is_wrong_with_a_key_is_known_before_anything_is_measured(tmp_path, when, said):
    space = store(tmp_path, [with_meta(str(number), ["a"], meta) for number, meta in enumerate(METAS)], [image("a")])
    with pytest.raises(UserError, match=said):
        check_on_rows(space.corrected, check_rules({"r": rule(when)}))
    with pytest.raises(UserError):
        decisions(space, r=rule(when))


@pytest.mark.parametrize(
    "given",
    [
        {"when": "meta.lang < quantile(meta.lang, 0.5)", "action": "drop"},
        {"keep": "top 3 BY meta.lang", "action": "drop"},
        {"when": "meta.lang > 3", "action": "drop"},
        {"when": "meta.lang NOT BETWEEN 1 AND 3 OR width > 3", "action": "drop"},
    ],
)
def test_texts_have_no_quantile_no_best_and_no_size(tmp_path, given):
    space = store(tmp_path, [with_meta(str(number), ["a"], meta) for number, meta in enumerate(METAS)], [image("a")])
    with pytest.raises(UserError, match=r"rule 'r': meta\.lang is a number in no row"):
        check_on_rows(space.corrected, check_rules({"r": Rule.model_validate(given)}))


def test_keys_that_differ_in_case_are_not_mixed_up(tmp_path):
    space = store(tmp_path, [with_meta("1", ["a"], {"x": 1, "X": 9})], [image("a")])
    assert taken(space, r=rule("meta.X > 5")) == {"1"}
    with pytest.raises(UserError, match=r"meta\.x and meta\.X differ in case only"):
        decisions(space, r=rule("meta.x > 5 OR meta.X > 5"))


def test_the_path_of_an_image(tmp_path):
    rows = [sample("1", ["a"]), sample("2", ["b"]), sample("3", [])]
    space = store(tmp_path, rows, [image("a"), image("b", path="thumbs/b.png")])
    rows[1]["images"] = ["thumbs/b.png"]
    space = store(tmp_path, rows, [image("a"), image("b", path="thumbs/b.png")])
    assert taken(space, r=rule("path LIKE 'thumbs/%'")) == {"2"}


def test_a_quantile_is_shown_with_its_value(tmp_path):
    images = [image(key, sharpness=float(number)) for number, key in enumerate("abcdefghijk")]
    rows = [sample(key, [key]) for key in "abcdefghijk"]
    rows.append(sample("bad", ["a"], bad_row="no answer"))
    space = store(tmp_path, rows, [*images, image("z", sharpness=None)])
    found = decisions(space, r=rule("sharpness < quantile(sharpness, 0.25)"))
    assert [one for one, row in found.items() if row["rules"]] == ["a", "b", "c", "bad"], "0 to 10: the quantile is 2.5"
    fired = found["a"]["rules"][0]
    assert fired["threshold"] == "sharpness < quantile(sharpness, 0.25); quantile(sharpness, 0.25) = 2.5"
    assert json.loads(fired["values"]) == {"sharpness": 0.0, "quantile(sharpness, 0.25)": 2.5}


NUMBERS = st.lists(st.none() | st.integers(-5, 5) | st.floats(-5, 5), min_size=1, max_size=25)
few = settings(max_examples=12, deadline=None)


@pytest.mark.slow
@few
@given(NUMBERS, st.integers(0, 100))
def test_quantiles_are_those_of_numpy(values, percent):
    known = [float(value) for value in values if value is not None]
    cut = np.quantile(known, percent / 100) if known else None
    with tempfile.TemporaryDirectory() as folder:
        rows = [with_meta(f"{i:02d}", [], {"v": value}) for i, value in enumerate(values)]
        space = store(Path(folder), rows, [])
        found = decisions(space, r=rule(f"meta.v <= quantile(meta.v, {percent / 100})", action="flag"))
    for i, value in enumerate(values):
        fires = bool(found[f"{i:02d}"]["rules"])
        if value is None or not math.isclose(value, cut, abs_tol=1e-9):
            assert fires == (value is not None and value <= cut)


@pytest.mark.slow
@few
@given(NUMBERS, st.sampled_from(["30%", "7%", "100%", "33.3%", "3", "1000"]))
def test_the_top_is_that_of_a_sorted_list(values, amount):
    known = sorted((-value, f"{i:02d}") for i, value in enumerate(values) if value is not None)
    share = Fraction(amount.rstrip("%"))
    best = math.ceil(share / 100 * len(known)) if amount.endswith("%") else int(amount)
    with tempfile.TemporaryDirectory() as folder:
        space = store(Path(folder), [with_meta(f"{i:02d}", [], {"v": v}) for i, v in enumerate(values)], [])
        assert taken(space, r=rule(keep=f"top {amount} BY meta.v")) == {one for _, one in known[best:]}


def test_the_top_takes_the_worst_image_of_a_row(tmp_path):
    images = [image("a", sharpness=9.0), image("b", sharpness=1.0), image("c", sharpness=5.0)]
    rows = [sample("1", ["a", "b"]), sample("2", ["c"]), sample("3", ["a"]), sample("4", [])]
    found = decisions(store(tmp_path, rows, images), r=rule(keep="top 2 by sharpness"))
    assert [one for one, row in found.items() if row["decision"] == "drop"] == ["1"]
    fired = found["1"]["rules"][0]
    assert (fired["expression"], fired["threshold"]) == (
        "NOT top 2 BY sharpness",
        "top 2 BY sharpness; top 2 BY sharpness = 5",
    )


CAPPED = st.lists(
    st.fixed_dictionaries(
        {
            "images": st.sampled_from([["a"], ["b"], ["a", "b"], ["b", "a"], []]),
            "source": st.sampled_from(["x", "y"]),
            "width": st.sampled_from([None, 1, 2, 3]),
            "dull": st.booleans(),
            "forced": st.sampled_from([None, None, None, "keep", "drop"]),
        }
    ),
    max_size=16,
)


@pytest.mark.slow
@few
@given(CAPPED, st.integers(1, 3), st.sampled_from(["", " ORDER BY meta.w DESC"]))
def test_groups_are_filled_with_rows_that_no_other_rule_drops(rows, most, order):
    ids = [f"{i:02d}" for i in range(len(rows))]
    by_id = dict(zip(ids, rows, strict=True))
    left = [one for one in ids if (by_id[one]["forced"] or ("drop" if by_id[one]["dull"] else "keep")) == "keep"]

    def rank(one):
        row, digest = by_id[one], hashlib.md5(one.encode()).hexdigest()
        value = (row["width"] is None, -(row["width"] or 0)) if order else ()
        return (row["forced"] != "keep", *value, digest)

    surplus = set()
    for group in {(frozenset(by_id[one]["images"]), by_id[one]["source"]) for one in left if by_id[one]["images"]}:
        members = [one for one in left if (frozenset(by_id[one]["images"]), by_id[one]["source"]) == group]
        surplus.update(sorted(members, key=rank)[most:])
    samples = [
        with_meta(one, row["images"], {"w": row["width"], "dull": row["dull"]}, source=row["source"],
                  forced=row["forced"], forced_by=row["forced"] and "{}")
        for one, row in by_id.items()
    ]  # fmt: skip
    if not samples:
        return
    with tempfile.TemporaryDirectory() as folder:
        space = store(Path(folder), samples, [image("a"), image("b")])
        found = decisions(space, cap=rule(keep=f"at most {most} BY image_key, source{order}"), dull=rule("meta.dull"))
    fired = {one for one, row in found.items() if "cap" in [each["rule"] for each in row["rules"]]}
    assert fired == surplus
    for one in fired - {one for one in fired if by_id[one]["forced"] == "keep"}:
        assert (found[one]["decision"], found[one]["reason"]) == ("drop", "cap")


def test_a_cap_names_what_fills_the_group(tmp_path):
    rows = [sample(str(number), ["a"], f"Question {number}?") for number in range(5)]
    found = decisions(store(tmp_path, rows, [image("a")]), cap=rule(keep="at most 2 BY image_key"))
    kept = [one for one, row in found.items() if row["decision"] == "keep"]
    assert len(kept) == 2
    fired = next(row["rules"][0] for row in found.values() if row["rules"])
    first = sorted("01234", key=lambda one: hashlib.md5(one.encode()).hexdigest())
    assert fired["threshold"] == "at most 2 BY image_key"
    assert json.loads(fired["values"]) == {"image_key": "a", "at most 2 BY image_key: filled by": first[:2]}
    assert fired["related_row"] == first[0]
    assert set(first[:2]) == set(kept)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"when": "true", "keep": "top 3 BY width"}, "a rule needs one of 'when' and 'keep'"),
        ({}, "a rule needs one of 'when' and 'keep'"),
    ],
)
def test_a_rule_has_one_condition(given, said):
    with pytest.raises(ValueError, match=said):
        Rule(action="drop", **given)


@pytest.mark.parametrize(
    ("keep", "said"),
    [
        ("best 3", "keep is `top 30% BY column`"),
        ("top 0% BY width", "a share above 0%"),
        ("top 1.5 BY width", "a share above 0%"),
        ("top 101% BY width", "a share above 0%"),
        ("top 3 BY question", "question is VARCHAR, not a number"),
        ("top 3 BY widths", "unknown column 'widths'; did you mean width"),
        ("at most 0 BY source", "give 1 or more"),
        ("at most 3 BY lower(source)", "is not the name of a column"),
        ("at most 3 BY source ORDER BY (SELECT 1)", "is not allowed|not the name of a column"),
        ("at most 3 BY read_text('/etc/passwd')", "is not the name of a column"),
    ],
)
def test_what_keep_cannot_be(keep, said):
    with pytest.raises(UserError, match=f"rule 'r': .*({said})"):
        check_rules({"r": rule(keep=keep)})


@pytest.mark.slow
def test_a_whole_run_with_all_forms(tmp_path):
    """``explain`` shows the values that the decision has used, for kept rows too."""
    for number in range(4):
        sets.save(tmp_path / f"images/{number}.png", sets.scene(number))
    rows = [
        sets.row(number, f"{number % 4}.png", f"Question {number}?", meta={"aesthetic": number / 2, "ok": number != 3})
        for number in range(8)
    ]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    rules = {
        "ugly": {"when": "meta.aesthetic < quantile(meta.aesthetic, 0.2)", "action": "drop"},
        "odd": {"when": "NOT meta.ok", "action": "drop"},
        "best": {"keep": "top 50% BY meta.aesthetic", "action": "flag"},
        "crowd": {"keep": "at most 1 BY image_key", "action": "drop"},
    }
    recipe = sets.recipe(tmp_path, rules=rules)
    outcome = pipeline.run(recipe, "r.yaml")
    table = {row["sample_id"]: row for row in pq.read_table(outcome.workspace.decisions).to_pylist()}
    assert [row["reason"] for row in table.values()].count("crowd") == 1, "0, 1 and 3 are gone: only image 2 has two"
    for own_id, decided in table.items():
        told = explain_row(outcome.workspace.folder, own_id)
        fired = {one.rule.name: one.values for one in told.rules if one.fired}
        assert fired == {one["rule"]: json.loads(one["values"]) for one in decided["rules"]}
    again = pipeline.decide_again(recipe, "r.yaml")
    assert {row["sample_id"]: row for row in pq.read_table(again.workspace.decisions).to_pylist()} == table


def test_a_misspelt_key_ends_a_run_before_it_measures(tmp_path):
    sets.save(tmp_path / "images/0.png", sets.scene(0))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "0.png", meta={"aesthetic": 3})])
    recipe = sets.recipe(tmp_path, rules={"ugly": {"when": "meta.esthetic < 4", "action": "drop"}})
    with pytest.raises(UserError, match=r"no row has meta\.esthetic; did you mean meta\.aesthetic"):
        pipeline.run(recipe, "r.yaml")
    assert not (tmp_path / "out/signals/paths.parquet").exists()


def test_a_misspelt_key_leaves_an_earlier_result_as_it_is(tmp_path):
    sets.save(tmp_path / "images/0.png", sets.scene(0))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(0, "0.png", meta={"aesthetic": 3})])
    done = pipeline.run(sets.recipe(tmp_path), "r.yaml").workspace
    before = done.manifest.read_bytes()
    recipe = sets.recipe(tmp_path, rules={"ugly": {"when": "meta.esthetic < 4", "action": "drop"}})
    with pytest.raises(UserError, match=r"rule 'ugly': no row has meta\.esthetic; did you mean meta\.aesthetic"):
        pipeline.decide_again(recipe, "r.yaml")
    assert done.manifest.read_bytes() == before


def test_images_of_an_earlier_source_are_not_counted(tmp_path):
    sets.save(tmp_path / "images/0.png", sets.scene(0))
    for names in (["0.png", "gone.png"], ["0.png", "lost.png"]):
        sets.write_lines(tmp_path / "rows.jsonl", [sets.row(at, name) for at, name in enumerate(names)])
        counts = pipeline.run(sets.recipe(tmp_path), "r.yaml").counts
        assert [(each["images"], each["example"]) for each in counts["image_errors"]] == [(1, names[1])]
