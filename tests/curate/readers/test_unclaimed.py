"""Fields that nothing uses are listed where they usually matter or most rows fill them, with what to write."""

import dataclasses
import io

import pytest
from rich.console import Console

from curate.readers.facts import Counting
from curate.readers.unclaimed import unused_fields, warnings
from curate.report.card import reading_section
from curate.report.console import show_reading
from winnow.rows.records import Sample, Turn


def facts(rows, layout="table", remarks=(), **changes):
    """What is counted of rows of which no field has a role."""
    counting = Counting("data/rows.csv", layout, remarks)
    for number, row in enumerate(rows):
        turns = (Turn("user", "q"), Turn("assistant", "a"))
        made = Sample(f"s/{number}", ("i.png",), turns, meta=row, unclaimed=tuple(row))
        counting.add(dataclasses.replace(made, **changes))
    return counting.facts()


def remedies(found):
    return {each.field.name: each.remedy for each in unused_fields(found)}


def test_what_usually_matters_is_listed_at_once_and_the_rest_where_most_rows_fill_it():
    rows = [
        {"input": "Paris" if n == 7 else "", "note": "x" if n < 6 else None, "odd": n if n < 5 else None}
        for n in range(10)
    ]
    assert list(remedies(facts(rows))) == ["input", "note"]


def test_a_field_that_a_rule_uses_is_used():
    found = facts([{"score": 1, "scores": {"nsfw": 0.1}, "a b": 2, "scor": 3}] * 2)
    for used, left in (
        (["meta.score"], ["scores", "a b", "scor"]),
        (["meta.scores.nsfw", 'meta."a b"', "sharpness"], ["score", "scor"]),
    ):
        assert [each.field.name for each in unused_fields(found, used)] == left


@pytest.mark.parametrize(
    "name",
    ["input", "history", "system", "options", "choices", "A", "E", "objects", "bbox", "videos", "audios", "rejected",
     "rejected_response", "chosen", "label", "tools", "loss", "images", "Image2"],
)  # fmt: skip
def test_fields_that_change_a_meaning(name):
    assert list(remedies(facts([{name: "x"}, *({name: None} for _ in range(9))]))) == [name]


def test_the_remedy_is_an_entry_of_the_recipe():
    rows = [
        {
            "label": "cat",
            "pic": "a/b.png",
            "my pic": ["c.jpg"],
            "aesthetic": 4.5,
            "a b": 1,
            "it's": "d.gif",
            "category": "y",
        }
    ]
    assert remedies(facts(rows)) == {
        "label": "columns: {answer: label}",
        "pic": "columns: {image: pic}",
        "my pic": "columns: {image: 'my pic'}",
        "aesthetic": "not trained; rules may use meta.aesthetic",
        "a b": 'not trained; rules may use meta."a b"',
        "it's": "columns: {image: 'it''s'}",
        "category": "not trained; rules may use meta.category",
    }
    assert set(remedies(facts(rows, "conversations")).values()) == {
        *(f"not trained; rules may use meta.{name}" for name in ("label", "pic", "aesthetic", "category")),
        *(f'not trained; rules may use meta."{name}"' for name in ("my pic", "a b", "it's")),
    }


def test_a_table_of_which_no_row_has_an_image_although_it_names_some():
    (said,) = warnings(facts([{"pic": f"a/{n}.jpg"} for n in range(3)], image=()))
    assert said == (
        "rows.csv: no row has an image, although `pic` looks like paths of images (a/0.jpg); columns: {image: pic}"
    )
    assert warnings(facts([{"pic": "a/0.jpg"}])) == []


def test_notes_and_remarks_are_told():
    found = facts([{}] * 3, remarks=["rows.csv: read as cp1252, which is not UTF-8"], notes=("has no question",))
    assert warnings(found) == [
        "rows.csv: read as cp1252, which is not UTF-8",
        "rows.csv: has no question (3 of 3 rows, such as s/0)",
    ]


HOSTILE = {"label": "<b>[red]|`*_\x1b[2J\u202e", "[bold]<i>\x1b[31m|`": "x"}


def test_text_of_the_dataset_stays_text():
    found = facts([HOSTILE], remarks=["[blink]\x1b[5m"])
    screen = io.StringIO()
    show_reading(Console(file=screen, width=200, force_terminal=False), [found])
    assert "\x1b" not in screen.getvalue() and "[red]|`*_" in screen.getvalue() and "[bold]<i>" in screen.getvalue()
    card = reading_section({"read": [found.model_dump(mode="json")], "image_errors": [], "rules": []})
    assert "<b>" not in card and "<i>" not in card and "\x1b" not in card and "&lt;b&gt;\\[red\\]" in card
    rows = [line for line in card.splitlines() if line.startswith("|")]
    assert len(rows) == 4 and {line.count("|") for line in rows} == {6}


@pytest.mark.parametrize("width", [80, 100])
def test_a_terminal_shows_every_field_up_to_eight(width):
    screen = io.StringIO()
    console = Console(file=screen, width=width, force_terminal=False)
    show_reading(console, [facts([{f"field{n}": "x " * 50 for n in range(10)}])])
    assert all(f"field{n}" in screen.getvalue() for n in range(10)) and "2 more: field8, field9" in screen.getvalue()
