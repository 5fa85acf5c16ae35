"""Reasoning before an answer: what is trained of it, under templates that know it, drop it or take it as text."""

from __future__ import annotations

import json

import pytest
from PIL import Image

from finetune.data.chat import join_rows, with_answer
from finetune.data.collate import Collator, check_masks
from finetune.data.preflight import check_rows
from finetune.data.rows import open_rows
from finetune.data.schedule import schedule_of
from finetune.data.template import template_form
from finetune.recipe import TrainRecipe
from tests.finetune.toys import CHATML, build_processor, record, write_rows
from winnow.errors import UserError
from winnow.rows.records import from_record
from winnow.vlm.inputs import InputSettings

_BLOCKS = (
    "{% for b in m['content'] %}{% if b['type'] == 'image' %}<image>{% else %}{{ b['text'] }}{% endif %}{% endfor %}"
)
# As Qwen3: reasoning is a field, kept for the answers after the last question only; an answer without it is given an
# empty block there, and so is the prompt without thinking.
QWEN3 = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m['role'] == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{% if m['role'] == 'assistant' and loop.index0 > ns.last %}<think>\n"
    "{{ m['reasoning_content'] | trim }}\n</think>\n\n"
    "{% endif %}" + _BLOCKS + "<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n"
    "{% if enable_thinking is defined and not enable_thinking %}<think>\n\n</think>\n\n{% endif %}{% endif %}"
)
# As Qwen3.5: the prompt opens the block.
OPENING = QWEN3.replace("{% endif %}{% endif %}", "{% else %}<think>\n{% endif %}{% endif %}")
# As DeepSeek-R1: what comes before </think> is cut from the text.
DEEPSEEK = CHATML.replace("{{ b['text'] }}", "{{ b['text'].split('</think>')[-1] }}").replace(
    "<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}"
)
# The prompt opens the block, and the text is kept as it is.
OPENED_TEXT = CHATML.replace("<|im_start|>assistant\n{% endif %}", "<|im_start|>assistant\n<think>\n{% endif %}")

THOUGHT = "<think>\nIt is red.\n</think>\n\nred"


def labels(template: str, *answers: str, question: str = "what?", images=(), root=None, **settings) -> list[str]:
    """The decoded labels of each answer."""
    turns = [part for text in answers for part in (("user", question), ("assistant", text))]
    row = {"id": "a", "image": list(images), "conversations": [{"from": side, "value": text} for side, text in turns]}
    collator = Collator(build_processor(template), root, InputSettings(**settings))
    batch = collator([join_rows([from_record(row)], [0])])
    check_masks(collator, [join_rows([from_record(row)], [0])])
    owners, ids = batch["owners"][0], batch["labels"][0]
    return [collator.processor.tokenizer.decode(ids[owners == number]) for number in range(len(answers))]


@pytest.mark.parametrize(
    ("template", "trained", "untrained"),
    [
        (CHATML, THOUGHT, "red"),
        (QWEN3, THOUGHT, "red"),
        (OPENING, THOUGHT.removeprefix("<think>\n"), "red"),
        (OPENED_TEXT, THOUGHT.removeprefix("<think>\n"), "red"),
    ],
    ids=["chatml", "qwen3", "the prompt opens it", "the prompt opens it, text"],
)
def test_train_reasoning_decides(template, trained, untrained):
    assert labels(template, THOUGHT) == [f"{trained}<|im_end|>"]
    assert labels(template, THOUGHT, train_reasoning=False) == [f"{untrained}<|im_end|>"]


@pytest.mark.parametrize("template", [CHATML, QWEN3, OPENING, OPENED_TEXT, DEEPSEEK])
@pytest.mark.parametrize("train_reasoning", [True, False])
def test_an_answer_without_reasoning_is_trained_alone(template, train_reasoning):
    assert labels(template, "red", train_reasoning=train_reasoning) == ["red<|im_end|>"]


@pytest.mark.parametrize("template", [QWEN3, OPENING])
def test_without_thinking_answers_begin_after_the_empty_block(template):
    settings = InputSettings(chat_template_kwargs={"enable_thinking": False})
    talk = join_rows([from_record(record(0, None, "what?", "red"))], [0])
    collator = Collator(build_processor(template), None, settings)
    batch = collator([talk])
    before = collator.processor.tokenizer.decode(batch["input_ids"][0][batch["owners"][0] < 0])
    assert before.startswith("<|im_start|>user\nwhat?<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n")
    assert check_masks(collator, [talk]).gaps == ()
    # Where the prompt does not close the block, the model would reason first: the difference is named.
    fed, trained = {
        QWEN3: ("<|im_start|>assistant\n", "<|im_start|>assistant\n<think>\n\n</think>\n\n"),
        OPENING: ("<think>\n", "<think>\n\n</think>\n\n"),
    }[template]
    assert check_masks(Collator(build_processor(template), None), [talk]).gaps == ((fed, trained),)


