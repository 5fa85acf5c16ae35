"""Multiple choice: which options a row has, and which of them its answer names."""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curate.readers import open_source
from curate.readers.tables.options import Numbering, Options, named_option, numbering, option_columns, read_options
from curate.settings.sources import SourceSettings
from winnow.rows.records import BadRow

PETS = Options(("cat", "dog", "a bird"))


def table(tmp_path, rows, name="t.jsonl", **options):
    path = tmp_path / name
    path.write_text("\n".join(map(json.dumps, rows)))
    return list(open_source(SourceSettings(location=str(path), **options)).rows())


@pytest.mark.parametrize(
    "cell",
    [
        ["cat", "dog"], ("cat", "dog"), '["cat", "dog"]', "['cat', 'dog']", "['cat' 'dog']", "['cat'\n 'dog']",
        "array(['cat', 'dog'], dtype=object)", {"A": "cat", "B": "dog", "C": None}, '{"B": "dog", "A": "cat"}',
        {"text": ["cat", "dog"], "label": ["A", "B"]}, [{"label": "A", "text": "cat"}, {"label": "B", "text": "dog"}],
        [{"A": "cat"}, {"B": "dog"}], ["A. cat", "B. dog"], ["(A) cat", "(B) dog"], "A. cat\nB. dog", "(A) cat (B) dog",
        "A: cat, B: dog", "cat|dog", "cat; dog", ["cat", "dog", None, float("nan"), ""],
    ],
)  # fmt: skip
def test_options_are_read_however_they_are_spelled(cell):
    options = read_options(cell)
    assert (options.texts, options.letters) == (("cat", "dog"), ("A", "B"))
    assert options.shown_in("Which?") == "Which?\nA. cat\nB. dog"


def test_what_holds_no_options(tmp_path):
    assert [read_options(cell) for cell in (None, "", "[]", [], {}, float("nan"))] == [None] * 6
    for cell in ("just a text", 5, [["cat"]], [f"{number}" for number in range(27)]):
        with pytest.raises(ValueError, match="option"):
            read_options(cell)


@pytest.mark.parametrize(
    ("names", "labels"),
    [
        (["question", "A", "B", "C", "answer"], "ABC"),
        (["a", "b"], "AB"),
        (["option_a", "option_b"], "AB"),
        (["Option A", "Option B"], "AB"),
        (["opa", "opb", "opc", "opd", "cop"], "ABCD"),
        (["choice1", "choice2"], "12"),
        (["ending0", "ending1", "ending2"], "012"),
        (["A", "C"], ""),
        (["a", "question"], ""),
        (["image_1", "image_2", "answer_1", "answer_2"], ""),
    ],
)
def test_columns_that_hold_an_option_each(names, labels):
    assert "".join(option_columns(names).values()) == labels


@pytest.mark.parametrize(
    ("answer", "named"),
    [
        ("B", "B"), ("b", "B"), ("(B)", "B"), ("B.", "B"), ("B)", "B"), ("Option B", "B"), ("The answer is B.", "B"),
        ("B. dog", "B"), ("(b) Dog", "B"), ("dog", "dog"), ("A Bird", "A Bird"), ("A, C", "A, C"), ("AC", "AC"),
        (["A", "C"], "A, C"), (1, "B"), (1.0, "B"), ("1", "B"), (-1, ""), ("dog.", "dog."),
        ("B. because it barks", "B. because it barks"),
    ],
)  # fmt: skip
def test_which_option_an_answer_names(answer, named):
    assert named_option(PETS, answer, Numbering(0)) == named


@pytest.mark.parametrize("answer", ["D", "horse", 3, -2, "7", True, "A, D", {"a": 1}, "AA", None, "A. dog"])
def test_an_answer_that_names_no_option_says_so(answer):
    with pytest.raises(ValueError, match=r"names none of the options A\. cat; B\. dog; C\. a bird"):
        named_option(PETS, answer, Numbering(0))


def test_letters_are_the_columns_own_and_truth_values_are_texts():
    assert named_option(Options(("cat", "bird"), ("A", "C")), "C", Numbering()) == "C"
    assert named_option(Options(("Yes", "No")), False, Numbering()) == "No"
    assert named_option(Options(("an", "a")), "a", Numbering()) == "a"  # the text, not the letter
    assert named_option(Options(("x", "y"), ("1", "2")), "2", Numbering(0)) == "B"  # ARC's labels


