"""Where the answers are in a rendered chat."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.data import chat, spans
from finetune.data.chat import TrainingConversation, can_join, join_rows
from tests.finetune.toys import CHATML, build_processor, record
from winnow.errors import UserError
from winnow.rows.records import Turn, from_record
from winnow.vlm.inputs import InputSettings

TRIMMING = CHATML.replace("b['text']", "b['text'] | trim")
# Writes something into old turns that is not there when they are last, as reasoning models do.
REWRITING = CHATML.replace(
    "{{ m['role'] }}\n", "{{ m['role'] }}\n{% if m['role'] == 'assistant' and not loop.last %}(old) {% endif %}"
)
NO_STOP = CHATML.replace("<|im_end|>", "")
DROPPING = CHATML.replace("{% for m in messages %}", "{% for m in messages if m['role'] != 'assistant' %}")
SHOUTING = CHATML.replace("b['text']", "b['text'] | upper")


def conversation(
    *pairs: tuple[str, str], images: tuple[str, ...] = (), system: str | None = None
) -> TrainingConversation:
    turns = [Turn("system", system)] if system else []
    for question, answer in pairs:
        turns += [Turn("user", question), Turn("assistant", answer)]
    return TrainingConversation(tuple(turns), images, tuple(range(len(pairs))))


def trained(template: str, talk: TrainingConversation) -> list[str]:
    found = spans.render_with_spans(build_processor(template), talk, InputSettings())
    return [found.text[slice(*span)] for span in found.spans]


@pytest.mark.parametrize("template", [CHATML, TRIMMING, REWRITING], ids=["chatml", "trimming", "rewriting"])
def test_answers_and_stop_tokens(template):
    talk = conversation(
        ("red?", "yes"), ("blue?", "yes"), ("yes?", "no"), images=("a.png",), system="Answer yes or no."
    )
    assert trained(template, talk) == ["yes<|im_end|>", "yes<|im_end|>", "no<|im_end|>"]


@pytest.mark.parametrize("template", [CHATML, REWRITING], ids=["chatml", "rewriting"])
def test_an_answer_with_loss_false_is_read_but_not_trained(template):
    turns = [("user", "red?"), ("assistant", "yes", False), ("user", "blue?"), ("assistant", "no", True)]
    rows = [{"role": role, "content": text, **({"loss": loss[0]} if loss else {})} for role, text, *loss in turns]
    talk = join_rows([from_record({"messages": rows})], [7])
    assert trained(template, talk) == ["no<|im_end|>"]
    assert talk.rows == (7,)


def test_trimmed_answers():
    assert trained(TRIMMING, conversation(("red?", "  yes \n"))) == ["yes<|im_end|>"]


def test_missing_stop_token_is_reported():
    found = spans.render_with_spans(build_processor(NO_STOP), conversation(("red?", "yes")), InputSettings())
    assert found.stops == (False,)
    assert found.text[slice(*found.spans[0])] == "yes"


@pytest.mark.parametrize("template", [DROPPING, SHOUTING], ids=["dropping", "shouting"])
def test_a_template_that_changes_answers_is_refused(template):
    with pytest.raises(UserError, match=r"does not show answer 1 \('yes'\)"):
        trained(template, conversation(("red?", "yes")))


def test_no_template():
    with pytest.raises(UserError, match="has no chat template"):
        trained(None, conversation(("red?", "yes")))


WORDS = st.text("ab <>|\nSENTIL0é", min_size=1, max_size=12).filter(lambda text: text.strip())


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(WORDS, WORDS), min_size=1, max_size=4))
def test_all_ways_to_find_spans_agree(pairs):
    """The fast way (all answers replaced at once) against one render per answer, and against partial chats."""
    made = spans._Chat.of(build_processor_once(), conversation(*pairs), InputSettings())
    numbers = [2 * number + 1 for number in range(len(pairs))]
    fast = spans._spans_from_one_render(made, numbers)
    assert fast == {number: spans._span_from_own_render(made, number) for number in numbers}
    assert [made.text[slice(*fast[number])] for number in numbers] == [answer for _, answer in pairs]
    for number in numbers:
        start, end = spans._span_from_prompts(made, number)
        assert (start, end) == (fast[number][0], fast[number][1] + len("<|im_end|>"))


_built: list = []


def build_processor_once():
    if not _built:
        _built.append(build_processor())
    return _built[0]


@pytest.mark.parametrize(
    ("question", "images", "blocks"),
    [
        ("<image>\nred?", 1, ["image", "red?"]),
        ("red?", 2, ["image", "image", "red?"]),
        ("is <image> like <image> ?", 2, ["is", "image", "like", "image", "?"]),
        (" red? ", 0, [" red? "]),
    ],
)
def test_blocks(question, images, blocks):
    talk = conversation((question, "yes"), images=tuple("ab"[:images]))
    content = chat.to_messages(talk)[0]["content"]
    assert [block.get("text", block["type"]) for block in content] == blocks


def test_control_tokens(processor):
    tokens = chat.control_tokens(processor)
    assert {"<|im_start|>", "<|im_end|>", "<pad>"} <= tokens
    assert "<image>" not in tokens  # the marker, which has its own check


@pytest.mark.parametrize(
    ("question", "image", "expected"),
    [
        ("<image>\nwhat?", "a.png", True),
        ("what?", "a.png", True),
        ("what is in <image>?", "a.png", False),
        ("<image><image> same?", ["a.png", "b.png"], True),
        ("<image> or <image>?", ["a.png", "b.png"], False),
        ("what?", None, False),
    ],
)
def test_can_join(question, image, expected):
    assert can_join(from_record(record(0, image, question, "yes"))) is expected


def test_joined_questions_lose_their_markers():
    samples = [from_record(record(n, "a.png", f"<image>\nquestion {n}", f"answer {n}")) for n in range(2)]
    joined = join_rows(samples, [4, 7])
    assert [turn.value for turn in joined.turns] == ["question 0", "answer 0", "question 1", "answer 1"]
    assert joined.rows == (4, 7) and joined.images == ("a.png",)
