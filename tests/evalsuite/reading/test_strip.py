"""What is taken off a reply before it is read."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.reading.strip import cut_at_stop, plain_words, without_special_tokens, without_thinking


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        ("<think>a</think>B", "B"),
        ("<THINK>\na\n</THINK>\n\nB", "\n\nB"),
        ("<thinking>a</thinking>B", "B"),
        ("<reasoning>a</reasoning>B", "B"),
        ("<seed:think>a</seed:think>B", "B"),
        ("◁think▷a◁/think▷B", "B"),
        ("[THINK]a[/THINK]B", "B"),
        ("<|begin_of_thought|>a<|end_of_thought|>B", "B"),
        ("<|START_THINKING|>a<|END_THINKING|>B", "B"),
        ("<unused94>thought\na<unused95>B", "B"),
        ("a</think>B", "B"),
        ("a◁/think▷B", "B"),
        ("<think>a<think>b</think>c</think>B", "B"),
        ("<think>a</think>B<think>c</think>", "B"),
        ("B<think>cut off", "B"),
        ("<think>cut off", ""),
        ("<think time='3'>a</think>B", "B"),
        ("<|channel|>analysis<|message|>a<|end|><|start|>assistant<|channel|>final<|message|>B", "B"),
        ("<|channel|>analysis<|message|>cut off", ""),
        ("analysisWe see a.assistantfinalB", "B"),
        ("I think <b>B</b>", "I think <b>B</b>"),
        ("[1, 2] < 3", "[1, 2] < 3"),
    ],
)
def test_thinking(reply: str, rest: str) -> None:
    assert without_thinking(reply) == rest


@pytest.mark.parametrize(
    ("reply", "rest"),
    [
        ("B<|im_end|>", "B"),
        ("B</s>", "B"),
        ("<s>B</s>", "B"),
        ("B<|eot_id|>", "B"),
        ("B<end_of_turn>\n", "B"),
        ("B<eos>", "B"),
        ("B<|endoftext|>", "B"),
        ("B<｜end▁of▁sentence｜>", "B"),
        ("<|im_start|>assistant\nB<|im_end|>", "B"),
        ("<|start_header_id|>assistant<|end_header_id|>\n\nB", "B"),
        ("B<|im_end|>\n<|im_start|>user\nA?", "B"),
        ("<|begin_of_box|>B<|end_of_box|>", "<|begin_of_box|>B<|end_of_box|>"),
        ("<b>B</b> [x]", "<b>B</b> [x]"),
    ],
)
def test_special_tokens(reply: str, rest: str) -> None:
    assert without_special_tokens(reply) == rest


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        ("**red**", "red"),
        ("*red*", "red"),
        ("__red__ and _blue_", "red and blue"),
        ("`red`", "red"),
        ("### Answer", "Answer"),
        ("- red\n- blue", "red\nblue"),
        ("```json\nred\n```", "red"),
        ("> red", "red"),
        ("\\text{red}", "red"),
        ("$12$", "12"),
        ("\\(12\\)", "12"),
        ("\\$5", "$5"),
        ("$5 and $10", "$5 and $10"),
        ("2*3*4", "2*3*4"),
        ("snake_case_name", "snake_case_name"),
        ("-5", "-5"),
        ("a * b", "a * b"),
        ("plain", "plain"),
    ],
)
def test_markdown(reply: str, words: str) -> None:
    assert plain_words(reply) == words


def test_a_stop_text_before_any_word_ends_nothing() -> None:
    assert cut_at_stop("\n\nred\nblue", ["\n"]) == "\n\nred"
    assert cut_at_stop("red", ["\n"]) == "red"


@given(st.text(alphabet="<>/|think[]THINK◁▷*_`$\\ #\n-ab", max_size=80))
def test_any_text_is_taken(reply: str) -> None:
    for change in (without_thinking, without_special_tokens, plain_words):
        assert isinstance(change(reply), str)