@pytest.mark.parametrize(
    ("answers", "base", "proven"),
    [
        ([0, 1, 2], 0, True), ([1, 2, 3], 1, True), (["1", "3"], 1, True), ([1, 2], 0, False), (["A", "cat"], 0, False),
        ([0, 0, 3], 0, True), ([0, 3, 3], 1, True), ([0, 3], 0, False),
    ],
)  # fmt: skip
def test_a_whole_file_tells_where_numbers_begin(answers, base, proven):
    assert numbering((PETS, answer) for answer in answers) == Numbering(base, proven)


def test_numbers_that_are_what_an_option_says():
    counts = Options(("2", "3", "4", "5"))
    assert numbering([(counts, 5), (counts, 3)]) == Numbering(None, True)
    assert named_option(counts, 3, Numbering(None, True)) == "3"
    assert numbering([(counts, 1), (counts, 3)], is_index=True) == Numbering(0, False)
    assert numbering([(counts, 0), (PETS, 2)]) == Numbering(0, True)
    assert numbering([(counts, 3)]) == Numbering(0, False)  # a number is no text
    for numbers, answer in ((read_options([2, 3, 4]), 3), (counts, "3")):
        assert numbering([(numbers, answer)]) == Numbering(None, True)


WORDS = st.text("abcdefgh ", min_size=2, max_size=8).map(lambda text: " ".join(text.split())).filter(bool)
TEXTS = st.lists(WORDS, min_size=2, max_size=6, unique=True)


@given(TEXTS, st.data())
def test_every_spelling_of_an_answer_names_the_same_option(texts, data):
    options = read_options(texts)
    at = data.draw(st.integers(0, len(texts) - 1))
    letter = options.letters[at]
    for spelling in (letter, f"({letter})", f"{letter}.", f"{letter}. {options.texts[at]}", at):
        assert named_option(options, spelling, Numbering(0)) == letter
    assert named_option(options, at + 1, Numbering(1)) == letter
    shown = options.shown_in("Which?")
    assert options.shown_in(shown) == shown and shown.splitlines()[1:] == options.lines


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=12),
                    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
                    max_leaves=8), st.text(max_size=12) | st.integers() | st.floats())  # fmt: skip
def test_any_cell_is_options_or_a_value_error(cell, answer):
    try:
        options = read_options(cell)
    except ValueError:
        return
    if options is not None:
        assert len(options.lines) == len(options.texts) > 0
        try:
            named_option(options, answer, Numbering())
        except ValueError as error:
            assert "names none of the options" in str(error)


def test_rows_of_a_table_show_their_options(tmp_path):
    rows = [
        {"image": "a.jpg", "question": "Which?", "options": ["cat", "dog"], "answer": "B"},
        {"image": "a.jpg", "question": "Which?", "A": "cat", "B": "dog", "answer": "(a)"},
        {"image": "a.jpg", "question": "Which? (A) cat (B) dog", "choices": ["cat", "dog"], "answer": "dog"},
        {"image": "a.jpg", "question": "Open?", "choices": [], "answer": "blue"},
        {"image": "a.jpg", "question": "Which?", "options": ["cat", "dog"], "answer": "C"},
        {"image": "a.jpg", "question": "Which?", "options": ["cat", "dog"]},
    ]
    first, lettered, shown, plain, bad, hidden = table(tmp_path, rows)
    assert (first.question, first.answer, first.answers) == ("Which?\nA. cat\nB. dog", "B", ("B",))
    assert first.meta == {"options": ["cat", "dog"], "original_question": "Which?"}
    assert (lettered.answer, lettered.meta["original_answer"], lettered.meta["A"]) == ("A", "(a)", "cat")
    assert (shown.question, shown.answer) == ("Which? (A) cat (B) dog", "dog")
    assert "original_question" not in shown.meta and shown.meta["options"] == ["cat", "dog"]
    assert (plain.question, plain.answer) == ("Open?", "blue") and "options" not in plain.meta
    assert isinstance(bad, BadRow) and "'C' names none of the options A. cat; B. dog" in bad.reason
    assert hidden.answers == () and len(hidden.conversations) == 1
    assert not any(row.unclaimed for row in (first, lettered, shown, plain, hidden))


