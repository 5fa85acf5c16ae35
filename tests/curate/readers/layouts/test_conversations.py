"""LLaVA, ShareGPT and ms-swift in every published spelling: read, and written back value for value."""

import io
import json

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from curate.readers import detect, open_source
from curate.settings.sources import SourceSettings
from tests.curate.readers.published import save, save_lines
from winnow.errors import UserError
from winnow.rows.records import from_record, to_original

LLAVA = {
    "id": "000000033471",
    "image": "coco/train2017/000000033471.jpg",
    "conversations": [
        {"from": "human", "value": "<image>\nWhat are the colors of the bus in the image?"},
        {"from": "gpt", "value": "The bus in the image is white and red."},
        {"from": "human", "value": "What feature can be seen on the back of the bus?"},
        {"from": "gpt", "value": "The back of the bus features an advertisement."},
    ],
}
TEXT_ONLY = {
    "id": "wgByO4Y_0",
    "model": "",
    "conversations": [{"from": "human", "value": "Hi"}, {"from": "gpt", "value": "Hello! "}],
}
SHAREGPT_TOOLS = {
    "conversations": [
        {"from": "human", "value": "<image><image>Which is larger?"},
        {"from": "function_call", "value": '{"name": "measure", "arguments": {}}'},
        {"from": "observation", "value": '{"first": 3, "second": 4}'},
        {"from": "gpt", "value": "The second."},
    ],
    "images": ["a.png", "b.png"],
    "system": "You measure.",
    "tools": '[{"name": "measure"}]',
}
SWIFT = {
    "messages": [
        {"role": "system", "content": "You are a helpful assistant."},
        {"role": "user", "content": "<image><video>What differs?"},
        {"role": "tool_call", "content": "{}", "loss": False},
        {"role": "tool_response", "content": "{}"},
        {"role": "assistant", "content": "The hat.", "loss": True},
    ],
    "images": ["a.png"],
    "videos": ["a.mp4"],
    "audios": [],
    "tools": [{"type": "function"}],
    "objects": {"ref": ["hat"], "bbox": [[1, 2, 3, 4]]},
    "rejected_response": "Nothing.",
}
SWIFT_2 = {
    "system": "Be brief.",
    "history": [["<image>What is it?", "A cat."], ["Sure?", "Yes."]],
    "query": "What colour?",
    "response": "Grey.",
    "images": ["cat.png"],
    "videos": [],
}
PARTS = {
    "messages": [
        {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": "What is it?"}]},
        {"role": "assistant", "content": [{"type": "text", "text": "A cat."}]},
    ],
    "images": ["cat.png"],
}
OPENAI = {
    "messages": [
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "What is it?"},
                {"type": "image_url", "image_url": {"url": "cat.png", "detail": "low"}},
            ],
        },
        {"role": "assistant", "content": "A cat."},
    ]
}
QWEN = {
    "messages": [
        {"role": "user", "content": [{"type": "image", "image": "cat.png"}, {"type": "text", "text": "What?"}]},
        {"role": "assistant", "content": "A cat."},
    ]
}
EVERY = {
    "llava": LLAVA,
    "text only": TEXT_ONLY,
    "several images": {**LLAVA, "image": ["a.jpg", "b.jpg"]},
    "one in a list": {**LLAVA, "image": ["a.jpg"]},
    "no image": {**LLAVA, "image": None},
    "number as id": {**LLAVA, "id": 33471},
    "image as object": {**SWIFT, "images": [{"path": "a.png", "bytes": None}]},
    "tools": SHAREGPT_TOOLS,
    "swift": SWIFT,
    "query": SWIFT_2,
    "query only": {"query": "What?"},
    "query, null": {"query": "<image>What?", "response": None, "history": None, "system": None, "images": ["a"]},
    "query, empty": {"query": "What?", "response": "", "history": [], "system": ""},
    "empty system": {**SHAREGPT_TOOLS, "system": ""},
    "parts": PARTS,
    "openai": OPENAI,
    "qwen": QWEN,
}


@pytest.mark.parametrize("record", EVERY.values(), ids=EVERY.keys())
def test_every_spelling_is_written_back_value_for_value(record):
    assert json.dumps(to_original(from_record(record))) == json.dumps(record)


@pytest.mark.parametrize("as_array", [True, False])
def test_every_spelling_in_one_file(tmp_path, as_array):
    records = [{**record, "id": f"{name}"} for name, record in EVERY.items()]
    path = save(tmp_path / "mix.json", records, indent=1) if as_array else save_lines(tmp_path / "mix.jsonl", records)
    assert detect(str(path)) == "conversations"
    rows = open_source(SourceSettings(location=str(path), image_root=str(tmp_path))).rows()
    assert [json.dumps(to_original(row)) for row in rows] == [json.dumps(record) for record in records]


@pytest.mark.parametrize("record", [SWIFT, SWIFT_2, LLAVA])
def test_a_file_of_one_row_is_recognised(tmp_path, record):
    for name, indent in (("line.jsonl", None), ("array.json", 1)):
        path = save(tmp_path / name, [record] if indent else record, indent=indent)
        assert detect(str(path)) == "conversations"


def turns(record):
    return [(turn.role, turn.value) for turn in from_record(record).conversations]


