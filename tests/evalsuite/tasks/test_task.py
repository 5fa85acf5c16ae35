"""Task files, prompts and chats."""

import json
from pathlib import Path

import pytest
from tiny import build_tokenizer

from evalsuite.backends import messages
from evalsuite.backends.greedy import cut_at_stop
from evalsuite.backends.transformers import control_token_in
from evalsuite.tasks.load import load_task
from evalsuite.tasks.spec import load_spec, shipped_tasks
from winnow.errors import UserError


def write(path: Path, text: str) -> Path:
    path.write_text(text, encoding="utf-8")
    return path


def test_shipped_tasks_are_valid() -> None:
    assert {"easy_vqa", "easy_vqa_caption"} <= set(shipped_tasks())
    for name in shipped_tasks():
        assert load_spec(name).name == name


def test_a_task_of_ones_own_reads_llava_records(tmp_path: Path) -> None:
    rows = [
        {"id": 1, "image": "a.png", "answers": ["dog", "a dog"], "meta": {"kind": "x"},
         "conversations": [{"from": "human", "value": "<image>\nwhat?"}, {"from": "gpt", "value": "dog"}]},
        {"id": 2, "conversations": [{"from": "human", "value": "no image?"}, {"from": "gpt", "value": "yes"}]},
        {"id": 3, "conversations": [{"from": "human", "value": "no answer?"}]},
        {"id": 4, "conversations": "broken"},
        {"id": 5, "video": "v.mp4",
         "conversations": [{"from": "human", "value": "<video>what?"}, {"from": "gpt", "value": "a"}]},
    ]  # fmt: skip
    data = write(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    text = (
        f"name: mine\nsource: {{location: {data}}}\nprompt: 'Q: {{question}} A:'\nmetrics: [accuracy]\nslices: [kind]\n"
    )
    task = load_task(load_spec(str(write(tmp_path / "t.yaml", text))), limit=None, seed=0)
    first, second = task.rows
    assert (first.references, first.slices, first.images) == (("dog", "a dog"), {"kind": "x"}, ("a.png",))
    assert first.prompt == "Q: <image>\nwhat? A:" and first.question == "what?"
    assert (second.references, second.images) == (("yes",), ())
    assert [sample_id.rpartition("/")[2] for sample_id in task.unscorable] == ["3", "5"] and len(task.bad_rows) == 1


def test_a_prompt_that_asks_for_what_no_row_has_is_refused(tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", "id,question,answer\n1,q?,a\n")
    text = f"name: t\nsource: {{location: {data}}}\nprompt: 'Q: {{qestion}} {{a: 1}}'\nmetrics: [accuracy]\n"
    with pytest.raises(
        UserError, match=r"task t: its prompt asks for \{qestion\}, which no row has; rows have question"
    ):
        load_task(load_spec(str(write(tmp_path / "t.yaml", text))), limit=None, seed=0)


def test_a_misspelt_task_is_named() -> None:
    with pytest.raises(UserError, match=r"no task 'textvq'; did you mean textvqa"):
        load_spec("textvq")


def test_limit_draws_the_same_rows_and_keeps_their_order(tmp_path: Path) -> None:
    data = write(tmp_path / "d.csv", "id,question,answer\n" + "".join(f"{n},q{n}?,a\n" for n in range(50)))
    spec = load_spec(str(write(tmp_path / "t.yaml", f"name: t\nsource: {{location: {data}}}\nmetrics: [accuracy]\n")))
    drawn = [row.sample_id for row in load_task(spec, limit=10, seed=1).rows]
    every = [row.sample_id for row in load_task(spec, limit=None, seed=1).rows]
    assert drawn == [row.sample_id for row in load_task(spec, limit=10, seed=1).rows]
    assert len(drawn) == 10 and drawn == [name for name in every if name in drawn] != every[:10]


@pytest.mark.parametrize(
    ("text", "sentence"),
    [
        ("name: t\nsource: {location: x}\nmetrics: [acuracy]\n", "no metric 'acuracy'; did you mean accuracy"),
        ("name: t\nsource: {location: x}\nmetrics: []\n", "metrics"),
        ("name: t\nsource: {location: x}\nmetrics: [accuracy]\nextraction: {kind: choice}\n", "choices"),
        ("name: t\nsource: {location: x}\nmetrics: [accuracy]\npromt: x\n", "unknown key 'promt'"),
        ("name: t\nsource: {location: x}\nmetrics: [accuracy]\n", "x: no such file or folder"),
    ],
)
def test_bad_tasks_are_one_sentence(tmp_path: Path, text: str, sentence: str) -> None:
    with pytest.raises(UserError, match=sentence):
        load_task(load_spec(str(write(tmp_path / "t.yaml", text))), limit=None, seed=0)
    with pytest.raises(UserError, match="no task 'nothing'; known: ai2d, blink"):
        load_spec("nothing")


def test_metrics_may_be_listed_in_two_variants(tmp_path: Path) -> None:
    text = "name: t\nsource: {location: x}\nmetrics:\n  accuracy:\n  strict: {metric: accuracy, normalizer: none}\n"
    spec = load_spec(str(write(tmp_path / "t.yaml", text)))
    assert {name: one.metric for name, one in spec.metrics.items()} == {"accuracy": "accuracy", "strict": "accuracy"}
    assert spec.metrics["strict"].normalizer == "none"


def test_markers_stand_where_they_stood_and_images_come_first_otherwise() -> None:
    image, text = {"type": "image"}, lambda words: {"type": "text", "text": words}
    assert messages("what?", 2, None) == [{"role": "user", "content": [image, image, text("what?")]}]
    assert messages("is <image> like <image>?", 2, "be brief") == [
        {"role": "system", "content": [text("be brief")]},
        {"role": "user", "content": [text("is"), image, text("like"), image, text("?")]},
    ]


def test_control_tokens_in_a_question_are_found() -> None:
    tokenizer = build_tokenizer()
    assert control_token_in("what <image> is it?", tokenizer) is None
    assert control_token_in("ignore<|im_end|>", tokenizer) == "<|im_end|>"


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("red. It", (".",), ("red", True)),
        ("\n\nred\nblue", ("\n",), ("\n\nred", True)),
        ("red", (".", "\n"), ("red", False)),
        ("a END b.", ("END", "."), ("a ", True)),
        ("", (".",), ("", False)),
    ],
)
def test_stop_texts_cut_after_the_first_word(text: str, stop: tuple[str, ...], expected: tuple[str, bool]) -> None:
    assert cut_at_stop(text, stop) == expected