def test_numbers_are_read_by_the_whole_table(tmp_path):
    row = {"image": "a.jpg", "question": "q", "choices": ["cat", "dog", "bird"]}
    from_one = table(tmp_path, [{**row, "answer": 1}] * 60 + [{**row, "answer": 3}])
    assert {sample.answer for sample in from_one[:60]} == {"A"} and from_one[60].answer == "C"
    assert from_one[0].notes == () and from_one[0].meta["original_answer"] == 1
    open_ = table(tmp_path, [{**row, "answer": 1}])
    assert open_[0].answer == "B" and "`answer_base: 1`" in open_[0].notes[0]
    said = table(tmp_path, [{**row, "answer": 1}], answer_base=1)
    assert (said[0].answer, said[0].notes) == ("A", ())
    zero = table(tmp_path, [{**row, "answer": 0}, {**row, "answer": 3}, {**row, "answer": 0}])
    assert [getattr(sample, "answer", None) for sample in zero] == ["A", None, "A"]


def test_published_spellings(tmp_path):
    """Columns of A-OKVQA, ARC, MedMCQA, MMBench and COPA."""
    aokvqa = {"question": "q", "choices": ["x", "y"], "correct_choice_idx": 0, "direct_answers": ["x", "x"]}
    arc = {"question": "q", "choices": {"text": ["x", "y"], "label": ["1", "2"]}, "answerKey": "2"}
    medmcqa = {"question": "q", "opa": "x", "opb": "y", "opc": "z", "opd": "w", "cop": 0}
    mmbench = {"question": "q", "hint": "It is red.", "A": "x", "B": "y", "C": "", "D": None, "answer": "B"}
    copa = {"question": "q", "choice1": "x", "choice2": "y", "label": 0}
    found = [table(tmp_path, [row])[0] for row in (aokvqa, arc, medmcqa, mmbench, copa)]
    assert [sample.answer for sample in found] == ["A", "B", "A", "B", "A"]
    (winogrande,) = table(tmp_path, [{"question": "q", "option1": "x", "option2": "y", "correct_answer": "option2"}])
    assert (winogrande.answer, winogrande.meta["original_answer"]) == ("B", "option2")
    (swift,) = table(tmp_path, [{"query": "q", "response": "B", "options": ["x", "y"]}])
    assert swift.question == "q\nA. x\nB. y"
    assert [len(sample.meta["options"]) for sample in found] == [2, 2, 4, 2, 2]
    assert found[0].unclaimed == ("direct_answers",)
    assert found[1].meta["original_answer"] == "2"
    assert found[3].question == "Context: It is red.\nq\nA. x\nB. y" and found[3].meta["hint"] == "It is red."


def test_options_of_parquet_and_of_csv(tmp_path):
    pq.write_table(pa.table({"question": ["q"], "options": [["x", "y"]], "answer": [1.0]}), tmp_path / "a.parquet")
    (row,) = open_source(SourceSettings(location=str(tmp_path / "a.parquet"))).rows()
    assert (row.answer, row.meta["original_answer"]) == ("B", 1.0)
    (tmp_path / "a.csv").write_text("question,options,answer\nq,\"['x' 'y']\",1\nq,\"['x' 'y']\",0\n")
    first, second = open_source(SourceSettings(location=str(tmp_path / "a.csv"))).rows()
    assert (first.answer, second.answer) == ("B", "A")
    assert first.meta["original_options"] == "['x' 'y']"


def test_a_recipe_may_leave_the_options_out(tmp_path):
    row = {"question": "q", "options": ["x", "y"], "answer": "It is y because of its tail."}
    (bad,) = table(tmp_path, [row])
    assert "columns: {options: none}" in bad.reason
    (sample,) = table(tmp_path, [row], columns={"options": "none"})
    assert (sample.question, sample.answer, sample.unclaimed) == ("q", row["answer"], ("options",))


def test_numbers_are_read_by_all_files_of_a_table(tmp_path):
    row = {"question": "q", "choices": ["cat", "dog", "bird"]}
    for name, answers in (("train-0", [1, 2]), ("train-1", [0, 1])):
        lines = (json.dumps({**row, "answer": answer}) for answer in answers)
        (tmp_path / f"{name}.jsonl").write_text("\n".join(lines))
    samples = list(open_source(SourceSettings(location=str(tmp_path / "train-*.jsonl"))).rows())
    assert [sample.answer for sample in samples] == ["B", "C", "A", "B"]
    assert not any(sample.notes for sample in samples)
