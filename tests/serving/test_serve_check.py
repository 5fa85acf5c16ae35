"""The verdict of a check: each cause alone fails it, and what a quantised export explains does not."""

from __future__ import annotations

from dataclasses import replace

import pytest

from finetune.export.parity import ServerParity
from finetune.export.record import Accuracy
from finetune.training.prompts import Prompt
from serving.check import Checked
from serving.image_tokens import ImageTokens, without_images
from serving.load import Timing, summary
from serving.report import card, load_sentences, sentences

ANSWERS = ServerParity("http://x/v1", "m", 4, 1.0, 1.0, [], 0, True)
LEVEL = summary(4, [Timing(0.1, 0.2, 5)] * 40, [0.5] * 40, 10.0, 10.0)
PASSED = Accuracy(tasks=[], max_loss=0.01, passed=True, settled=True)
GOOD = Checked("http://x/v1", "m", "run", ANSWERS, ImageTokens(4, 20, 20, []), None, PASSED, 0, [LEVEL])


def test_a_good_one_has_no_fault() -> None:
    assert GOOD.faults == [] and GOOD.to_json()["passed"]
    assert "It is the trained model." in card(GOOD) and "| 4 | 4.00 | 4.00 | 20.0 |" in card(GOOD)
    assert load_sentences([LEVEL])[0].endswith("failed 0 of 40; keeps up")
    assert any("20 tokens served, 20 trained" in sentence for sentence in sentences(GOOD))


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"answers": replace(ANSWERS, prompt_tokens=0.75)}, "another chat template or image settings"),
        ({"image_tokens": ImageTokens(4, 20, 24, [("a", 5, 9)])}, "images become another number of tokens"),
        ({"answers": replace(ANSWERS, answers=0.75, unexplained=1)}, "other weights"),
        ({"accuracy": PASSED.model_copy(update={"passed": False})}, "loses more than --max-loss"),
        ({"unanswered": 2}, "had no answer"),
    ],
)
def test_each_cause_alone_fails(changes: dict, words: str) -> None:
    bad = replace(GOOD, **changes)
    (fault,) = bad.faults
    assert words in fault and not bad.to_json()["passed"] and f"**{fault}**" in card(bad)


def test_lengths_that_a_server_does_not_report_fail_nothing() -> None:
    silent = replace(GOOD, answers=replace(ANSWERS, prompt_tokens=None), image_tokens=ImageTokens(0, 0, 0, []))
    assert silent.faults == [] and "not reported" in sentences(silent)[0]


def test_a_quantised_exports_answers_are_shown_and_decide_nothing() -> None:
    differing = replace(ANSWERS, answers=0.5, unexplained=2, differing=[("a", "red", "`blue`\n")])
    quantised = replace(GOOD, answers=differing, expected_answers=0.5)
    assert quantised.faults == [] and replace(quantised, expected_answers=None).faults
    assert "trained “red”, served “&#96;blue&#96;”" in card(quantised), "what a model says becomes no Markdown"
    assert any("itself had 50%" in sentence for sentence in sentences(quantised))


def test_a_prompt_keeps_its_words_without_images() -> None:
    turns = [{"speaker": "user", "value": "<image>\nwhat color?"}, {"speaker": "assistant", "value": "red"}]
    prompt = Prompt("a", turns, "/", ["a.png"], [], [1, 2], held_out=True)
    bare = without_images(prompt)
    assert bare.turns[0]["value"] == "what color?" and bare.images == [] and prompt.images == ["a.png"]