def test_groups_and_facts_of_a_row_come_from_its_meta(tmp_path: Path) -> None:
    rows = [
        {"id": number, "meta": {"figure": {"id": "f1"}, "unit": "cm"},
         "conversations": [{"from": "human", "value": "how long?"}, {"from": "gpt", "value": "3"}]}
        for number in range(2)
    ]  # fmt: skip
    data = write(tmp_path / "d.jsonl", "".join(json.dumps(row) + "\n" for row in rows))
    text = f"name: t\nsource: {{location: {data}}}\nmetrics: [accuracy]\ngroup: figure.id\nfacts: [unit, figure]\n"
    task = load_task(load_spec(str(write(tmp_path / "t.yaml", text))), limit=None, seed=0)
    assert [row.group for row in task.rows] == ["f1", "f1"]
    assert json.loads(task.rows[0].facts or "") == {"unit": "cm", "figure": {"id": "f1"}}
    wrong = text.replace("group: figure.id", "group: figur.id")
    with pytest.raises(UserError, match=r"task t: `group` names 'figur.id', which no row has; rows have figure"):
        load_task(load_spec(str(write(tmp_path / "t.yaml", wrong))), limit=None, seed=0)


@pytest.mark.parametrize(
    ("extra", "sentence"),
    [
        ("samples: 3\ngroup: x\n", "group and samples cannot be combined"),
        ("repeat: circular\n", "repeat: circular needs `options: KEY`"),
        ("blind: true\ncorrupt: {blur: 2}\n", "corrupt means nothing beside it"),
        ("corrupt: {}\n", "name one of dark, blur, noise, jpeg"),
        ("corrupt: {jpeg: 0}\n", "corrupt.jpeg"),
        ("generation: {temperature: -1}\n", "generation.temperature"),
    ],
)
def test_settings_that_do_not_fit_are_refused(tmp_path: Path, extra: str, sentence: str) -> None:
    text = "name: t\nsource: {location: x}\nmetrics: [accuracy]\n" + extra
    with pytest.raises(UserError, match=sentence):
        load_spec(str(write(tmp_path / "t.yaml", text)))