def test_early_turns_lose_their_reasoning():
    """Reasoning before a later question is dropped: such an answer is refused, unless it is context only."""
    with pytest.raises(UserError, match="leaves out the reasoning of answer 1; mark the answer with loss: false"):
        labels(QWEN3, THOUGHT, "blue")
    assert labels(CHATML, THOUGHT, "blue") == [f"{THOUGHT}<|im_end|>", "blue<|im_end|>"]
    row = {"id": "a", "messages": [
        {"role": "user", "content": "what?"}, {"role": "assistant", "content": THOUGHT, "loss": False},
        {"role": "user", "content": "and?"}, {"role": "assistant", "content": THOUGHT},
    ]}  # fmt: skip
    collator = Collator(build_processor(QWEN3), None)
    batch = collator([join_rows([from_record(row)], [0])])
    assert collator.processor.tokenizer.decode(batch["labels"][0][batch["owners"][0] == 0]) == f"{THOUGHT}<|im_end|>"
    assert batch["owners"].max() == 0


@pytest.mark.parametrize("reasoning", ["It is red.", "  It is\n\nred. \n"])
def test_fields_and_blocks_are_the_same(reasoning):
    """``reasoning_content`` in a row, beside a text or a list of parts, and a block in its text."""
    for content in ("red", [{"type": "text", "text": "red"}]):
        row = {"id": "a", "messages": [
            {"role": "user", "content": "what?"},
            {"role": "assistant", "content": content, "reasoning_content": reasoning},
        ]}  # fmt: skip
        for template in (CHATML, QWEN3):
            collator = Collator(build_processor(template), None)
            batch = collator([join_rows([from_record(row)], [0])])
            text = collator.processor.tokenizer.decode(batch["labels"][0][batch["owners"][0] == 0])
            assert text.split() == ["<think>", "It", "is", "red.", "</think>", "red<|im_end|>"]


def test_reasoning_that_would_never_be_written_is_refused():
    with pytest.raises(UserError, match="so that none is written; change chat_template_kwargs"):
        labels(QWEN3, THOUGHT, chat_template_kwargs={"enable_thinking": False})
    # An empty block is what the prompt has already.
    assert labels(QWEN3, "<think>\n\n</think>\n\nred", chat_template_kwargs={"enable_thinking": False}) == [
        "red<|im_end|>"
    ]


def test_forms_are_found():
    forms = {name: template_form(build_processor(template), InputSettings()).reasoning for name, template in (
        ("chatml", CHATML), ("qwen3", QWEN3), ("opening", OPENING), ("deepseek", DEEPSEEK))}  # fmt: skip
    assert forms == {"chatml": "text", "qwen3": "field", "opening": "field", "deepseek": "dropped"}


@pytest.fixture
def folder(tmp_path):
    Image.new("RGB", (16, 16), (250, 0, 0)).save(tmp_path / "a.png")
    return tmp_path


def checked(folder, template, records, **options):
    rows = open_rows(TrainRecipe(name="a", model="m", data=write_rows(folder / "rows.jsonl", records)))
    result = check_rows(
        rows, build_processor(template), max_length=999, max_reject=1.0, workers=0, rejects=folder / "rejects.jsonl",
        **{"settings": InputSettings(), "sample_answers": False, **options},
    )  # fmt: skip
    return rows, result, [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]


def test_rows_are_rejected_before_a_run(folder):
    """The row among forty that ended a run at its tenth step."""
    records = [record(number, "a.png", "<image>\nwhat?", "red") for number in range(12)]
    two = [{"from": "user", "value": "what?"}, {"from": "assistant", "value": THOUGHT}] * 2
    records[7] = {**records[7], "conversations": two}
    records[9] = record(9, "a.png", "<image>\nwhat?", "a </think> in words")
    _, result, rejects = checked(folder, QWEN3, records)
    assert [(line["sample_id"], line["reason"]) for line in rejects] == [(records[7]["id"], "reasoning_not_shown")]
    _, result, rejects = checked(folder, DEEPSEEK, records)
    assert {line["sample_id"]: line["reason"] for line in rejects} == {
        records[7]["id"]: "reasoning_not_shown", records[9]["id"]: "answer_not_shown"
    }  # fmt: skip
    assert "the reasoning of answer 1" in rejects[0]["detail"] and "chat_template" in rejects[0]["detail"]
    assert len(result.accepted.row) == 10


def test_every_drawn_answer_is_located(folder):
    row = record(0, "a.png", "<image>\nwhat?", "red", answers=["red", "a </think> b"])
    assert not checked(folder, DEEPSEEK, [row, record(1, "a.png", "q", "a")])[2]
    rejects = checked(folder, DEEPSEEK, [row, record(1, "a.png", "q", "a")], sample_answers=True)[2]
    assert [line["reason"] for line in rejects] == ["answer_not_shown"]


