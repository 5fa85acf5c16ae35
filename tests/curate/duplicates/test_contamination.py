"""Training rows whose image is in an evaluation set."""

import numpy as np
import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curate.duplicates import contamination
from curate.duplicates.contamination import find_contamination
from curate.duplicates.images import fingerprints
from curate.duplicates.images.fingerprints import ImageFingerprints, compare
from curate.recipe import Rule
from curate.report.contaminated import read_contamination_report, write_contamination_report
from curate.report.explained import describe_match
from curate.rules.decide import check_rules, decide
from curate.settings.copies import ContaminationSettings
from curate.settings.sources import SourceSettings, benchmark_name
from curate.workspace import Workspace
from tests.curate.duplicates.test_duplicate_rows import near
from tests.curate.stored import image, sample, store

A, B, C = image("a"), image("b"), image("c")


def found(tmp_path, samples, images, evaluations, **settings):
    space = store(tmp_path / "train", samples, images)
    sets = [(name, store(tmp_path / name.replace("/", "_"), *held)) for name, held in evaluations.items()]
    find_contamination(space, sets, ContaminationSettings(against=[SourceSettings(location="x")], **settings))
    assert not list(space.work.glob("*.u8"))
    return pq.read_table(space.contamination_rows).to_pylist()


def test_equal_bytes_and_looks_with_and_without_the_question(tmp_path):
    look = near("l", B)
    rows = [
        sample("t1", ["a"], "What is it?"),
        sample("t2", ["a"], "Where?"),
        sample("t3", ["l"], "WHAT is it"),
        sample("t4", ["c"], "What is it?"),
        sample("t5", [], "Who is it?"),
    ]
    held = {"vqa/val": ([sample("v1", ["a"]), sample("v2", ["b"], "Who?"), sample("v3", ["b"])], [A, B])}
    made = found(tmp_path, rows, [A, look, C], held)
    assert [(row["sample_id"], row["match"], row["evaluation"], row["same_question"]) for row in made] == [
        ("t1", "bytes", "v1", True),
        ("t2", "bytes", "v1", False),
        ("t3", "look", "v3", True),
    ]
    assert made[2]["distance"] == 2.0
    assert made[2]["evaluation_path"] == "b.png"
    assert {row["benchmark"] for row in made} == {"vqa/val"}


def test_questions_may_be_left_out(tmp_path):
    made = found(tmp_path, [sample("t", ["a"])], [A], {"v": ([sample("v1", ["a"])], [A])}, questions=False)
    assert [row["same_question"] for row in made] == [None]


def test_the_closest_image_of_each_benchmark_counts(tmp_path):
    closer, farther = near("n", A, 1), near("f", A, 3)
    held = {
        "one": ([sample("v1", ["f"]), sample("v2", ["n"])], [farther, closer]),
        "two": ([sample("w1", ["f"]), sample("w2", ["a"])], [farther, A]),
        "none": ([sample("u1", ["b"])], [B]),
    }
    made = found(tmp_path, [sample("t", ["a"])], [A], held)
    assert [(row["benchmark"], row["evaluation"], row["match"]) for row in made] == [
        ("one", "v2", "look"),
        ("two", "w2", "bytes"),
    ]


def test_one_of_several_images_is_enough(tmp_path):
    made = found(tmp_path, [sample("t", ["b", "a"])], [A, B], {"v": ([sample("v1", ["a"])], [A])})
    assert [(row["sample_id"], row["path"]) for row in made] == [("t", "a.png")]


def test_an_evaluation_set_without_readable_images(tmp_path):
    broken = image("x", thumbnail=None, phash=None, dhash=None, error="empty")
    made = found(tmp_path, [sample("t", ["x"])], [broken], {"v": ([sample("v1", ["x"])], [broken]), "w": ([], [])})
    assert made == []


def test_names_of_benchmarks():
    assert benchmark_name(SourceSettings(location="a/b.jsonl")) == "b"
    assert benchmark_name(SourceSettings(location="a/b.jsonl", source="vqa", split="val")) == "vqa/val"


