"""Rows with tools: calls and answers are trained, results are read, and what a template does not show is refused."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from finetune.data.chat import join_rows, to_messages
from finetune.data.collate import Collator, check_masks
from finetune.data.preflight import check_rows
from finetune.data.row_form import form_problem
from finetune.data.rows import open_rows
from finetune.data.spans import render_with_spans
from finetune.data.template import template_form
from finetune.recipe import TrainRecipe
from tests.finetune.toys import CHATML, build_processor, build_tokenizer, record, write_rows
from winnow.errors import UserError
from winnow.rows.records import from_record, to_record
from winnow.vlm.inputs import InputSettings

# As Qwen3-VL: definitions in the system's turn, calls and results between tags, a result as the user's turn.
TOOLS = (
    "{% if tools %}<|im_start|>system\n{% for tool in tools %}{{ tool | tojson }}\n{% endfor %}<|im_end|>\n{% endif %}"
    "{% for m in messages %}<|im_start|>{{ 'user' if m['role'] == 'tool' else m['role'] }}\n"
    "{% if m['role'] == 'tool' %}<tool_response>\n{% endif %}"
    "{% if m['content'] is string %}{{ m['content'] }}{% else %}BLOCKS{% endif %}"
    "{% if m['role'] == 'tool' %}{{ '\n' }}</tool_response>{% endif %}{% for call in m.tool_calls or [] %}"
    "{% if m['content'] or not loop.first %}{{ '\n' }}{% endif %}<tool_call>\n{{ call.function | tojson }}\n"
    "</tool_call>{% endfor %}<|im_end|>\n{% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
).replace("BLOCKS", CHATML[CHATML.index("{% for b") : CHATML.index("<|im_end|>")])
# As Gemma 4: results are written into the message that called.
INSIDE = (
    "{% for tool in tools or [] %}[tool {{ tool.function.name }}]{% endfor %}"
    "{% for m in messages if m.role != 'tool' %}{% set ns = namespace(result='') %}{% if m.tool_calls %}"
    "{% for other in messages if other.role == 'tool' %}{% set ns.result = other.content %}{% endfor %}{% endif %}"
    "{% if not loop.previtem or not loop.previtem.tool_calls %}<|im_start|>{{ m['role'] }}\n{% endif %}"
    "{{ m['content'][0]['text'] if m['content'] is not string else m['content'] }}"
    "{% for call in m.tool_calls or [] %}[call {{ call.function.name }} {{ call.function.arguments | tojson }}]"
    "{% endfor %}{% if ns.result %}[result {{ ns.result }}]{% elif m.tool_calls %}[result"
    "{% else %}<|im_end|>\n{% endif %}{% endfor %}"
    "{% if add_generation_prompt and messages[-1].role != 'tool' %}<|im_start|>assistant\n{% endif %}"
)
ZOOM = {"name": "zoom", "description": "Looks closer.", "parameters": {"type": "object", "properties": {}}}
CALL = {"name": "zoom", "arguments": {"box": [1, 2.5], "why": 'is it "red"?'}}
SHAREGPT = {
    "id": "t/0", "tools": json.dumps([ZOOM]), "conversations": [
        {"from": "human", "value": "what?"}, {"from": "function_call", "value": json.dumps(CALL)},
        {"from": "observation", "value": "a red patch"}, {"from": "gpt", "value": "red"},
    ],
}  # fmt: skip
OPENAI = {
    "id": "t/1", "tools": [{"type": "function", "function": ZOOM}], "messages": [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": None, "tool_calls": [
            {"id": "a", "type": "function", "function": {**CALL, "arguments": json.dumps(CALL["arguments"])}}]},
        {"role": "tool", "tool_call_id": "a", "content": "a red patch"}, {"role": "assistant", "content": "red"},
    ],
}  # fmt: skip
PARALLEL = {
    "id": "t/2", "tools": [ZOOM], "messages": [
        {"role": "user", "content": "what?"},
        {"role": "assistant", "content": "I look.", "tool_calls": [{"function": CALL}, {"function": CALL}]},
        {"role": "tool", "content": "a red patch"}, {"role": "tool", "content": "another"},
        {"role": "assistant", "content": "red"},
    ],
}  # fmt: skip


def labels(template: str, row: dict) -> tuple[list[str], str]:
    """The decoded labels of each answer, and the text that is not trained."""
    collator = Collator(build_processor(template), None)
    talk = join_rows([from_record(row)], [0])
    check_masks(collator, [talk])
    batch = collator([talk])
    owners, ids, decode = batch["owners"][0], batch["input_ids"][0], collator.processor.tokenizer.decode
    return [decode(ids[owners == n]) for n in range(int(owners.max()) + 1)], decode(ids[owners < 0])


@pytest.mark.parametrize("row", [SHAREGPT, OPENAI], ids=["ShareGPT", "OpenAI"])
def test_calls_and_answers_are_trained_and_results_are_not(row):
    trained, rest = labels(TOOLS, row)
    assert trained == [f"<tool_call>\n{json.dumps(CALL)}\n</tool_call><|im_end|>", "red<|im_end|>"]
    assert '"name": "zoom", "description": "Looks closer."' in rest
    assert "<tool_response>\na red patch\n</tool_response>" in rest


def test_text_before_several_calls():
    trained, rest = labels(TOOLS, PARALLEL)
    call = f"\n<tool_call>\n{json.dumps(CALL)}\n</tool_call>"
    assert trained == [f"I look.{call}{call}<|im_end|>", "red<|im_end|>"]
    assert rest.count("<tool_response>") == 2


def test_results_inside_the_message_that_called():
    trained, rest = labels(INSIDE, SHAREGPT)
    assert trained == [f"[call zoom {json.dumps(CALL['arguments'])}][result", "red<|im_end|>"]
    assert "a red patch]" in rest


def test_a_call_as_text_is_trained_as_written():
    row = {**SHAREGPT, "conversations": [{"from": "user", "value": "what?"}, {"from": "gpt", "value": "<tool_call>x"}]}
    trained, rest = labels(TOOLS, row)
    assert trained == ["<tool_call>x<|im_end|>"] and "Looks closer." in rest


def test_results_know_their_calls():
    messages = to_messages(join_rows([from_record(PARALLEL)], [0]))
    made = [call["id"] for call in messages[1]["tool_calls"]]
    assert [message["tool_call_id"] for message in messages[2:4]] == made and len(set(made)) == 2
    assert {message["name"] for message in messages[2:4]} == {"zoom"}


@pytest.mark.parametrize("row", [SHAREGPT, OPENAI, PARALLEL])
def test_rows_read_by_curation_are_the_same(row):
    sample = from_record(row)
    assert join_rows([from_record(to_record(sample))], [0]) == join_rows([sample], [0])


def test_an_image_in_a_result(tmp_path):
    """Shown by a template that takes blocks there; else the row is refused, as it would end the run."""
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    row = {**SHAREGPT, "image": "a.png"}
    row["conversations"] = [*row["conversations"][:2], {"from": "observation", "value": "<image> red"},
                            row["conversations"][3]]  # fmt: skip
    collator = Collator(build_processor(TOOLS), tmp_path)
    batch = collator([join_rows([from_record(row)], [0])])
    assert batch["pixel_values"].shape[0] == 1 and batch["owners"].max() == 1
    template = TOOLS.replace(
        "{% if b['type'] == 'image' %}<image>", "{% if b['type'] == 'image' and m.role == 'user' %}<image>"
    )
    template = template.replace("{% else %}{{ b['text'] }}", "{% elif b['type'] == 'text' %}{{ b['text'] }}")
    with pytest.raises(UserError, match="does not show files in the result"):
        Collator(build_processor(template), tmp_path)([join_rows([from_record(row)], [0])])


def test_weights_are_not_dropped():
    messages = [{"role": "user", "content": "q"}, {"role": "assistant", "content": "a", "loss_weight": 0.5}]
    assert form_problem(from_record({"id": "x", "messages": messages}), frozenset())[0] == "weighted_answer"
    messages[1]["loss_weight"] = 1
    assert form_problem(from_record({"id": "x", "messages": messages}), frozenset()) is None


def talk(*turns: tuple[str, str]) -> dict:
    return {"id": "x", "conversations": [{"from": name, "value": text} for name, text in turns]}


REJECTED = {
    "tools_not_shown": (CHATML, SHAREGPT),
    "tool_call": (TOOLS, talk(("user", "q"), ("function_call", "zoom()"), ("observation", "r"), ("gpt", "a"))),
    "tools": (TOOLS, {**SHAREGPT, "tools": "zoom"}),
    "answer_not_shown": (TOOLS.replace("m.tool_calls or []", "(m.tool_calls or [])[:1]"), PARALLEL),
    "turn_not_shown": (CHATML.replace("in messages %}", "in messages if m.role != 'system' %}"),
                       talk(("system", "be brief"), ("user", "q"), ("gpt", "a"))),
    "template_error": ("{{ raise_exception('no') if messages[0].role == 'system' }}" + CHATML,
                       talk(("system", "be brief"), ("user", "q"), ("gpt", "a"))),
}  # fmt: skip


@pytest.mark.parametrize("reason", REJECTED)
def test_what_a_template_does_not_show_is_rejected(reason, tmp_path):
    template, row = REJECTED[reason]
    rows = open_rows(
        TrainRecipe(name="a", model="m", data=write_rows(tmp_path / "r.jsonl", [row, record(1, None, "q", "a")]))
    )
    result = check_rows(
        rows, build_processor(template), settings=InputSettings(), max_length=999, max_reject=1.0, workers=0,
        sample_answers=False, rejects=tmp_path / "rejects.jsonl",
    )  # fmt: skip
    found = [json.loads(line) for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert [(line["sample_id"], line["reason"]) for line in found] == [(row["id"], reason)] and found[0]["detail"]
    assert result.accepted.row.tolist() == [1]


@pytest.mark.parametrize(
    ("turns", "reason"),
    [
        ([("user", "q"), ("function_call", "{}")], None),
        ([("user", "q"), ("function_call", "{}"), ("observation", "r")], "roles_do_not_alternate"),
        ([("user", "q"), ("observation", "r"), ("gpt", "a")], "roles_do_not_alternate"),
        ([("user", "q"), ("gpt", "a"), ("gpt", "b")], "roles_do_not_alternate"),
        ([("user", "q"), ("gpt", "a"), ("function_call", "{}"), ("observation", "r"), ("gpt", "b")], None),
        ([("user", "where is <bbox>?"), ("gpt", "a")], "unresolved_marker"),
        ([("user", "<ref-object>?"), ("gpt", "a")], "unresolved_marker"),
        ([("user", "<video> q"), ("gpt", "a")], "unresolved_marker"),
        ([("user", "q"), ("gpt", "hear <audio>")], "unresolved_marker"),
    ],
)
def test_forms(turns, reason):
    found = form_problem(from_record(talk(*turns)), frozenset())
    assert (found and found[0]) == reason


def test_unknown_roles_are_named(tmp_path):
    rows = open_rows(TrainRecipe(name="a", model="m", data=write_rows(tmp_path / "r.jsonl", [talk(("narrator", "x"))])))
    with pytest.raises(UserError, match="needs 'from', one of user, human"):
        rows[0]


def shipped() -> dict[str, str]:
    """The models' own templates, by file."""
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    files = (Path(trl.__file__).parent / "chat_templates").glob("*.jinja")
    return {file.name: file.read_text(encoding="utf-8") for file in files if "training" not in file.name}


