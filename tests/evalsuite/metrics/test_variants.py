"""Variants by name, options and slices of a row, tasks on a base, the tokeniser check without Java."""

import json
import shutil
from pathlib import Path

import pytest

from evalsuite.metrics import METRICS
from evalsuite.reading.read import Extraction, read_answer
from evalsuite.tasks.spec import (
    BinnedSlice,
    MetricSettings,
    filled,
    load_spec,
    options_of,
    side_by_side,
    slices_of,
    variants_of,
    with_variant,
)
from evalsuite.verify_java import captions_in, find_jar, generated_captions
from winnow.errors import UserError


def test_every_metric_is_listed_under_its_name_and_says_what_its_numbers_mean() -> None:
    assert all(name == metric.name and metric.about and metric.numbers for name, metric in METRICS.items())
    titles = [number.title for metric in METRICS.values() for number in metric.numbers.values()]
    assert len(set(titles)) == len(titles)
    tops = {
        number.title: (number.unit, number.top) for metric in METRICS.values() for number in metric.numbers.values()
    }
    assert tops["CIDEr-D"] == ("", 10.0) and tops["ANLS"] == ("%", 1.0) and tops["POPE yes ratio"] == ("%", None)
    assert tops["MME perception"] == ("points", 2000.0) and tops["MME cognition"] == ("points", 800.0)


@pytest.mark.parametrize(
    ("metric", "value", "option"),
    [("vqa_accuracy", "evalai", "normalizer"), ("vqa_accuracy", "raw", "unanimous"),
     ("vqa_accuracy", "three", "enough"), ("cider", "zh", "tokenize"),
     ("relaxed_accuracy", "strict", "variant"), ("pope", "official", "variant"), ("accuracy", "none", "normalizer")],
)  # fmt: skip
def test_a_variant_finds_its_option(metric: str, value: str, option: str) -> None:
    assert getattr(with_variant(MetricSettings(metric=metric), value), option) == value  # type: ignore[arg-type]


def test_unknown_variants_are_named() -> None:
    with pytest.raises(
        UserError, match="gqa has no variant 'evalai'; known: normalized, official, lmms-eval, vlmevalkit"
    ):
        with_variant(MetricSettings(metric="gqa"), "evalai")
    with pytest.raises(UserError, match="anls has no variant 'x'; known: none"):
        with_variant(MetricSettings(metric="anls"), "x")
    with pytest.raises(UserError, match="write METRIC=VARIANT"):
        side_by_side(load_spec("vqav2"), ["evalai"])
    assert {name for name, _ in variants_of(MetricSettings(metric="vqa_accuracy"))} == {
        "official", "evalai", "none", "unanimous normalize", "unanimous raw", "enough scaled", "enough three",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("metrics: {gqa: {variant: strict}}", "gqa has no variant 'strict'"),
        ("metrics: {anls: {variant: strict}}", "anls has no variants"),
        ("metrics: {cider: {normalizer: evalai}}", "normalizer means nothing to cider"),
        ("extraction: {kind: yes_no, rule: mmmu}\nmetrics: [pope]", "no rule 'mmmu'"),
        ("metrics: [pope]\nslices: [{name: n, key: k, bins: [5, 1]}]", "bins must rise"),
        ("base: vqav3\nmetrics: [pope]", "base 'vqav3' is no shipped task; did you mean vqav2"),
    ],
)
def test_a_task_that_cannot_be_is_refused(tmp_path: Path, text: str, sentence: str) -> None:
    path = tmp_path / "t.yaml"
    path.write_text(f"name: t\nsource: {{location: x}}\n{text}\n")
    with pytest.raises(UserError, match=sentence):
        load_spec(str(path))


