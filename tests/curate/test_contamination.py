"""Training rows whose picture is in an evaluation set."""

import pyarrow.parquet as pq
import pytest
from pydantic import ValidationError

from curate.contamination import find_contamination
from curate.recipe import ContaminationSettings, benchmark_name
from curate.settings import SourceSettings
from tests.curate.stored import image, sample, store
from tests.curate.duplicates.test_duplicate_rows import near

A, B, C = image("a"), image("b"), image("c")


def found(tmp_path, samples, images, evaluations, **settings):
    space = store(tmp_path / "train", samples, images)
    sets = [(name, store(tmp_path / name.replace("/", "_"), *held)) for name, held in evaluations.items()]
    find_contamination(space, sets, ContaminationSettings(against=[SourceSettings(location="x")], **settings))
    assert not list(space.work.glob("*.u8"))
    return pq.read_table(space.contamination).to_pylist()


def test_equal_bytes_and_looks_with_and_without_the_question(tmp_path):
    look = near("l", B)
    rows = [
        sample("t1", ["a"], "What is it?"),
        sample("t2", ["a"], "Where?"),
        sample("t3", ["l"], "WHAT is it"),
        sample("t4", ["c"], "What is it?"),
        sample("t5", [], "What is it?"),
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


def test_the_closest_picture_of_each_benchmark_counts(tmp_path):
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