THINKING = {"id": "r", "messages": [
    {"role": "user", "content": "what?"}, {"role": "assistant", "content": "red", "reasoning_content": "Warm."},
]}  # fmt: skip


@pytest.mark.slow
def test_the_templates_that_trl_ships():
    """Under each of them answers are found and nothing else, and calls and reasoning are or the row is refused."""
    words = build_tokenizer(bos_token="<pad>")
    shown = {"calls": 0, "reasoning": 0}
    templates = shipped()
    assert len(templates) > 30
    for name, template in templates.items():
        made = build_processor(template)
        made.tokenizer = words
        two = talk(("user", "what?"), ("gpt", "red"), ("user", "and?"), ("gpt", "blue"))
        assert spans(made, two) == ["red", "blue"], name
        thinking = {"chat_template_kwargs": {"enable_thinking": True}}
        if template_form(made, InputSettings(**thinking)).reasoning != "dropped":
            shown["reasoning"] += 1
            (answer,) = spans(made, THINKING, **thinking)
            assert "Warm." in answer and answer.endswith("red"), name
            assert spans(made, THINKING, train_reasoning=False, **thinking) == ["red"], name
        form = template_form(made, InputSettings())
        if form.calls and form.tools:
            shown["calls"] += 1
            call, answer = spans(made, SHAREGPT)
            assert answer == "red" and "zoom" in call and "red patch" not in call and "what?" not in call, name
        else:
            with pytest.raises(UserError, match="does not show"):
                spans(made, SHAREGPT)
    assert shown["calls"] > 15 and shown["reasoning"] > 25


def spans(processor, row, **settings) -> list[str]:
    chat = render_with_spans(processor, join_rows([from_record(row)], [0]), InputSettings(**settings))
    return [chat.text[slice(*span)].removesuffix("<|im_end|>").strip() for span in chat.spans]
