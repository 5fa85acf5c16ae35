"""Rules of benchmarks and tools, against what their own code reads: MMMU bb0b95a and VLMEvalKit e8e78f0."""

import pytest

from evalsuite.reading.choice_rules import parse_choice

OPTIONS = ["blue", "red", "green", "a red dog"]
PEERS = [  # reply, mmmu-pro/evaluate.py without its draws, can_infer
    ("Answer: B", "B", "B"),
    ("E. Maritime Temperate climate", None, None),
    ("I'm sorry, I can't help with that.", None, None),
    ("The answer is (C). Answer: D", "D", None),
    ("D. 14.8 A", "A", None),
    ("The correct answer is **B**. Here's why: A is wrong.", "A", "B"),
    ("red", None, "B"),
    ("A red dog", "A", "A"),
    ("b", None, None),
    ("Answer: A or B", "B", None),
    ("B, because", None, "B"),
    ("none of these", None, None),
    ("The dog is RED in the picture we see here", "D", "B"),
    ("FAILED after 3 tries", "D", None),
    ("Answer: the C one", "C", "C"),
    ("(A) and (D)", "D", None),
]


@pytest.mark.parametrize(("reply", "mmmu_pro", "vlmevalkit"), PEERS)
def test_the_rules_read_what_their_own_code_reads(reply: str, mmmu_pro: str | None, vlmevalkit: str | None) -> None:
    assert parse_choice(reply, OPTIONS, variant="mmmu-pro") == mmmu_pro
    assert parse_choice(reply, OPTIONS, variant="vlmevalkit") == vlmevalkit
    assert parse_choice(reply, OPTIONS, variant="mmmu-pro-official", key="7") in (
        [mmmu_pro] if mmmu_pro else list("ABCD")
    )
