"""Instruction tables, tables of preferences, and turns in columns.

The turns of ``PEERS`` are what LLaMA-Factory's AlpacaDatasetConverter (0.9.6.dev0, commit ff6d4d1) and ms-swift's
AlpacaPreprocessor (4.6.0.dev0, commit 3602360) made of these rows; ``None`` where the two differ.
"""

import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.readers import open_source
from curate.settings.sources import SourceSettings
from winnow.rows.records import BadRow

PEERS = [
    (
        {"instruction": "Translate.", "input": "Guten Tag", "output": "Good day"},
        [("user", "Translate.\nGuten Tag"), ("assistant", "Good day")],
    ),
    ({"instruction": "Say hi.", "input": "", "output": "hi"}, [("user", "Say hi."), ("assistant", "hi")]),
    ({"instruction": "", "input": "2+2?", "output": "4"}, [("user", "2+2?"), ("assistant", "4")]),
    (
        {"instruction": "And then?", "input": "", "output": "done", "system": "Be brief.",
         "history": [["q1", "a1"], ["q2", "a2"]]},
        [("system", "Be brief."), ("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2"),
         ("user", "And then?"), ("assistant", "done")],
    ),
]  # fmt: skip
# Only ms-swift reads a history that is written as text, and leaves out the missing half of a pair.
MS_SWIFT = [
    (
        {"instruction": "go", "input": "", "output": "x", "history": "[['q1', 'r1']]"},
        [("user", "q1"), ("assistant", "r1"), ("user", "go"), ("assistant", "x")],
    ),
    (
        {"instruction": "go", "input": "", "output": "x", "history": [["q1", None]]},
        [("user", "q1"), ("user", "go"), ("assistant", "x")],
    ),
]


def table(tmp_path, *rows, **options):
    path = tmp_path / "t.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)))
    return list(open_source(SourceSettings(location=str(path), **options)).rows())


def turns(sample):
    return [(turn.role, turn.value) for turn in sample.conversations]


@pytest.mark.parametrize(("row", "made"), PEERS + MS_SWIFT)
def test_instruction_tables_become_the_conversation_that_trainers_make_of_them(tmp_path, row, made):
    (sample,) = table(tmp_path, row)
    assert turns(sample) == made
    assert sample.unclaimed == () and sample.image == ()


def test_the_same_from_parquet_and_csv(tmp_path):
    rows = [row for row, _ in PEERS]
    path = tmp_path / "t.parquet"
    pq.write_table(pa.Table.from_pylist([{"system": None, "history": [], **row} for row in rows]), path)
    assert [turns(row) for row in open_source(SourceSettings(location=str(path))).rows()] == [made for _, made in PEERS]
    path = tmp_path / "t.csv"
    path.write_text("Instruction,Input,Output\nTranslate.,Guten Tag,Good day\nSay hi.,,hi\n")
    assert [turns(row) for row in open_source(SourceSettings(location=str(path))).rows()] == [PEERS[0][1], PEERS[1][1]]


@pytest.mark.parametrize(
    ("row", "made"),
    [
        ({"prompt": "q", "completion": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"input": "q", "output": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"problem": "q", "solution": "a"}, [("user", "q"), ("assistant", "a")]),
        ({"prompt": [{"role": "user", "content": "q"}], "completion": [{"role": "assistant", "content": "a"}]},
         [("user", "q"), ("assistant", "a")]),
        ({"prompt": [{"role": "system", "content": "s"}, {"role": "user", "content": "q"}]},
         [("system", "s"), ("user", "q")]),
    ],
)  # fmt: skip
def test_other_names_of_the_same(tmp_path, row, made):
    sample, _ = table(tmp_path, row, row)  # one object on one line may also be a document
    assert turns(sample) == made and sample.unclaimed == ()


