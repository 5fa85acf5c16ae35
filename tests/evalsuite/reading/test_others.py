"""Other readers of a task's replies, and when they need not be tried."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from evalsuite.reading import may_read_differently, other_readers
from evalsuite.reading.read import Extraction, read_answer

TASKS = [
    Extraction(kind="text", choices=[]),
    Extraction(kind="line", choices=[]),
    Extraction(kind="line", rule="verbatim", choices=[]),
    Extraction(kind="sentence", choices=[]),
    Extraction(kind="letter", choices=[]),
    Extraction(kind="letter", rule="mmmu", choices=[]),
    Extraction(kind="yes_no", choices=[]),
    Extraction(kind="choice", choices=["red", "yes"]),
    Extraction(kind="number", choices=[]),
    Extraction(kind="box", choices=[]),
    Extraction(kind="json", key="answer", choices=[]),
]
WORDS = ["Answer: B", "red", "yes", "\n", "<think>", "</think>", "**B**", ". ", "(A)", "12", "</s>", "The answer is ",
         "\\boxed{B}", "- ", "tiger", " ", "no", "答案：B", "$", "[1, 2, 3, 4]"]  # fmt: skip


def test_every_other_reader_is_another_one() -> None:
    for task in TASKS:
        readers = other_readers(task)
        assert readers and all(reader != task and reader.kind for reader in readers.values())
    assert {"thinking kept", "Markdown kept", "MMMU's rule"} <= other_readers(TASKS[4]).keys()
    assert "Winnow's reader" not in other_readers(TASKS[4]) and "Winnow's reader" in other_readers(TASKS[5])


@pytest.mark.parametrize("task", TASKS, ids=lambda task: f"{task.kind}-{task.rule}")
@given(raw=st.lists(st.sampled_from(WORDS), max_size=6).map("".join) | st.text(max_size=30))
@settings(max_examples=60, deadline=None)
def test_what_is_skipped_reads_the_same(task: Extraction, raw: str) -> None:
    options = ["lion", "tiger"]
    for name, other in other_readers(task).items():
        if not may_read_differently(raw, task, other):
            assert read_answer(raw, "stop", task, options) == read_answer(raw, "stop", other, options), name


def test_a_short_plain_answer_is_not_read_again() -> None:
    line = Extraction(kind="line", choices=[])
    tried = [name for name, other in other_readers(line).items() if may_read_differently("a dog", line, other)]
    assert tried == ["first sentence"]