def test_questions_in_columns_among_conversations(tmp_path):
    flat = [
        {"question": "Which?", "options": ["cat", "dog"], "answer": "B"},
        {"instruction": "Add.", "input": "1 1", "output": "2", "conversations": None},
        {"question": "Where?", "options": ["cat"], "answer": "Z"},
        {"colour": "red"},
    ]
    path = save_lines(tmp_path / "mix.jsonl", [LLAVA, *flat])
    talk, choice, sums, strange, nothing = open_source(SourceSettings(location=str(path))).rows()
    assert len(talk.conversations) == len(LLAVA["conversations"])
    assert [turn.value for turn in choice.conversations] == ["Which?\nA. cat\nB. dog", "B"]
    assert [turn.value for turn in sums.conversations] == ["Add.\n1 1", "2"]
    assert strange.reason.startswith("the answer 'Z' names none of the options")
    assert nothing.reason.startswith("no column with answers, captions or questions among colour")


def test_a_folder_of_conversations_however_spelled_is_one_source(tmp_path):
    save_lines(tmp_path / "a.jsonl", [{"query": "q", "response": "r", "history": [["h", "i"]], "system": "s"}])
    save_lines(tmp_path / "b.jsonl", [{"messages": [{"role": "user", "content": "u"}], "rejected_response": "no"}])
    one, other = open_source(SourceSettings(location=str(tmp_path))).rows()
    assert [turn.value for turn in one.conversations] == ["s", "h", "i", "q", "r"]
    assert other.meta == {"rejected": "no"}


def test_query_and_history_are_turns_in_order():
    assert turns(SWIFT_2) == [
        ("system", "Be brief."),
        ("user", "<image>What is it?"),
        ("assistant", "A cat."),
        ("user", "Sure?"),
        ("assistant", "Yes."),
        ("user", "What colour?"),
        ("assistant", "Grey."),
    ]
    sample = from_record(SWIFT_2)
    assert (sample.image, sample.meta) == (("cat.png",), {})
    assert turns({"query": "What?"}) == [("user", "What?")]


def test_system_and_tools():
    assert turns(SHAREGPT_TOOLS)[0] == ("system", "You measure.")
    assert [role for role, _ in turns(SHAREGPT_TOOLS)[1:]] == ["user", "assistant", "user", "assistant"]
    sample = from_record(SHAREGPT_TOOLS)
    assert sample.image == ("a.png", "b.png")
    assert sample.meta == {"tools": SHAREGPT_TOOLS["tools"]}
    assert [role for role, _ in turns(SWIFT)] == ["system", "user", "assistant", "user", "assistant"]
    assert from_record(SWIFT).meta["videos"] == ["a.mp4"]


def test_parts_become_text_with_markers_and_paths():
    assert turns(PARTS) == [("user", "<image>What is it?"), ("assistant", "A cat.")]
    assert turns(OPENAI) == [("user", "What is it?<image>"), ("assistant", "A cat.")]
    assert from_record(OPENAI).image == from_record(QWEN).image == from_record(PARTS).image == ("cat.png",)


@pytest.mark.parametrize(
    ("record", "words"),
    [
        ({"query": 1}, "non-empty list"),
        ({"query": "q", "response": 1}, "'response' must be a text"),
        ({"query": "q", "history": [["a"]]}, "pairs of texts"),
        ({"messages": [{"role": "user", "content": [{"type": "smell"}]}]}, "turn 1 has a part of type 'smell'"),
        ({"messages": [{"role": "narrator", "content": "x"}]}, "one of user, human"),
        ({**PARTS, "images": [{"size": 3}]}, "must be a path"),
    ],
)
def test_what_is_no_conversation_says_why(record, words):
    with pytest.raises(UserError, match=words):
        from_record(record)


def png():
    data = io.BytesIO()
    Image.new("RGB", (8, 8), (200, 0, 0)).save(data, "PNG")
    return data.getvalue()


PARQUET = {
    "the_cauldron": {
        "images": [{"bytes": png(), "path": None}],
        "texts": [{"user": "q", "assistant": "good", "source": "VQAv2"}],
    },
    "preference": {
        "image": {"bytes": png(), "path": "x.png"}, "question": "q", "chosen": "good", "rejected": "bad",
    },
    "TRL": {
        "images": [{"bytes": png(), "path": None}],
        "prompt": [{"role": "user", "content": [{"type": "image", "text": None}, {"type": "text", "text": "q"}]}],
        "chosen": [{"role": "assistant", "content": [{"type": "text", "text": "good"}]}],
        "rejected": [{"role": "assistant", "content": [{"type": "text", "text": "bad"}]}],
    },
    "bytes in parts": {
        "messages": [
            {
                "role": "user",
                "content": [
                    {"type": "image", "image": {"bytes": png(), "path": None}, "text": None},
                    {"type": "text", "image": None, "text": "q"},
                ],
            },
            {"role": "assistant", "content": [{"type": "text", "image": None, "text": "good"}]},
        ]
    },
}  # fmt: skip


@pytest.mark.parametrize("row", PARQUET.values(), ids=PARQUET)
def test_conversations_in_parquet_carry_their_images(tmp_path, row):
    path = tmp_path / "rows.parquet"
    pq.write_table(pa.Table.from_pylist([row]), path)
    (sample,) = open_source(SourceSettings(location=str(path))).rows()
    assert list(sample.embedded.values()) == [png()]
    assert (tuple(sample.embedded), sample.answer) == (sample.image, "good")
    assert sample.meta.get("rejected") == ("bad" if "rejected" in row else None)


def test_one_csv_row_of_a_preference_and_one_of_messages(tmp_path):
    for name, text, rejected in (
        ("pairs", "image,question,chosen,rejected\na.png,q,good,bad\n", "bad"),
        ("chats", 'image,messages\na.png,"[{""role"": ""user"", ""content"": ""q""}]"\n', None),
    ):
        path = tmp_path / f"{name}.csv"
        path.write_text(text)
        (sample,) = open_source(SourceSettings(location=str(path))).rows()
        assert (sample.image, sample.question, sample.meta.get("rejected")) == (("a.png",), "q", rejected)