def test_a_base_is_changed_key_by_key(tmp_path: Path) -> None:
    path = tmp_path / "t.yaml"
    path.write_text("base: textvqa\nname: mine\nsource: {location: here.json}\nprompt: '{question} {ocr_tokens}'\n")
    spec, base = load_spec(str(path)), load_spec("textvqa")
    assert (spec.name, spec.source.location, spec.source.layout) == ("mine", "here.json", "textvqa")
    assert spec.prompt == "{question} {ocr_tokens}" and spec.metrics == base.metrics


def test_prompts_take_meta_and_leave_other_braces() -> None:
    values = {"question": "what {x}?", "ocr_tokens": ["NASA", "1969"]}
    assert filled("{question}: {ocr_tokens} {a: 1} {lost}", values) == "what {x}?: NASA, 1969 {a: 1} {lost}"


def test_a_line_of_a_prompt_without_any_value_is_left_out() -> None:
    prompt = "Hint: {hint}\nQ: {question} {unit}\nAnswer."
    assert filled(prompt, {"question": "how long?", "hint": None, "unit": ""}) == "Q: how long? \nAnswer."
    assert filled(prompt, {"question": "a\n\nb", "hint": "c", "unit": "m"}) == "Hint: c\nQ: a\n\nb m\nAnswer."


@pytest.mark.parametrize(("number", "label"), [(0, "0"), (1, "1-5"), (5, "1-5"), (6, "6"), (7, "7+"), (2.5, "1-5")])
def test_slices_by_ranges(number: float, label: str) -> None:
    by_range = BinnedSlice(name="n", key="a.b", bins=[0, 5, 6])
    assert slices_of({"a": {"b": number}}, [by_range]) == {"n": label}
    assert slices_of({"a": {"b": list("xyz")}}, [by_range]) == {"n": "1-5"}
    assert slices_of({"a": 1, "t": {"kind": "x"}, "l": [1]}, [by_range, "t.kind", "l", "none"]) == {"kind": "x"}


def test_options_are_a_list_or_one_written_as_text() -> None:
    assert options_of({"o": "['a', \"b's\"]"}, "o") == ("a", "b's") == options_of({"o": ["a", "b's"]}, "o")
    assert options_of({"o": "__import__('os')"}, "o") == () == options_of({}, "o") == options_of({"o": ["a"]}, None)


@pytest.mark.parametrize(
    ("raw", "rule", "options", "expected"),
    [
        ("(B) two", Extraction(kind="letter", choices=[]), ("one", "two"), ("B", "ok")),
        ("two", Extraction(kind="letter", choices=[], rule="mmmu"), ("one", "two"), (None, "unparsed")),
        ("two", Extraction(kind="letter", choices=[]), ("one", "two"), ("B", "ok")),
        ("it is 42", Extraction(kind="letter", choices=[]), (), ("it is 42", "ok")),
        ("Yes.", Extraction(kind="yes_no", choices=[]), (), ("yes", "ok")),
        ("maybe", Extraction(kind="yes_no", choices=[]), (), (None, "unparsed")),
    ],
)
def test_letters_and_yes_no_are_read(raw: str, rule: Extraction, options: tuple, expected: tuple) -> None:
    assert read_answer(raw, "stop", rule, options)[:2] == expected


def test_texts_to_verify_come_from_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("a dog\nit's\n", encoding="utf-8")
    turns = [{"from": "user", "value": "q"}, {"from": "assistant", "value": "a cat"}]
    (tmp_path / "b.jsonl").write_text(json.dumps({"id": "1", "conversations": turns, "answers": ["two cats"]}) + "\n")
    assert list(captions_in(tmp_path / "a.txt")) == ["a dog", "it's"]
    assert list(captions_in(tmp_path / "b.jsonl")) == ["two cats", "a cat"]
    with pytest.raises(UserError, match="no such file"):
        list(captions_in(tmp_path / "c.txt"))
    assert generated_captions(50) == generated_captions(50) != generated_captions(50, seed=1)


def test_without_java_one_sentence_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "which", lambda name: None)
    with pytest.raises(UserError, match="needs Java"):
        find_jar()
