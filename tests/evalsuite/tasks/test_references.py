"""References that are numbers, texts or other words become what a reply is read as, or are refused."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.tasks.load import load_task
from evalsuite.tasks.references import fit_references
from evalsuite.tasks.rows import TaskRow
from evalsuite.tasks.spec import TaskSpec, options_of
from winnow.errors import UserError

ANIMALS = ("lion", "tiger", "bear", "fish")
LETTER = {"kind": "letter"}


def spec_of(extraction: dict, **more: object) -> TaskSpec:
    source = {"location": "nowhere.jsonl", **more.pop("source", {})}
    return TaskSpec.model_validate(
        {"name": "t", "source": source, "extraction": extraction, "metrics": ["accuracy"]} | more
    )


def row_of(number: int, *references: str, choices: tuple[str, ...] = ANIMALS) -> TaskRow:
    return TaskRow(f"r/{number}", (), "which?", "which?", references, {}, choices)


def fitted(references: list[str], spec: TaskSpec, choices: tuple[str, ...] = ANIMALS) -> list[tuple[str, ...]]:
    rows, lost, _ = fit_references([row_of(*pair, choices=choices) for pair in enumerate(references)], spec)
    assert not lost
    return [row.references for row in rows]


@given(st.lists(st.integers(0, 3), min_size=1), st.sampled_from([0, 1]))
def test_numbers_count_from_where_all_rows_say(positions: list[int], base: int) -> None:
    positions = [*positions, 0, 3]  # the row that shows it: number 0, or as many as there are options
    found = fitted([str(position + base) for position in positions], spec_of(LETTER))
    assert [letter for (letter,) in found] == ["ABCD"[position] for position in positions]


@given(st.lists(st.sampled_from(range(4)), min_size=1), st.sampled_from(["{}", "({})", "{}.", "{}. "]))
def test_letters_and_texts_name_the_same_option(positions: list[int], form: str) -> None:
    letters = ["ABCD"[position] for position in positions]
    assert fitted([form.format(letter) for letter in letters], spec_of(LETTER)) == [(letter,) for letter in letters]
    texts = [ANIMALS[position].upper() for position in positions]
    assert fitted(texts, spec_of(LETTER)) == [(letter,) for letter in letters]


def test_numbers_without_a_proof_are_refused_and_the_task_may_say_it() -> None:
    with pytest.raises(UserError, match=r"numbers \(1, 2\) that may count .* write `source: \{answer_base: 0\}`"):
        fitted(["1", "2"], spec_of(LETTER))
    assert fitted(["1", "2"], spec_of(LETTER, source={"answer_base": 1})) == [("A",), ("B",)]
    assert fitted(["1", "2"], spec_of(LETTER, source={"answer_base": 0})) == [("B",), ("C",)]


def test_numbers_that_options_say_are_texts() -> None:
    assert fitted(["5", "7"], spec_of(LETTER), choices=("3", "5", "7")) == [("B",), ("C",)]


def test_a_reference_that_names_two_equal_options_accepts_both() -> None:
    assert fitted(["cat"], spec_of(LETTER), choices=("cat", "dog", "Cat")) == [("A", "C")]


def test_a_few_rows_without_a_fitting_reference_are_left_out_and_many_are_refused() -> None:
    rows = [row_of(number, "B") for number in range(39)]
    kept, lost, _ = fit_references([*rows, row_of(39, "wolf")], spec_of(LETTER))
    assert len(kept) == 39
    assert "'wolf' names none of the options A. lion; B. tiger" in lost["r/39"]
    with pytest.raises(UserError, match=r"task t: row 'r/1': the answer 'wolf' names none .* 1 of 2 rows"):
        fit_references([row_of(0, "B"), row_of(1, "wolf")], spec_of(LETTER))
    with pytest.raises(UserError, match=r"row 'r/0'.*does not name one of the options"):
        fit_references([row_of(0, "A, C")], spec_of(LETTER))


@pytest.mark.parametrize(
    ("reference", "meant"),
    [("1", "yes"), ("0", "no"), ("true", "yes"), ("False", "no"), ("y", "yes"), ("Yes.", "yes"), ("是", "yes"),
     ("否", "no"), ("yes", "yes"), ("No", "No")],
)  # fmt: skip
def test_yes_and_no_in_other_words(reference: str, meant: str) -> None:
    assert fitted([reference], spec_of({"kind": "yes_no"})) == [(meant,)]


def test_what_is_neither_yes_nor_no_is_refused_unless_the_task_maps_it() -> None:
    rows = [row_of(0, "present", choices=()), row_of(1, "absent", choices=())]
    with pytest.raises(UserError, match=r"row 'r/0': the reference 'present' is neither yes nor no.*answer_map"):
        fit_references(rows, spec_of({"kind": "yes_no"}))
    mapped = spec_of({"kind": "yes_no"}, answer_map={"present": "yes", "absent": "no"})
    kept, _, notes = fit_references(rows, mapped)
    assert [row.references for row in kept] == [("yes",), ("no",)]
    assert notes == ["2 references are read as what they mean: 'present' as 'yes', 'absent' as 'no'"]
    wrong = spec_of({"kind": "yes_no"}, answer_map={"presen": "yes"})
    with pytest.raises(UserError, match="answer_map: no reference is 'presen'; did you mean present"):
        fit_references(rows, wrong)


def test_the_metric_says_what_references_must_be_where_the_extraction_does_not() -> None:
    assert fitted(["1", "0"], spec_of({"kind": "line"}, metrics=["pope"])) == [("yes",), ("no",)]
    assert fitted(["tiger"], spec_of({"kind": "line"}, metrics=["multiple_choice"], options="options")) == [("B",)]


def test_other_extractions_leave_references_as_they_are() -> None:
    assert fitted(["1", "true"], spec_of({"kind": "line"})) == [("1",), ("true",)]


def test_a_closed_set_says_which_rows_it_cannot_answer() -> None:
    spec = spec_of({"kind": "choice", "choices": ["red", "blue"]})
    _, lost, notes = fit_references([row_of(0, "Red"), row_of(1, "green")], spec)
    assert not lost
    assert notes == ["1 rows have no reference among the `choices` of the extraction, such as 'green' of 'r/1'"]


def test_indices_in_records_are_letters_of_the_options_in_meta(tmp_path: Path) -> None:
    rows = [
        {"id": number, "meta": {"options": ANIMALS}, "answers": [str(number % 4)],
         "conversations": [{"from": "human", "value": "which?"}, {"from": "gpt", "value": str(number % 4)}]}
        for number in range(8)
    ]  # fmt: skip
    data = tmp_path / "d.jsonl"
    data.write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = spec_of(LETTER, source={"location": str(data)}, options="options", prompt="{question}\n{options}")
    task = load_task(spec, limit=None, seed=0)
    assert [row.references for row in task.rows] == [(letter,) for letter in "ABCDABCD"]
    assert task.rows[0].prompt == "which?\nA. lion\nB. tiger\nC. bear\nD. fish"
    assert task.notes == ["8 references are read as what they mean: '0' as 'A', '1' as 'B', '2' as 'C', '3' as 'D'"]


def test_a_choice_without_options_is_not_asked_unless_the_metric_takes_open_questions() -> None:
    rows = [row_of(0, "B"), row_of(1, "tiger", choices=())]
    kept, lost, _ = fit_references(rows, spec_of(LETTER, metrics=["multiple_choice"], options="options"))
    assert len(kept) == 1 and lost == {"r/1": "no options"}
    kept, lost, _ = fit_references(rows, spec_of(LETTER, metrics=["mmmu"], options="options"))
    assert kept[1].references == ("tiger",) and not lost
    with pytest.raises(UserError, match="task t: no row has options; `options:` in the task names their key"):
        fit_references([row_of(0, "B", choices=())], spec_of(LETTER, metrics=["multiple_choice"]))


@pytest.mark.parametrize(
    "options",
    [["cat", "dog"], "['cat', 'dog']", {"A": "cat", "B": "dog"}, {"text": ["cat", "dog"], "label": ["A", "B"]},
     [{"label": "A", "text": "cat"}, {"label": "B", "text": "dog"}], "A. cat\nB. dog", "cat|dog", ["A. cat", "B. dog"]],
)  # fmt: skip
def test_options_are_read_however_they_are_spelled(options: object) -> None:
    assert options_of({"options": options}, "options") == ("cat", "dog")
    assert options_of({"of": {"question": options}}, "of.question") == ("cat", "dog")


@pytest.mark.parametrize("options", [None, "", 3, [], "cat", [["cat"], ["dog"]], {"a": None}])
def test_what_spells_no_options_gives_none(options: object) -> None:
    assert options_of({"options": options}, "options") == ()
