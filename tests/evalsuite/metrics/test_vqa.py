"""VQA normalisation and accuracy: the cases that tell the public rules apart."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.metrics import Answers, MetricOptions, exact_match, vqa_accuracy
from evalsuite.metrics.normalize import evalai, official
from evalsuite.metrics.vqa import VQA_ACCURACY
from winnow.errors import UserError


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ("yes,no", "yes no"),
        ("yes, no", "yes no"),
        ("1,000", "1000"),
        ("1,000-2,000", "10002000"),
        ("3.", "3"),
        ("3.5", "3.5"),
        ("U.S.A.", "usa"),
        ("The two dogs", "2 dogs"),
        ("none", "0"),
        ("dont", "don't"),
        ("couldnt've", "couldn't've"),
        ("somebody'd", "somebodyd"),
        ("Im", "im"),
        ("well-known", "well known"),
        ("a/b", "b"),
        ("it's 5:30", "it's 5:30"),
        ("50%", "50%"),
        ("two\nlines", "2 lines"),
        ("", ""),
        ("日本", "日本"),
    ],
)
def test_official_rule(answer: str, expected: str) -> None:
    assert official(answer) == expected


@pytest.mark.parametrize(
    ("answer", "expected"),
    [("yes,no", "yesno"), ("dog's", "dog 's"), ("1,000-2,000", "1000 2000")],
)
def test_evalai_rule_where_it_differs(answer: str, expected: str) -> None:
    assert evalai(answer) == expected != official(answer)


def naive(prediction: str, answers: list[str], enough: int) -> float:
    """Leave one out, as the challenge's code loops over it."""
    given_ = [official(answer) for answer in answers]
    scores = []
    for left_out in range(len(given_)):
        others = given_[:left_out] + given_[left_out + 1 :]
        scores.append(min(1.0, sum(other == official(prediction) for other in others) / enough))
    return sum(scores) / len(scores)


@given(st.lists(st.sampled_from(["yes", "Yes.", "no", "2", "two", "a dog"]), min_size=2, max_size=12), st.data())
def test_leave_one_out_equals_the_loop(answers: list[str], data: st.DataObject) -> None:
    prediction = data.draw(st.sampled_from([*answers, "maybe"]))
    found = vqa_accuracy(prediction, answers)
    assert found == pytest.approx(naive(prediction, answers, min(3, len(answers) - 1)), abs=1e-12)
    assert 0 <= found <= 1
    three = vqa_accuracy(prediction, answers, enough="three")
    assert three == pytest.approx(naive(prediction, answers, 3), abs=1e-12) and three <= found + 1e-12


@pytest.mark.parametrize(("matches", "expected"), [(0, 0.0), (1, 0.3), (2, 0.6), (3, 0.9), (4, 1.0), (10, 1.0)])
def test_ten_answers_give_the_known_steps(matches: int, expected: float) -> None:
    assert vqa_accuracy("yes", ["yes"] * matches + ["no"] * (10 - matches)) == pytest.approx(expected)


@pytest.mark.parametrize("count", [2, 3, 4, 9])
def test_answers_that_all_agree_give_full_marks_however_few_they_are(count: int) -> None:
    assert vqa_accuracy("red", ["red"] * count) == 1.0
    assert vqa_accuracy("red", ["red", "blue"]) == 0.5
    assert vqa_accuracy("red", ["red"] * 2, enough="three") == pytest.approx(1 / 3), "what the challenge's code gives"


def test_few_references_are_stated() -> None:
    rows = Answers(ids=["a", "b"], texts=["red", "red"], references=[["red"] * 2, ["red"] * 10])
    (column,) = VQA_ACCURACY.columns("vqa_accuracy", rows, MetricOptions())
    assert column.per_row.tolist() == [1.0, 1.0]
    assert column.variant.endswith("1 rows with two or three references, all others are enough")
    assert column.warning and column.warning.startswith("vqa_accuracy is made for ten references a row; 1 of 2 rows")


def test_unanimous_answers_raw_or_normalised() -> None:
    assert vqa_accuracy("Yes.", ["yes"] * 10) == 1.0
    assert vqa_accuracy("Yes.", ["yes"] * 10, unanimous="raw") == 0.0
    assert vqa_accuracy("yes\n", ["yes"] * 10, unanimous="raw") == 1.0


def test_one_answer_is_exact_match_and_says_so() -> None:
    with pytest.warns(UserWarning, match="exact match"):
        assert vqa_accuracy("Two.", ["2"]) == 1.0


def test_exact_match_and_bad_input() -> None:
    assert exact_match("The Dog.", ["cat", "dog"]) == 1.0
    assert exact_match("The Dog.", ["dog"], normalizer="none") == 0.0
    with pytest.raises(UserError, match="unknown normalizer 'offical'"):
        exact_match("x", ["x"], normalizer="offical")  # type: ignore[arg-type]
    with pytest.raises(UserError, match="non-empty list"):
        vqa_accuracy("x", [])
    with pytest.raises(UserError, match="non-empty list"):
        vqa_accuracy("x", "x")