def test_rows_that_cannot_come_before_a_question_are_not_joined(folder):
    """Each alone is fine; before a later question the template drops the reasoning."""
    thinking = record(0, "a.png", "<image>\nwhat?", THOUGHT)
    plain = [record(number, "a.png", "<image>\nwhat?", "red") for number in (1, 2)]
    rows, result, rejects = checked(folder, QWEN3, [thinking, *plain], joined=True)
    assert not rejects and result.accepted.group.tolist() == [-1, 0, 0]
    collator = Collator(build_processor(QWEN3), folder)
    collator([join_rows([rows[1], rows[2]], [1, 2])])
    assert checked(folder, CHATML, [thinking, *plain], joined=True)[1].accepted.group.tolist() == [0, 0, 0]


def test_a_drawn_answer_keeps_the_reasoning():
    sample = from_record(record(0, None, "what?", THOUGHT))
    assert with_answer(sample, "crimson").answer == "<think>\nIt is red.\n</think>\n\ncrimson"
    assert with_answer(sample, "<think>x</think>crimson").answer == "<think>x</think>crimson"
    assert with_answer(from_record(record(0, None, "what?", "red")), "crimson").answer == "crimson"


def test_an_error_while_training_names_the_row(folder):
    talk = join_rows([from_record(record(3, "a.png", "<image>\nwhat?", THOUGHT))], [3])
    with pytest.raises(UserError, match=r"row toy/train/3: a.png: the chat template leaves out the reasoning"):
        Collator(build_processor(DEEPSEEK), folder)([talk])


@pytest.mark.parametrize("name", ["enable_thinkng", "messages"])
def test_a_variable_that_the_template_does_not_read(folder, name):
    settings = InputSettings(chat_template_kwargs={name: False})
    with pytest.raises(UserError, match=f"reads no variable '{name}'"):
        checked(folder, QWEN3, [record(0, None, "q", "a")], settings=settings)


def test_preview_says_what_is_trained_of_reasoning_and_calls(folder):
    from finetune.report.preview import _beside_text, tokens_of
    from tests.finetune.data.test_tools import SHAREGPT, TOOLS

    def beside(template, row, **settings):
        rows = open_rows(TrainRecipe(name="a", model="m", data=write_rows(folder / "rows.jsonl", [row])))
        collator = Collator(build_processor(template), folder, InputSettings(**settings))
        return _beside_text([tokens_of(collator, rows, join_rows([rows[0]], [0]))])

    thinking = record(0, None, "what?", THOUGHT)
    assert beside(QWEN3, thinking) == ", reasoning in 1 answers: trained"
    assert beside(QWEN3, thinking, train_reasoning=False) == ", reasoning in 1 answers: not trained"
    assert beside(QWEN3, record(0, None, "what?", "red")) == ""
    assert beside(TOOLS, SHAREGPT) == ", calls of tools trained: 1"


# As LFM2.5: what comes before </think> is cut from the text of an answer once a question follows it.
LATER = CHATML.replace(
    "{{ b['text'] }}", "{{ b['text'] if loop.last and m == messages[-1] else b['text'].split('</think>')[-1] }}"
)


@pytest.mark.parametrize("template", [CHATML, QWEN3, OPENING, DEEPSEEK, LATER])
@pytest.mark.parametrize("answers", ["first", "sampled"])
def test_whatever_is_accepted_collates(folder, template, answers):
    """All conversations of two epochs, up to three questions about an image in each and answers drawn."""
    texts = ["red", THOUGHT, "</think>", "a </think> b", "<think>", "<think>never closed", "<think></think>red",
             " red \n", "user", "<think>a</think><think>b</think>c", THOUGHT + THOUGHT]  # fmt: skip
    records = [record(n, "a.png", "<image>\nwhat?", text, answers=[text, *texts[n:]]) for n, text in enumerate(texts)]
    records += [{**record(20 + n, "a.png", "", ""), "conversations": [
        {"from": "user", "value": "what?"}, {"from": "assistant", "value": text},
        {"from": "user", "value": "and?"}, {"from": "assistant", "value": "blue"},
    ]} for n, text in enumerate(texts)]  # fmt: skip
    rows, result, rejects = checked(folder, template, records, joined=True, sample_answers=answers == "sampled")
    assert len(result.accepted.row) + len(rejects) == len(records) and len(result.accepted.row) > 1
    recipe = TrainRecipe(
        name="a",
        model="m",
        data=folder / "rows.jsonl",
        questions_per_image=3,
        epochs=2,
        answers=answers,
        max_length=999,
    )
    schedule = schedule_of(recipe, rows, result.accepted, 0, recipe.resolved_stages()[0])
    collator = Collator(build_processor(template), folder)
    assert any(len(schedule[place].rows) > 1 for place in range(len(schedule)))
    check_masks(collator, (schedule[place] for place in range(len(schedule))))
