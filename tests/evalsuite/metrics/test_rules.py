"""Every rule in public use, against what its own code says to generated hard answers (fixture)."""

import json
import warnings
from collections.abc import Callable
from pathlib import Path

import pytest

from evalsuite.metrics import anls, gqa_accuracy, parse_choice, parse_yes_no, relaxed_accuracy, vqa_accuracy
from evalsuite.metrics.normalize import vlmevalkit
from evalsuite.reading.choice import LETTERS

CASES = json.loads((Path(__file__).parents[1] / "peers" / "rules.json").read_text(encoding="utf-8"))
OPTIONS = ["a red dog", "two cats", "Rome", "none of the above"]
ONE_ANSWER: dict[str, Callable[[str, list[str]], float]] = {
    "vqa official": lambda text, given: vqa_accuracy(text, given, unanimous="raw"),
    "vqa evalai": lambda text, given: vqa_accuracy(text, given, normalizer="evalai"),
    "vqa vlmevalkit": lambda text, given: vqa_accuracy(
        vlmevalkit(text), [vlmevalkit(one) for one in given], normalizer="none"
    ),
    "anls": lambda text, given: anls(text, given, threshold=0.0),
    "relaxed official": relaxed_accuracy,
    "relaxed vlmevalkit": lambda text, given: relaxed_accuracy(text.strip(), given),
    "gqa vlmevalkit": lambda text, given: gqa_accuracy(text, given, variant="vlmevalkit"),
}


@pytest.mark.parametrize("name", ONE_ANSWER)
def test_scores_equal_those_of_the_rule_s_own_code(name: str) -> None:
    assert len(CASES[name]) >= 150
    wrong = []
    for text, answers, expected in CASES[name]:
        given = answers if isinstance(answers, list) else [answers]
        found = ONE_ANSWER[name](text, given)
        if found != pytest.approx(float(expected), abs=1e-9):
            wrong.append((text, answers, expected, found))
    assert wrong == []


@pytest.mark.parametrize(
    ("name", "variant"),
    [("pope", "official"), ("mme", "mme"), ("lmms-eval", "mme-lmms-eval"), ("vlmevalkit", "vlmevalkit")],
)
def test_yes_and_no_are_read_as_by_the_rule_s_own_code(name: str, variant) -> None:
    cases = CASES[f"yes or no {name}"]
    expected = [(text, said if said in ("yes", "no") else None) for text, said in cases]
    assert len(cases) >= 150 and {said for _, said in expected} >= {"yes", "no"}
    assert [(text, parse_yes_no(text, variant=variant)) for text, _ in cases] == expected


@pytest.mark.parametrize(("name", "variant"), [("mmmu", "mmmu-official"), ("lmms-eval", "lmms-eval")])
def test_options_are_read_as_by_the_rule_s_own_code(name: str, variant) -> None:
    cases = CASES[f"choice {name}"]
    drawn = {text for text, letter in cases if letter == "?"}
    assert len(cases) - len(drawn) >= 60 and len(drawn) >= 20
    found = [(text, parse_choice(text, OPTIONS, variant=variant)) for text, _ in cases if text not in drawn]
    assert found == [(text, letter) for text, letter in cases if text not in drawn]
    for text in drawn:
        said = {parse_choice(text, OPTIONS, variant=variant, key=key) for key in "abcdefghijklmnop"}
        assert len(said) > 1 and said <= set(LETTERS[:4]), "nothing is named, so it is drawn"
        if variant == "mmmu-official":
            assert parse_choice(text, OPTIONS, variant="mmmu") is None


def test_one_answer_is_not_left_out() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert vqa_accuracy("Two", ["2"]) == 1.0
    assert "nobody is left to agree with" in str(caught[0].message)
