"""Completions as servers of many kinds send them: text, thinking, how they ended, and what is no completion."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evalsuite.backends.completion import confidence, read_completion, storable
from evalsuite.backends.errors import Malformed, is_filtered
from evalsuite.backends.stop import cut_at_stop, opens_thinking, prompt_opens_thinking
from evalsuite.reading.strip import without_thinking


def body(finish: object = "stop", **message: object) -> str:
    return json.dumps({"choices": [{"message": message, "finish_reason": finish}]})


@pytest.mark.parametrize(
    ("text", "what"),
    [("", "not JSON"), ("[]", "no choices"), ('{"choices": [{}]}', "no message"), ('{"choices": 3}', "no choices"),
     ('{"error": {"message": "boom"}}', "boom"), ('{"choices": [{"message": {"content": 3}}]}', "no text"),
     ('{"choices": [{"message": {"content": "re"}, "finish_reason": "abort"}]}', "abort"),
     ("  <!DOCTYPE html><html>Sign in</html>", "web page.*login"), ('data: {"id": 1}\n\ndata: [DONE]', "streams")],
)  # fmt: skip
def test_answers_that_are_none_are_said_to_be(text: str, what: str) -> None:
    with pytest.raises(Malformed, match=what):
        read_completion(text)


@given(st.text(max_size=200))
def test_any_text_is_an_answer_or_malformed(text: str) -> None:
    try:
        found = read_completion(text)
    except Malformed:
        return
    assert found.finish_reason in ("stop", "length", "content_filter") and found.input_tokens >= 0


def test_parts_of_content_and_missing_usage_are_read() -> None:
    parts = [{"type": "text", "text": "a "}, {"type": "text", "text": "b"}]
    assert read_completion(body(None, content=parts)) == ("a b", "", "stop", 0, 0, (), None)
    assert read_completion(body("length", content=None)).finish_reason == "length"


@pytest.mark.parametrize(
    "message",
    [
        {"content": "red", "reasoning_content": "It is so."},
        {"content": "red", "reasoning": "It is so."},
        {"content": "red", "reasoning_details": [{"type": "reasoning.text", "text": "It is so."}]},
        {"content": "red", "reasoning_details": [{"type": "reasoning.summary", "summary": "It is so."}]},
        {"content": [{"type": "thinking", "thinking": [{"type": "text", "text": "It is so."}]},
                     {"type": "text", "text": "red"}]},
        {"content": [{"type": "reasoning", "text": "It is so."}, {"type": "text", "text": "red"}]},
    ],
)  # fmt: skip
def test_thinking_is_kept_apart_from_the_text(message: dict) -> None:
    found = read_completion(body(**message))
    assert (found.raw, found.reasoning) == ("red", "It is so.")


def test_thinking_alone_is_no_answer() -> None:
    for finish in ("length", "stop"):
        found = read_completion(body(finish, content=None, reasoning_content="The answer is red"))
        assert (found.raw, found.reasoning, found.finish_reason) == ("", "The answer is red", finish)


@pytest.mark.parametrize(
    ("given", "ours"),
    [(name, "stop") for name in ("end_turn", "eos_token", "STOP", "stop_sequence", "tool_calls", None, "new one")]
    + [(name, "length") for name in ("length", "MAX_TOKENS", "max_tokens", "model_length", "FinishReason.MAX_TOKENS")]
    + [(name, "content_filter") for name in ("content_filter", "SAFETY", "PROHIBITED_CONTENT", "RECITATION", "refusal",
                                             "guardrail_intervened", "sensitive")],
)  # fmt: skip
def test_finish_reasons_of_other_providers(given: object, ours: str) -> None:
    found = read_completion(body(given, content="red"))
    assert (found.raw, found.finish_reason) == ("red", ours)


@pytest.mark.parametrize(
    ("error", "filtered"),
    [
        ({"error": {"message": "filtered", "code": "content_filter"}}, True),
        ({"error": {"message": "x", "code": "400", "innererror": {"code": "ResponsibleAIPolicyViolation"}}}, True),
        ({"error": {"message": "x", "code": "data_inspection_failed"}}, True),
        ({"code": "DataInspectionFailed", "message": "x"}, True),
        ({"error": {"message": "x", "code": "InputImageSensitiveContentDetected"}}, True),
        ({"error": {"message": "Your input was flagged", "code": 403}}, True),
        ({"error": {"message": "The prompt was blocked: PROHIBITED_CONTENT", "status": "INVALID_ARGUMENT"}}, True),
        ({"error": {"message": "Your request was rejected as a result of our safety system."}}, True),
        ({"error": {"message": "Output blocked by content filtering policy"}}, True),
        ({"error": {"code": "1301", "message": "系统检测到输入内容可能包含不安全或敏感内容"}}, True),
        ({"error": {"message": "maximum context length is 4096 tokens", "code": 400}}, False),
        ({"error": {"message": "Unsupported parameter: 'seed'", "type": "invalid_request_error"}}, False),
        ("no JSON", False),
    ],
)
def test_filters_of_providers_are_told_from_other_errors(error: object, filtered: bool) -> None:
    assert is_filtered(error) is filtered


def test_a_blocked_prompt_in_an_answer_is_refused() -> None:
    gemini = read_completion(json.dumps({"choices": [], "promptFeedback": {"blockReason": "SAFETY"}}))
    assert (gemini.raw, gemini.finish_reason) == ("", "content_filter") and "SAFETY" in (gemini.note or "")
    with pytest.raises(Malformed, match="overloaded"):
        read_completion(json.dumps({"error": {"message": "upstream overloaded", "code": 503}}))


def test_lone_surrogates_are_replaced_and_counted() -> None:
    found = read_completion('{"choices": [{"message": {"content": "cat \\ud83d \\ud83d\\ude00\\u0000"}}]}')
    assert found.raw == "cat \ufffd \U0001f600\0"
    assert found.note == "lone surrogates replaced by U+FFFD: 1"


@given(st.text(st.characters(codec=None), max_size=50))
def test_every_text_can_be_stored(text: str) -> None:
    kept, lost = storable(text)
    kept.encode()
    assert lost == 0 or "\ufffd" in kept


def test_confidence_is_that_of_the_answer_alone() -> None:
    tokens = [("<think>", -3.0), ("hm", -2.0), ("</think>", -1.0), ("\n\n", -1.0), ("red", math.log(0.5)),
              (" car", math.log(0.5)), ("\n", -1.0), ("more", -9.0)]  # fmt: skip
    assert confidence(tokens, ["\n"]) == pytest.approx(0.25)
    assert confidence(tokens[4:6]) == pytest.approx(0.25)
    assert confidence([]) is None and confidence(tokens[:2]) is None


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("red\nmore", "red"),
        ("\nred\nmore", "\nred"),
        ("<think>\na\n</think>\n\nred\nmore", "<think>\na\n</think>\n\nred"),
        ("a\nb</think>\nred\nmore", "a\nb</think>\nred"),
        ("<think>\na\nb", "<think>\na\nb"),
        ("◁think▷a\nb◁/think▷red\n", "◁think▷a\nb◁/think▷red"),
        ("<reasoning>a\nb</reasoning>red\nc", "<reasoning>a\nb</reasoning>red"),
        ("<seed:think>a\nb", "<seed:think>a\nb"),
        ("<|channel|>analysis<|message|>a\nb", "<|channel|>analysis<|message|>a\nb"),
        (
            "<|channel|>analysis<|message|>a\nb<|end|><|start|>assistant<|channel|>final<|message|>red\nc",
            "<|channel|>analysis<|message|>a\nb<|end|><|start|>assistant<|channel|>final<|message|>red",
        ),
        ("<|channel|>final<|message|>red\nc", "<|channel|>final<|message|>red"),
    ],
)
def test_stop_texts_count_behind_the_thinking(text: str, cut: str) -> None:
    assert cut_at_stop(text, ("\n",)) == (cut, cut != text)


@pytest.mark.parametrize(
    "mark", ["<think>", "<thought>", "<seed:think>", "◁think▷", "[THINK]", "<|begin_of_thought|>", "<unused94>"]
)
def test_every_thinking_mark_that_is_taken_off_protects_from_stop_texts(mark: str) -> None:
    assert without_thinking(f"{mark}a\nb") == "" and opens_thinking(f"\n{mark}a")
    assert prompt_opens_thinking(f"<|assistant|>\n{mark}\n") and not prompt_opens_thinking(f"{mark} a")
    assert cut_at_stop("a\nb", ("\n",), opened=True) == ("a\nb", False)