@pytest.mark.parametrize("history", ["no list", [["q"]], [[1, 2]], {"q": "a"}])
def test_a_history_that_is_none_costs_its_row(tmp_path, history):
    (bad,) = table(tmp_path, {"instruction": "go", "output": "x", "history": history})
    assert isinstance(bad, BadRow) and bad.reason == "the history is not a list of pairs of texts"


USER, GOOD, BAD = (
    {"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "good"), ("assistant", "bad"))
)


@pytest.mark.parametrize(
    "row",
    [
        {"question": "q", "chosen": "good", "rejected": "bad"},
        {"prompt": "q", "chosen": "good", "rejected": "bad"},
        {"query": "q", "chosen_response": "good", "rejected_response": "bad"},
        {"instruction": "q", "output": "good", "rejected": "bad"},
        {"question": "q", "chosen": {"from": "gpt", "value": "good"}, "rejected": {"from": "gpt", "value": "bad"}},
        {"prompt": [USER], "chosen": [GOOD], "rejected": [BAD]},
        {"prompt": "q", "chosen": [USER, GOOD], "rejected": [USER, BAD]},
        {"chosen": [USER, GOOD], "rejected": [USER, BAD]},
    ],
)
def test_preferences_end_with_the_chosen_answer_and_keep_the_rejected_one(tmp_path, row):
    (sample,) = table(tmp_path, {"image": "a.jpg", **row})
    assert turns(sample) == [("user", "q"), ("assistant", "good")]
    assert sample.meta == {"rejected": "bad"}
    assert (sample.image, sample.unclaimed) == (("a.jpg",), ())


def test_a_rejected_conversation_is_kept_whole(tmp_path):
    other = [USER, BAD, {"role": "user", "content": "why?"}, {"role": "assistant", "content": "because"}]
    (sample,) = table(tmp_path, {"chosen": [USER, GOOD], "rejected": other})
    assert turns(sample) == [("user", "q"), ("assistant", "good")]
    assert sample.meta == {"rejected_messages": other}


def test_a_question_that_the_conversation_does_not_begin_with_is_named(tmp_path):
    (sample,) = table(tmp_path, {"prompt": "another", "chosen": [USER, GOOD], "rejected": [USER, BAD]})
    assert turns(sample) == [("user", "q"), ("assistant", "good")]
    assert (sample.unclaimed, sample.meta["prompt"]) == (("prompt",), "another")


def test_media_tools_and_labels_keep_one_name(tmp_path):
    row = {
        "prompt": "q", "completion": "a", "label": False, "video": "v.mp4", "audios": ["a.wav"], "tools": "[]",
        "objects": {"ref": ["x"], "bbox": [[1, 2, 3, 4]]},
    }  # fmt: skip
    (sample,) = table(tmp_path, row)
    assert sample.meta == {
        "label": False, "videos": ["v.mp4"], "audios": ["a.wav"], "tools": "[]", "objects": row["objects"],
    }  # fmt: skip
    assert sample.unclaimed == ()


def test_images_that_turns_name_themselves(tmp_path):
    parts = [{"type": "image", "image": "a.jpg"}, {"type": "text", "text": "q"}]
    (sample,) = table(tmp_path, {"prompt": [{"role": "user", "content": parts}], "completion": [GOOD]})
    assert (sample.image, turns(sample)[0]) == (("a.jpg",), ("user", "<image>q"))


def test_questions_and_answers_in_one_column(tmp_path):
    pairs = [{"question": "q1", "answer": "a1"}, {"question": "q2", "answer": "a2"}]
    several, single = table(tmp_path, {"image": "a.jpg", "qa_pairs": pairs}, {"image": "b.jpg", "qa": pairs[1], "n": 1})
    assert turns(several) == [("user", "q1"), ("assistant", "a1"), ("user", "q2"), ("assistant", "a2")]
    assert turns(single) == [("user", "q2"), ("assistant", "a2")]
    assert (several.unclaimed, single.unclaimed) == ((), ("n",))
