"""What a check finds in task files, rows and images, before any model is asked."""

import json
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image

from evalsuite.check import Finding, check_images, check_rows, check_settings
from evalsuite.tasks.load import Task, load_task
from evalsuite.tasks.spec import load_spec


def row(number: int, answers: list[str], question: str = "what is it?", image: str = "a.png", **meta: object) -> dict:
    turns = [{"from": "user", "value": f"{question} ({number})"}, {"from": "assistant", "value": answers[0]}]
    return {"id": f"r/{number}", "image": image, "conversations": turns, "answers": answers, "meta": meta}


def task_of(folder: Path, rows: list[dict], keys: str) -> Task:
    folder.mkdir(exist_ok=True)
    Image.new("RGB", (8, 8), "red").save(folder / "a.png")
    (folder / "rows.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in rows), encoding="utf-8")
    path = folder / "t.yaml"
    path.write_text(f"name: t\nsource: {{location: {folder / 'rows.jsonl'}, image_root: {folder}}}\n{keys}\n")
    return load_task(load_spec(str(path)), limit=None, seed=0)


def checked(task: Task) -> list[Finding]:
    return [*check_settings(task.spec), *check_images(task), *check_rows(task)]


FINE = [row(n, ["red"]) for n in range(4)]
TEN = ["a red dog"] * 10
OPTIONS = {"options": ["cat", "dog"]}
CLOSED = "metrics: [accuracy]\nextraction: {kind: choice, choices: [red]}"
LETTERS = "extraction: {kind: letter}\noptions: options\nmetrics: [multiple_choice]"


@pytest.mark.parametrize(
    ("rows", "keys", "level", "said", "concerns"),
    [
        ([row(n, ["blue"]) for n in (7, 8, 9)] + FINE[:2], CLOSED,
         "error", "no reference is one that `kind: choice` reads, such as “blue”", 3),
        ([row(8, ["blue"]), *FINE], CLOSED,
         "warning", "no reference is one that `kind: choice` reads", 1),
        ([row(n, ["St. Mary Road"]) for n in range(3)], "metrics: [accuracy]\ngeneration: {stop: ['.']}",
         "error", "a reply that is the reference counts as wrong: “St. Mary Road” scores 0 on accuracy", 3),
        ([row(n, ["two\nlines"]) for n in range(3)], "metrics: [anls]\nextraction: {kind: line}",
         "error", "counts as wrong: “two lines” scores 0", 3),
        ([row(n, ["a", "b", "c", "d"]) for n in range(3)], "metrics: [vqa_accuracy]", "error", "on VQA accuracy", 3),
        ([row(n, ["一只红色的狗坐在垫子上"]) for n in range(3)], "metrics: {quality: {metric: cider}}",
         "warning", "quality: references in Chinese (3 of them) have no blanks between words", 0),
        ([row(n, ["赤い犬がマットの上にいる"]) for n in range(3)], "metrics: [rouge_l]",
         "warning", "rouge_l: references in Japanese", 0),
        ([row(n, ["B"], **OPTIONS) for n in range(3)], LETTERS,
         "warning", "options that the prompt does not show, such as “cat”", 3),
        ([row(n, ["B"], "cat or dog?", **OPTIONS) for n in range(3)], LETTERS, "warning", "options without letters", 3),
        ([row(n, ["B"], "which?\n[A] cat\n[B] dog\n", **OPTIONS) for n in range(3)],
         'prompt: "{question} {options}"\n' + LETTERS, "warning", "options shown twice", 3),
        ([row(n, ["a long answer of many words " * 4]) for n in range(3)],
         "metrics: [accuracy]\ngeneration: {max_new_tokens: 16}", "error", "no reference fits into 16 tokens: 24", 3),
        ([row(n, ["red", " "]) for n in range(3)], "metrics: [accuracy]", "warning", "an empty reference", 3),
        ([*FINE, {**row(0, ["green"]), "id": "r/again"}], "metrics: [accuracy]",
         "note", "a question that was asked before about the same image", 1),
        ([row(n, ["red"], image="lost.png") for n in range(3)], "metrics: [accuracy]",
         "error", "an image is not there: image lost.png: missing", 3),
        ([row(7, ["red"], image="lost.png"), *FINE], "metrics: [accuracy]", "warning", "an image is not there", 1),
        ([row(n, ["yes"]) for n in range(3)], "metrics: [pope]\nextraction: {kind: line}",
         "warning", "pope judges what `extraction: {kind: yes_no}` reads, and the task reads line", 0),
        ([row(n, ["yes"]) for n in range(3)],
         'metrics: [pope]\nextraction: {kind: yes_no}\ngeneration: {stop: ["\\n"]}',
         "note", r"stop '\n' ends a reply at its first line", 0),
    ],
)  # fmt: skip
def test_every_kind_of_trouble_is_found_where_it_is(tmp_path, rows, keys, level, said, concerns):
    found = checked(task_of(tmp_path, rows, keys))
    mine = [finding for finding in found if said in finding.sentence()]
    assert [(finding.level, finding.rows) for finding in mine] == [(level, concerns)], found
    assert mine[0].task == "t" and mine[0].fix
    assert len(mine[0].examples) == min(concerns, 3) and all("r/" in name for name in mine[0].examples)


@pytest.mark.parametrize(
    ("rows", "keys"),
    [
        (FINE, "metrics: [accuracy]"),
        (FINE, "metrics: [accuracy, rouge_l, bleu]\nextraction: {kind: line}"),
        ([row(n, TEN) for n in range(3)], "metrics: [vqa_accuracy]"),
        ([row(n, ["B"], "which?\nA. cat\nB. dog\n", **OPTIONS) for n in range(3)], LETTERS),
        (
            [row(n, ["B"], "which?\nA. cat\nB. dog\n", **OPTIONS) for n in range(3)],
            'prompt: "{question} {options}"\n' + LETTERS,
        ),
        ([row(n, ["no"]) for n in range(3)], "metrics: [pope]\nextraction: {kind: yes_no}"),
        ([row(n, ["Sorry, we are closed"]) for n in range(3)], "metrics: [accuracy]\nextraction: {kind: line}"),
        ([row(n, ["赤い犬がマットの上にいる"]) for n in range(3)], "metrics: {rouge_l: {tokenize: char}}"),
        ([row(n, ["红色"]) for n in range(3)], "metrics: [accuracy]"),
    ],
)
def test_nothing_is_found_where_nothing_is_wrong(tmp_path, rows, keys):
    assert checked(task_of(tmp_path, rows, keys)) == []


def test_broken_images_are_found_by_decoding_some(tmp_path):
    task = task_of(tmp_path, [row(0, ["red"]), row(1, ["red"], image="b.png")], "metrics: [accuracy]")
    (tmp_path / "b.png").write_bytes((tmp_path / "a.png").read_bytes()[:40])
    (found,) = checked(task)
    assert found.level == "warning" and "of 2 images that were decoded, 1 cannot be" in found.what
    assert found.examples == ("rows/r/1",)


def test_rows_that_cannot_be_read_and_rows_without_a_reference_are_counted(tmp_path):
    task = task_of(tmp_path, FINE, "metrics: [accuracy]")
    lost = [{"id": "r/none", "image": "a.png", "conversations": [{"from": "user", "value": "what?"}]}]
    text = (tmp_path / "rows.jsonl").read_text() + "{broken\n" + json.dumps(lost[0]) + "\n"
    (tmp_path / "rows.jsonl").write_text(text)
    found = checked(load_task(task.spec, limit=None, seed=0))
    assert [finding.level for finding in found] == ["warning", "warning"]
    assert "1 rows of the source cannot be read" in found[0].what and found[1].rows == 1


def test_tokens_are_counted_by_the_model_where_it_can_be_asked(tmp_path):
    task = task_of(
        tmp_path, [row(0, ["antidisestablishmentarianism"])], "metrics: [accuracy]\ngeneration: {max_new_tokens: 4}"
    )
    assert check_rows(task) == [], "one word"
    (found,) = check_rows(task, count_tokens=len)
    assert "no reference fits into 4 tokens: 28 for “antidis" in found.what


TEXTS = st.lists(st.text(max_size=30), min_size=1, max_size=4)
KEYS = [
    "metrics: [accuracy, vqa_accuracy, anls, cider]\nextraction: {kind: line}",
    "metrics: [accuracy]\nextraction: {kind: choice, choices: [red, no]}",
    'metrics: [relaxed_accuracy]\ngeneration: {stop: ["."], max_new_tokens: 2}',
]


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow], max_examples=60)
@given(st.lists(TEXTS, min_size=1, max_size=5), st.sampled_from(KEYS))
def test_any_references_give_findings_and_never_an_exception(tmp_path, answers, keys):
    task = task_of(tmp_path, [*FINE, *(row(10 + n, texts) for n, texts in enumerate(answers))], keys)
    for finding in checked(task):
        assert "\n" not in finding.sentence()
        assert Finding.from_json(json.loads(json.dumps(finding.to_json()))) == finding