def test_two_sets_need_two_names():
    with pytest.raises(ValidationError, match="two evaluation sets are called 'b'"):
        ContaminationSettings(against=[SourceSettings(location="a/b.jsonl"), SourceSettings(location="c/b.jsonl")])


@pytest.mark.parametrize("location", ["...jsonl", "..jsonl", f"{'x' * 256}.jsonl"])
def test_a_name_that_is_no_folder_of_its_own_is_refused(location):
    """The folder ``..`` of the evaluation sets is the curated set itself."""
    with pytest.raises(ValidationError, match="cannot name a folder; give the evaluation set a short 'source'"):
        ContaminationSettings(against=[SourceSettings(location=location)])
    ContaminationSettings(against=[SourceSettings(location=location, source="dots")])


def test_text_only_rows_match_by_their_question(tmp_path):
    rows = [sample("t1", [], "WHAT is it"), sample("t2", [], "Why?"), sample("t3", [], ""), sample("t4", ["c"])]
    held = {"v": ([sample("v2", ["a"]), sample("v1", []), sample("v3", [], "")], [A])}
    made = found(tmp_path / "1", rows, [C], held)
    assert [(row["sample_id"], row["match"], row["evaluation"], row["same_question"]) for row in made] == [
        ("t1", "question", "v1", True)
    ]
    assert [made[0][name] for name in ("image_key", "path", "evaluation_path", "distance", "hamming")] == [None] * 5
    assert found(tmp_path / "2", rows, [C], held, questions=False) == []


def test_a_farther_image_with_the_same_question_goes_before_a_closer_one_without(tmp_path):
    closer, farther = near("n", A, 1), near("f", A, 3)
    held = {"v": ([sample("v1", ["n"], "Who?"), sample("v2", ["f"])], [closer, farther])}
    made = found(tmp_path, [sample("t1", ["a"]), sample("t2", ["a"], "Where?")], [A], held)
    assert [(row["sample_id"], row["evaluation"], row["distance"], row["same_question"]) for row in made] == [
        ("t1", "v2", 3.0, True),
        ("t2", "v1", 1.0, False),
    ]


def test_copies_that_look_the_same_are_compared_once(tmp_path, monkeypatch):
    """A placeholder 300 times here and 200 times there: one pair of fingerprints, not 60,000."""
    compared = []
    monkeypatch.setattr(fingerprints, "compare", lambda *all: compared.append(len(all[1])) or compare(*all))
    ours = [{**A, "image_key": f"o{n:03}", "path": f"o{n:03}.png"} for n in range(300)]
    theirs = [{**A, "image_key": f"e{n:03}", "path": f"e{n:03}.png"} for n in range(200)]
    rows = [sample(f"t{one['image_key']}", [one["image_key"]], "Where?") for one in ours]
    asked = [
        sample(f"v{one['image_key']}", [one["image_key"]], "Where?" if n == 7 else "?") for n, one in enumerate(theirs)
    ]
    made = found(tmp_path, rows, ours, {"v": (asked, theirs)})
    assert len(made) == 300
    assert {row["evaluation"] for row in made} == {"ve007"}
    assert sum(compared) == 1


