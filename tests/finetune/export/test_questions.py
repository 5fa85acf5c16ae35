"""The verdict on a loss: which way it runs, what decides, and when it is said to be unsettled."""

from __future__ import annotations

import pytest

from evalsuite.backends import Reply
from finetune.export.engines import engines
from finetune.export.pipeline import hint
from finetune.export.questions import accuracy_sentences, draw_questions, judge
from finetune.export.record import Accuracy, Agreement, Calibration, ExportRecord, TaskAccuracy
from finetune.selftest.toy import build_processor
from winnow.vlm.inputs import InputSettings


@pytest.fixture(scope="module")
def questions(colours_task):
    return draw_questions({str(colours_task): 30}, seed=0, processor=build_processor(), inputs=InputSettings())


def replies(questions, wrong: int) -> dict[str, Reply]:
    """The references, but for the first ``wrong`` rows."""
    (sample,) = questions.samples.values()
    said = {}
    for place, entry in enumerate(sample.asked):
        text = "nonsense" if place < wrong else entry.row.references[0]
        said[entry.request.key] = Reply(entry.request.key, text, "stop", 9, 1, 0.1)
    return said


def test_loss_is_the_share_of_rows_that_only_the_trained_model_has_right(questions):
    (sample,) = questions.samples.values()
    rows = len(sample.asked)
    found = judge(questions, replies(questions, 0), replies(questions, 6), max_loss=0.01, seed=0)
    (task,) = found.tasks
    assert task.loss == pytest.approx(6 / rows) and task.adapter == 1.0 and task.rows == rows
    assert (task.only_adapter, task.only_exported) == (6, 0)
    assert task.low < task.loss < task.high and not found.passed
    better = judge(questions, replies(questions, 6), replies(questions, 0), max_loss=0.01, seed=0)
    assert better.tasks[0].loss == pytest.approx(-6 / rows) and better.passed and better.settled
    same = judge(questions, replies(questions, 3), replies(questions, 3), max_loss=0.0, seed=0)
    assert same.tasks[0].loss == 0 and same.passed and same.settled


def accuracy(loss: float, low: float, high: float, max_loss: float) -> Accuracy:
    task = TaskAccuracy(
        task="t", metric="accuracy", adapter=0.9, exported=0.9 - loss, loss=loss, low=low, high=high, p=0.5, rows=1000,
        images=400, only_adapter=1, only_exported=1,
    )  # fmt: skip
    return Accuracy(tasks=[task], max_loss=max_loss, passed=loss <= max_loss, settled=not low <= max_loss < high)


def test_words_say_that_the_measured_loss_decides_and_what_the_interval_leaves_open():
    open_verdict = accuracy_sentences(accuracy(0.004, -0.003, 0.012, 0.01))
    assert "loss +0.4 points (95% interval -0.3 to +1.2)" in open_verdict[0]
    assert "no more than the 1 points" in open_verdict[1] and "reaches across the limit" in open_verdict[1]
    assert "loss 0.0 points (95% interval 0.0 to 0.0)" in accuracy_sentences(accuracy(-0.0, -0.0004, 0.0003, 0.01))[0]
    lost = accuracy_sentences(accuracy(0.05, 0.03, 0.07, 0.01))
    assert "more than the 1 points" in lost[1] and "across" not in lost[1]


def test_engines_are_told_by_their_rules():
    llava = ["LlavaForConditionalGeneration"]
    found = engines("gptq", llava, None, 32, "transformers 5.17.0")
    assert found["vllm"].accepts and found["lmdeploy"].accepts and not found["openvino"].accepts
    assert {name: engine.basis for name, engine in found.items()} == {
        "vllm": "rules", "lmdeploy": "rules", "openvino": "rules", "transformers": "run"
    }  # fmt: skip
    assert not engines("fp8", llava, None, None, "x")["lmdeploy"].accepts
    assert not engines("merged", ["NobodysModel"], None, None, "x")["vllm"].accepts
    openvino = engines("openvino-int4", llava, None, 32, "openvino 2026.4.1")
    assert openvino["openvino"].basis == "run" and not any(openvino[name].accepts for name in ("vllm", "lmdeploy"))


@pytest.mark.parametrize("method", ["gptq", "awq", "openvino-int4"])
def test_smaller_groups_are_proposed_only_to_larger_ones(method):
    of_groups = {
        size: hint(
            ExportRecord.model_construct(
                method=method, group_size=size, agreement=Agreement.model_construct(prompt_tokens=1.0),
                calibration=Calibration.model_construct(rows=64),
            )
        )
        for size in (32, 128)
    }  # fmt: skip
    assert "--group-size" not in of_groups[32] and "--group-size 32" in of_groups[128]
    assert "--to " in of_groups[32]