def test_what_a_metric_needs_is_asked_for_first(tmp_path):
    (found,) = checked(task_of(tmp_path, FINE, "metrics: [agreement]\nextraction: {kind: line}"))[-1:]
    assert found.level == "error" and found.what == "agreement needs rows that were asked several times"
    assert found.fix == "set `samples: 5` or `repeat: circular` in the task"


def test_rows_asked_several_times_repeat_nothing(tmp_path):
    keys = "metrics: [accuracy]\nsamples: 3\ngeneration: {temperature: 1}"
    task = task_of(tmp_path, FINE, keys)
    assert len(task.rows) == 12 and checked(task) == []


def test_open_questions_among_choices_are_noted(tmp_path):
    asked = "which?\nA. cat\nB. dog\n"
    rows = [row(0, ["red"]), row(1, ["red"]), *(row(n, ["B"], asked, **OPTIONS) for n in range(2, 9))]
    (found,) = checked(task_of(tmp_path, rows, LETTERS.replace("multiple_choice", "mmmu")))
    assert (found.level, found.what, found.rows) == ("note", "nothing at `options: options`", 2)


def test_a_metric_of_ones_own_is_tried_like_any_other(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def score(prediction, references):\n    return float(prediction in references)\n"
    )
    keys = (
        f"metrics: {{mine: {{metric: '{tmp_path / 'mine.py'}:score'}}}}\nextraction: {{kind: letter}}\noptions: options"
    )
    asked = [row(n, ["B"], "which?\nA. cat\nB. dog\n", **OPTIONS) for n in range(3)]
    assert checked(task_of(tmp_path, asked, keys)) == []