def test_the_report_counts_each_benchmark_and_says_what_was_dropped(tmp_path):
    look = near("l", B)
    rows = [
        sample("t1", ["a"]),
        sample("t2", ["a"], "Where?"),
        sample("t3", ["l"]),
        sample("t4", ["c"]),
        sample("t5", [], "Why?"),
    ]
    held = {
        "vqa/val": ([sample("v1", ["a"]), sample("v2", ["b"]), sample("v3", ["d"])], [A, B, image("d")]),
        "text": ([sample("w1", [], "why")], []),
    }
    found(tmp_path, rows, [A, look, C], held)
    space = Workspace(tmp_path / "train")
    decide(space, check_rules({"leak": Rule(when="contaminated AND question NOT LIKE 'Where%'", action="drop")}))
    assert write_contamination_report(space) == [space.contamination, space.contamination_report]
    listed = pq.read_table(space.contamination).to_pylist()
    assert [(row["sample_id"], row["benchmark"], row["dropped"], row["reason"]) for row in listed] == [
        ("t1", "vqa/val", True, "leak"),
        ("t2", "vqa/val", False, None),
        ("t3", "vqa/val", True, "leak"),
        ("t5", "text", True, "leak"),
    ]
    one, other = read_contamination_report(space)
    assert one == {
        "benchmark": "vqa/val",
        "evaluation_rows": 3,
        "evaluation_images": 3,
        "evaluation_images_found": 2,
        "evaluation_images_by_kind": {"exact": 1, "re-encoded": 1},
        "rows": 3,
        "rows_with_same_question": 2,
        "rows_by_question_alone": 0,
        "rows_dropped": 2,
        "rows_suspected": 0,
        "kinds": [
            {"kind": "exact", "action": "drop", "images": 1, "rows": 2, "rows_dropped": 1},
            {"kind": "re-encoded", "action": "drop", "images": 1, "rows": 1, "rows_dropped": 1},
        ],
        "images": 2,
        "images_by_bytes": 1,
        "look_images_by_hamming": {"0": 1},
        "look_images_by_distance_up_to": {"2": 1},
    }
    assert (other["rows"], other["rows_by_question_alone"], other["images"]) == (1, 1, 0)


def test_no_report_without_evaluation_sets(tmp_path):
    space = store(tmp_path, [sample("t", ["a"])], [A])
    space.contamination.write_text("left by an earlier recipe")
    assert write_contamination_report(space) == []
    assert not space.contamination.exists()
    assert read_contamination_report(space) == []


def test_the_closest_are_kept_of_each_side(monkeypatch):
    """However many pairs there are: the closest 16 of each training image, the closest one of each evaluation image."""
    monkeypatch.setattr(contamination, "_HELD", 300)
    rng = np.random.default_rng(0)
    greys = [rng.permutation(np.arange(100, 100 + count, dtype=np.uint8)) for count in (90, 80)]
    train, evaluation = (
        ImageFingerprints.of(
            *np.zeros((2, len(one)), np.uint64), np.repeat(one[:, None], 768, axis=1), np.full(len(one), 64)
        )
        for one in greys
    )
    settings = ContaminationSettings(against=[SourceSettings(location="x")], max_mean_diff=30)
    table = contamination.closest_matches(train, evaluation, settings)
    apart = np.abs(greys[0][:, None].astype(int) - greys[1])
    got = {
        (i, j): d
        for i, j, d in zip(
            *(table[name].to_pylist() for name in table.column_names[:3:2]), table["distance"].to_pylist(), strict=True
        )
    }
    expected = set()
    for i in range(90):
        order = [j for j in np.lexsort((np.arange(80), apart[i])) if apart[i, j] <= 30]
        expected |= {(i, int(j)) for j in order[:16]}
    expected |= {
        (min(np.flatnonzero(apart[:, j] == apart[:, j].min()).tolist()), j)
        for j in range(80)
        if apart[:, j].min() <= 30
    }
    assert set(got) == expected
    assert all(apart[pair] == distance for pair, distance in got.items())


@pytest.mark.parametrize(
    ("match", "words"),
    [
        ({"match": "question"}, "the same question is asked there"),
        ({"match": "bytes", "same_question": False}, "same image as v/1.png (byte for byte)"),
        (
            {"match": "look", "kind": "resized", "distance": 1.25, "hamming": 6, "same_question": True},
            "same image as v/1.png (resized: thumbnails differ by 1.25 of 255, hashes in 6 of 64 bits),"
            " where the same question is asked",
        ),
        (
            {"match": "edit", "kind": "cropped", "strength": 0.975, "same_question": False},
            "same image as v/1.png (cropped: alike by 0.97 of 1 once that is undone)",
        ),
    ],
)
def test_how_a_match_is_explained(match, words):
    assert describe_match({"evaluation_path": "v/1.png", **match}) == words
