"""What reading finds beside the rows: fields that nothing uses, notes, bad rows; counted in the pass over the rows."""

import dataclasses

from curate.pipeline import decide_again
from curate.pipeline import run as curate
from curate.readers.facts import Counting, SourceFacts, is_filled, shortened
from tests.curate import sets
from winnow.rows.records import BadRow, Sample, Turn
from winnow.run import read_manifest


def sample(number, **fields):
    turns = (Turn("user", "q"), Turn("assistant", "a"))
    return Sample(f"s/{number}", (), turns, meta=fields, unclaimed=tuple(fields))


def test_fields_are_counted_where_they_are_filled():
    counting = Counting("t.csv", "table", ["read as latin-1"])
    rows = [
        sample(0, input="Paris", empty=" ", pic="a/b.JPG"),
        sample(1, input=None, empty=[], pic=["c.png"]),
        sample(2, input=float("nan"), nested={"a": ["\x1b[31mred"]}, pic="https://x.org/d.webp?w=1"),
        BadRow("t.csv:5", "no question", 3),
        BadRow("t.csv:6", "no answer", 4),
        dataclasses.replace(sample(5, input="Rome", hidden=1), image=("i.png",), unclaimed=("input",)),
    ]
    for row in rows:
        counting.add(row)
    found = counting.facts()
    assert (found.rows, found.with_image, found.bad_rows, found.first_bad) == (4, 1, 2, "t.csv:5: no question")
    assert found.remarks == ("read as latin-1",)
    assert [(each.name, each.rows, each.looks_like_images, each.example) for each in found.fields] == [
        ("pic", 3, 3, "a/b.JPG"),
        ("input", 2, 0, "Paris"),
        ("nested", 1, 0, '{"a": ["\\u001b[31mred"]}'),
    ]
    assert SourceFacts.model_validate_json(found.model_dump_json()) == found


def test_notes_are_counted_with_the_first_row():
    counting = Counting("t.csv", "table")
    for number in range(3):
        counting.add(dataclasses.replace(sample(number), notes=("has no question",) if number else ()))
    assert [(each.note, each.rows, each.example) for each in counting.facts().notes] == [("has no question", 2, "s/1")]


def test_examples_are_short_and_safe_whatever_a_field_holds():
    deep: list = []
    for _ in range(100_000):
        deep = [deep]
    for value in (10**5000, deep, "\x1b]0;x\x07 \u202e" * 99, {"k": "v" * 10**6}, [10**5000], b"\xff" * 200, -1.5):
        text = shortened(value)
        assert 0 < len(text) <= 60 and text.isprintable()
    assert [is_filled(value) for value in (0, False, "x", [0], "", "\n", None, [], {}, float("nan"))] == [
        *[True] * 4,
        *[False] * 6,
    ]


def test_names_without_end_cost_no_memory():
    counting = Counting("t.jsonl", "table")
    for number in range(3000):
        counting.add(sample(number, **{f"key{number}": "x"}))
    assert len(counting.facts().fields) == 1000 and counting.facts().rows == 3000


def test_a_resumed_run_and_decide_know_what_was_found_while_reading(tmp_path):
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, None), "{broken"])
    (tmp_path / "images").mkdir()
    recipe = sets.recipe(tmp_path)
    first = curate(recipe, "r").counts["read"]
    assert [(each["rows"], each["bad_rows"], each["layout"]) for each in first] == [(1, 1, "conversations")]
    assert curate(recipe, "r").counts["read"] == first
    assert decide_again(recipe, "r").counts["read"] == first
    assert read_manifest(recipe.folder, finish_with="")["counts"]["read"] == first
