"""CHAIR against its own code (fixture), and where ours differs from it on purpose."""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.metrics import METRICS, Answers, MetricOptions
from evalsuite.metrics.chair import chair, objects_in
from winnow.errors import UserError

CASES = json.loads((Path(__file__).parents[1] / "peers" / "chair.json").read_text(encoding="utf-8"))["cases"]
# What the published code's singulars lose (and "kine", which ours does); and a pair of words with two blanks.
LOST = re.compile(r"bus\b|doggies|collies|magpies|canoes|oxens|kine|  ", re.IGNORECASE)
SAME = [case for case in CASES if not any(LOST.search(text) for text in (case[0], *case[1]))]


def test_objects_and_hallucinations_equal_the_published_code() -> None:
    assert len(SAME) > 300
    for caption, there, named, wrong, share in SAME:
        found = chair({"a": caption}, {"a": there})
        assert objects_in(caption) == named
        known = {name for text in there for name in objects_in(text)}
        assert [name for name in named if name not in known] == wrong
        assert found.chair_i == pytest.approx(share) and found.chair_s == float(bool(wrong))


def test_a_bus_is_an_object() -> None:
    assert objects_in("A bus's stop near two minibuses") == ["bus", "bus"]


@pytest.mark.parametrize(
    ("text", "objects"),
    [("The toilet seat and a chair", ["toilet", "chair"]), ("a baby bird on a home plate", ["bird"]),
     ("a passenger train with passengers", ["train", "person"]),
     ("Two wine glasses, hot dogs", ["wine glass", "hot dog"]), ("collies", ["dog"]),
     ("firemen", []), ("", []), ("glasses on the grass", [])],
)  # fmt: skip
def test_words_are_read_in_pairs_first(text: str, objects: list[str]) -> None:
    assert objects_in(text) == objects


def test_columns_sum_over_rows_and_silence_does_not_pay() -> None:
    rows = Answers(ids=["a", "b", "c", "d"], texts=["a dog and a cat", "two dogs", None, "nothing"],
                   references=[["dog", "car"], ["a dog runs"], ["person"], ["boat"]])  # fmt: skip
    found = {column.name: column for column in METRICS["chair"].columns("chair", rows, MetricOptions())}
    values = {name: float(column.estimate(column.sums.sum(0, keepdims=True))[0]) for name, column in found.items()}
    assert values == pytest.approx({"chair_s": 1 / 3, "chair_i": 1 / 3, "chair_cover": 2 / 5})
    np.testing.assert_array_equal(found["chair_s"].per_row, [0.0, 1.0, np.nan, 1.0])
    np.testing.assert_array_equal(found["chair_s"].right, [0.0, 1.0, np.nan, 1.0])
    assert found["chair_s"].variant.endswith("1 rows without an answer are left out")


def test_references_without_objects_are_refused() -> None:
    rows = Answers(ids=["a"], texts=["a dog"], references=[["a sunset"]])
    with pytest.raises(UserError, match="a: its references name none of COCO's objects"):
        METRICS["chair"].columns("chair", rows, MetricOptions())


@given(st.text(max_size=80))
def test_any_text_names_known_objects(text: str) -> None:
    assert all(objects_in(name) == [name] for name in objects_in(text))
