"""Scores of short answers against those that lmms-eval's own functions gave (fixture), and where rules differ."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.metrics import (
    METRICS,
    Answers,
    MetricOptions,
    anls,
    gqa_accuracy,
    mme,
    mmmu_open,
    multiple_choice_accuracy,
    parse_choice,
    parse_yes_no,
    pope,
    relaxed_accuracy,
    unanswerable,
    vqa_accuracy,
)  # fmt: skip
from evalsuite.metrics.normalize import evalai, official
from evalsuite.metrics.short_answer import edit_distance
from winnow.errors import UserError

PEER = json.loads((Path(__file__).parents[1] / "peers" / "answers.json").read_text(encoding="utf-8"))
OPTIONS = ["a red dog", "two cats", "Rome", "none of the above"]


def test_normalisers_equal_the_peer() -> None:
    assert {text: official(text) for text in PEER["official"]} == PEER["official"]
    assert {text: evalai(text) for text in PEER["evalai"]} == PEER["evalai"]


def test_vqa_accuracy_equals_the_peer() -> None:
    assert len(PEER["vqa_accuracy"]) > 60
    for text, answers, expected in PEER["vqa_accuracy"]:
        assert vqa_accuracy(text, answers) == pytest.approx(expected, abs=1e-9), (text, answers)


@pytest.mark.parametrize(
    ("name", "metric"),
    [
        ("anls", lambda text, answers: anls(text, answers)),
        ("relaxed", lambda text, answers: relaxed_accuracy(text, answers)),
        ("gqa", lambda text, answers: gqa_accuracy(text, answers, variant="lmms-eval")),
        ("open", lambda text, answers: mmmu_open(text, answers)),
    ],
)
def test_metrics_of_one_answer_equal_the_peer(name: str, metric) -> None:
    found = [[text, answer, metric(text, [answer])] for text, answer, _ in PEER[name]]
    for one, expected in zip(found, PEER[name], strict=True):
        assert one == [*expected[:2], pytest.approx(float(expected[2]), abs=1e-9)]


def test_mme_equals_the_peer() -> None:
    labels = {text: parse_yes_no(text, variant="mme-lmms-eval") or "other" for text in PEER["mme_words"]}
    assert labels == PEER["mme_words"]
    rows = {
        f"{image} {answer}": (image, category, text, answer) for image, category, text, answer in PEER["mme"]["rows"]
    }
    images, categories, said, truth = ({key: row[i] for key, row in rows.items()} for i in range(4))
    found = mme(said, truth, categories, images, variant="mme-lmms-eval")
    assert found.perception == pytest.approx(PEER["mme"]["mme_perception_score"], abs=1e-9)
    assert found.cognition == pytest.approx(PEER["mme"]["mme_cognition_score"], abs=1e-9)
    assert found.incomplete == 0 and len(found.subtasks) == 14


def test_mme_without_its_pair_still_counts_for_accuracy() -> None:
    found = mme({"a": "yes", "b": "no", "c": "maybe"}, {"a": "Yes", "b": "No", "c": "Yes"},
                {"a": "count", "b": "count", "c": "OCR"}, {"a": "1", "b": "1", "c": "1"})  # fmt: skip
    assert (found.perception, found.incomplete, found.unparsed) == (200.0, 1, 1)
    assert found.subtasks["OCR"].score == 0 and found.cognition == 0
    with pytest.raises(UserError, match="id 'a': 'cuont' is none of existence"):
        mme({"a": "yes"}, {"a": "yes"}, {"a": "cuont"}, {"a": "1"})


def test_pope_equals_the_peer_where_every_answer_is_parsed() -> None:
    rows = dict(enumerate(PEER["pope"]["rows"]))
    said, truth = ({str(key): row[i] for key, row in rows.items()} for i in range(2))
    found = pope(said, truth)
    expected = PEER["pope"]
    assert [found.accuracy, found.precision, found.recall, found.f1] == pytest.approx(
        [expected[name] for name in ("accuracy", "precision", "recall", "f1_score")], abs=1e-12
    )
    assert found.yes_ratio == sum(text.strip().lower() == "yes" for text in said.values()) / len(said)


def test_an_unparsed_answer_stays_in_every_denominator() -> None:
    found = pope({"a": "yes", "b": "unknown", "c": "Yes, a dog"}, {"a": "yes", "b": "yes", "c": "no"})
    assert (found.accuracy, found.recall, found.precision, found.unparsed) == (1 / 3, 0.5, 0.5, 1)
    assert found.yes_ratio == 2 / 3
    official_ = pope({"a": "", "b": "NO"}, {"a": "yes", "b": "no"}, variant="official")
    assert official_.yes_ratio == 1.0 and official_.unparsed == 0


@pytest.mark.parametrize(
    ("text", "words", "original"),
    [
        ("Yes, there is no doubt", "yes", "no"),
        ("The answer is yes", "yes", "yes"),
        ("yes or no", None, "no"),
        ("It says yes and no", None, "no"),
        ("unknown", None, "yes"),
        ("noodle", None, "yes"),
        ("No", "no", "no"),
        ("**No**", "no", "yes"),
        ("There is not a dog.", "no", "no"),
        ("", None, "yes"),
    ],
)
def test_yes_or_no(text: str, words: str | None, original: str) -> None:
    assert parse_yes_no(text) == words
    assert parse_yes_no(text, variant="official") == original


def test_scienceqa_agrees_with_the_peer_but_for_what_its_script_reads_more() -> None:
    for reply, letter, right in PEER["scienceqa"]:
        ours = multiple_choice_accuracy(reply, [letter], OPTIONS, variant="scienceqa")
        if reply == "b":  # lmms-eval takes lower case, ScienceQA's evaluation does not
            assert ours == 0.0
        elif reply == "B.":
            assert ours == 0.0, "the original wants a blank after the full stop"
        else:
            assert ours == right, (reply, letter)
    assert parse_choice("So ... The answer is B.", OPTIONS, variant="scienceqa") == "B"


@pytest.mark.parametrize(
    ("reply", "rules", "lenient"),
    [
        ("B", "B", "B"),
        ("(C)", "C", "C"),
        ("A or B", "B", None),
        ("The answer is (A) because B is wrong", "A", "A"),
        ("I think it is the a RED dog there", "A", "A"),
        ("B) two cats", None, "B"),
        ("**B**", None, "B"),
        ("\\boxed{B}", None, "B"),
        ("b", None, "B"),
        ("two cats", None, "B"),
        ("", None, None),
        ("neither of them", None, None),
        ("FAILED after 3 tries", None, None),
    ],
)
def test_multiple_choice(reply: str, rules: str | None, lenient: str | None) -> None:
    assert parse_choice(reply, OPTIONS, variant="mmmu") == rules
    assert parse_choice(reply, OPTIONS) == lenient == parse_choice(reply, OPTIONS, variant="lenient")
    drawn = parse_choice(reply, OPTIONS, variant="mmmu-official", key="7")
    assert drawn == (rules or parse_choice("?", OPTIONS, variant="mmmu-official", key="7"))


def test_the_official_draw_depends_on_the_sample_only() -> None:
    drawn = [parse_choice("?", OPTIONS, variant="mmmu-official", key=str(key)) for key in range(40)]
    assert set(drawn) == set("ABCD")
    assert drawn == [parse_choice("?", OPTIONS, variant="mmmu-official", key=str(key)) for key in range(40)]


@pytest.mark.parametrize(
    ("text", "answer", "loose", "strict"),
    [
        ("14.7", "14", 1, 1), ("14.71", "14", 0, 0), ("1,400", "1400", 0, 1), ("$14", "14", 0, 1), ("2%", "2", 0, 1),
        ("0.02", "2%", 1, 1), ("0.0", "0", 0, 1), ("0.01", "0", 0, 0), ("2019", "2010", 1, 0), ("2010", "2010", 1, 1),
        ("Yes", "yes", 1, 1), ("-5", "5", 0, 0), ("−5", "-5", 0, 1), ("nan", "5", 0, 0), ("5.0e1", "50", 1, 1),
    ],
)  # fmt: skip
def test_relaxed_accuracy(text: str, answer: str, loose: int, strict: int) -> None:
    assert relaxed_accuracy(text, [answer]) == loose
    assert relaxed_accuracy(text, ["x", answer], variant="strict") == strict


@pytest.mark.parametrize(
    ("text", "answer", "score"), [("abcd", "abxy", 0.5), ("abcd", "axyz", 0.0), ("", "", 1.0), ("A  b", "a b", 1.0)]
)
def test_anls(text: str, answer: str, score: float) -> None:
    assert anls(text, ["zzzz", answer]) == score


@given(st.text("abcé ", max_size=9), st.text("abcé ", max_size=9))
def test_edit_distance_equals_the_table(one: str, two: str) -> None:
    row = list(range(len(two) + 1))
    for i, left in enumerate(one, 1):
        previous, row = row, [i]
        for j, right in enumerate(two, 1):
            row.append(min(previous[j] + 1, row[-1] + 1, previous[j - 1] + (left != right)))
    assert edit_distance(one, two) == row[-1]


def test_gqa_rules_differ_where_they_are_known_to() -> None:
    variants = ("normalized", "official", "lmms-eval", "vlmevalkit")
    scores = {
        text: [gqa_accuracy(text, ["yes"], variant=one) for one in variants] for text in ("yes.", "yes ", "Yes", "yes")
    }
    assert scores == {"yes.": [1, 0, 1, 0], "yes ": [1, 0, 0, 1], "Yes": [1, 0, 1, 1], "yes": [1, 1, 1, 1]}


def test_unanswerable_is_what_most_people_said() -> None:
    no_answer, an_answer = ["unanswerable"] * 6 + ["dog"] * 4, ["dog"] * 7 + ["unanswerable"] * 3
    references = {"a": no_answer, "b": no_answer, "c": an_answer, "d": an_answer}
    found = unanswerable({"a": "Unanswerable.", "b": "dog", "c": "unanswerable", "d": "dog"}, references)
    assert (found.precision, found.recall, found.f1) == (0.5, 0.5, 0.5)
    assert found.per_sample == {"a": 1, "b": 0, "c": 0, "d": 1}


@pytest.mark.parametrize(
    "call",
    [
        lambda: anls("x", []), lambda: relaxed_accuracy("x", "5"), lambda: gqa_accuracy("x", ["y"], variant="gqa"),
        lambda: parse_choice("x", []), lambda: parse_choice("x", ["a"], variant="?"), lambda: pope({}, {}),
        lambda: pope({"a": "yes"}, {"a": "maybe"}), lambda: pope({"a": "yes"}, {}), lambda: mmmu_open("x", []),
        lambda: relaxed_accuracy("x", ["y"], variant="loose"), lambda: unanswerable({}, {}),
    ],
)  # fmt: skip
def test_bad_input_is_one_sentence(call) -> None:
    with pytest.raises(UserError):
        call()


@pytest.mark.parametrize("reference", ["B", " (b) ", "tiger", "Tiger "])
def test_a_reference_is_a_letter_or_the_text_of_an_option(reference: str) -> None:
    assert multiple_choice_accuracy("B", [reference], ["lion", "tiger", "bear", "fish"]) == 1.0
    assert multiple_choice_accuracy("A", [reference], ["lion", "tiger", "bear", "fish"]) == 0.0


@pytest.mark.parametrize(
    ("reference", "options", "fault"),
    [("1", ["lion", "tiger"], "answer_map"), ("E", ["lion", "tiger"], "neither a letter from A to B"),
     ("cat", ["lion", "tiger"], "neither"), ("cat", ["cat", "Cat"], "the text of several options")],
)  # fmt: skip
def test_a_reference_that_names_no_option_is_refused(reference: str, options: list[str], fault: str) -> None:
    with pytest.raises(UserError, match=fault):
        multiple_choice_accuracy("B", [reference], options)
    rows = Answers(ids=["x/1"], texts=["B"], references=[[reference]], raws=["B"], choices=[options])
    with pytest.raises(UserError, match=r"^x/1: the reference"):
        METRICS["multiple_choice"].columns("mc", rows, MetricOptions())


def test_a_number_is_the_text_of_an_option_before_it_is_a_position() -> None:
    assert multiple_choice_accuracy("C", ["1"], ["3", "2", "1"]) == 1.0


def test_questions_without_options_are_no_multiple_choice() -> None:
    rows = Answers(ids=["a", "b"], texts=["B"] * 2, references=[["B"]] * 2, raws=["B"] * 2, choices=[["x", "y"], []])
    with pytest.raises(UserError, match=r"^b: has no options"):
        METRICS["multiple_choice"].columns("mc", rows, MetricOptions())
    bare = Answers(ids=["a"], texts=["B"], references=[["B"]], raws=["B"], choices=[[]])
    with pytest.raises(UserError, match="`options:` in the task"):
        METRICS["multiple_choice"].columns("mc", bare, MetricOptions())


def test_numbers_that_are_better_when_lower_say_so_in_both_ways():
    """People read the title; training that keeps its best step reads the mark."""
    from evalsuite.metrics import METRICS

    numbers = [number for metric in METRICS.values() for number in metric.numbers.values()]
    assert sum(number.lower_is_better for number in numbers) >= 4
    assert all(number.lower_is_better == ("(lower is better)" in number.title) for number in numbers)
