"""The strictness lens against the same rules written in plain Python."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dashboards.data.answers import answers_at, matching_rows
from dashboards.data.catalog import scan
from dashboards.data.engine import Connection, connect
from dashboards.data.filters import FilterSpec, View, near_miss_sql

_NUMBERS = ["zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve"]
_VOCABULARY = "a an the The one two 2 dog dogs dog. buses bus house houses red, not yes TWO ! é"
_WORDS = st.lists(st.sampled_from(_VOCABULARY.split()), max_size=4).map(" ".join)


def _plain(text: str) -> str:
    words = [word for word in re.split(r"[\W_]+", text.lower()) if word not in ("", "a", "an", "the")]
    return " ".join(str(_NUMBERS.index(word)) if word in _NUMBERS else word for word in words)


def _singular(text: str) -> str:
    return " ".join(re.sub(r"(?<=[^es])[es]+$", "", word) for word in text.split())


def _near(answer: str, references: list[str]) -> str:
    text, listed = _plain(answer), [_plain(reference) for reference in references]
    if not text:
        return ""
    if text in listed:
        return "spelling"
    if _singular(text) in [_singular(one) for one in listed]:
        return "plural"
    inside = any(one and (f" {one} " in f" {text} " or f" {text} " in f" {one} ") for one in listed)
    return "containment" if inside else ""


@pytest.fixture(scope="module")
def lookup(tmp_path_factory: pytest.TempPathFactory) -> Connection:
    return connect(tmp_path_factory.mktemp("none"))


def _ask(lookup: Connection, answer: str | None, references: list[str], status: str = "ok", right: bool = False) -> str:
    sql = f"""SELECT {near_miss_sql("correct")} FROM (
        SELECT ? AS extracted, '' AS raw, ?::VARCHAR[] AS "references", ? AS status, ? AS correct)"""
    row = lookup.cursor().execute(sql, [answer, references, status, right]).fetchone()
    assert row
    return str(row[0])


@pytest.mark.parametrize(
    ("answer", "references", "near"),
    [
        ("Two dogs.", ["2 dogs"], "spelling"),
        ("the cat", ["a cat"], "spelling"),
        ("one one", ["1 1"], "spelling"),
        ("buses", ["car", "bus"], "plural"),
        ("it is red", ["red"], "containment"),
        ("red", ["bright red"], "containment"),
        ("redder", ["red"], ""),
        ("no", ["yes"], ""),
        ("", ["yes"], ""),
        ("x", [], ""),
    ],
)
def test_ways_of_being_near(lookup: Connection, answer: str, references: list[str], near: str) -> None:
    assert _ask(lookup, answer, references) == near == _near(answer, references)


_shared = connect(Path(__file__).parent)  # hypothesis takes no fixture that changes


@pytest.mark.slow
@given(_WORDS, st.lists(_WORDS, max_size=3))
@settings(max_examples=60, deadline=None)
def test_the_sql_is_the_rule(answer: str, references: list[str]) -> None:
    assert _ask(_shared, answer, references) == _near(answer, references)


def test_right_and_refused_answers_are_not_near(lookup: Connection) -> None:
    assert _ask(lookup, "the red", ["red"], right=True) == ""
    assert _ask(lookup, "the red", ["red"], status="refused") == ""
    assert _ask(lookup, "the red", ["red"], status="unparsed") == "spelling"


def test_the_filter_finds_the_rows_that_carry_the_badge(own: Path) -> None:
    path = own / "evals" / "demo-base" / "predictions.parquet"
    frame = pd.read_parquet(path)
    wrong = frame.index[(frame["accuracy"] < 0.5) & (frame["status"] == "ok")][:4]
    for place, answer in zip(wrong, ("The {}!", "it is {}", "{}s", "nothing"), strict=True):
        frame.at[place, "extracted"] = answer.format(frame.at[place, "references"][0])
    frame.to_parquet(path)
    folder = scan(own).find("evals", "demo-base")
    assert folder
    answers = answers_at(folder, None, tuple(range(len(frame))))
    assert {"spelling", "containment", "plural"} <= {answer.near for answer in answers}
    for near in (("spelling",), ("plural", "containment")):
        rows = matching_rows(View(FilterSpec(near=near, outcome="All", order="As stored"), folder, None))
        assert rows.tolist() == [answer.row for answer in answers if answer.near in near]
