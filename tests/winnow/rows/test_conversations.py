"""Every spelling of a conversation: what it means, what is refused, and that nothing of it is lost."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from winnow.errors import UserError
from winnow.rows.carried import CARRIED
from winnow.rows.conversations import NAMED_ROLES, ROLES, holds_conversation
from winnow.rows.keys import answer_key, question_key
from winnow.rows.records import Sample, Turn, from_record, to_line, to_original

ASKED = {"role": "user", "content": "<image>What?"}
GOOD = {"role": "assistant", "content": "good"}
BAD = {"role": "assistant", "content": "bad"}


def turns(record):
    return [(turn.name or turn.role, turn.value) for turn in from_record(record).conversations]


def meta(record):
    return dict(from_record(record).meta)


def test_loss_and_names_are_kept_on_turns():
    record = {
        "messages": [
            {"role": "user", "content": "q"},
            {"role": "tool_call", "content": "{}", "loss": False},
            {"role": "tool_response", "content": "{}"},
            {"role": "assistant", "content": "a", "loss": True},
        ]
    }
    sample = from_record(record)
    assert sample.conversations == (
        Turn("user", "q"),
        Turn("assistant", "{}", "tool_call", False),
        Turn("user", "{}", "tool_response"),
        Turn("assistant", "a", loss=True),
    )
    assert (sample.answer, sample.unclaimed) == ("a", ())
    assert from_record(json.loads(to_line(sample))).conversations == sample.conversations


@pytest.mark.parametrize(
    ("field", "role", "loss"),
    [
        ({"loss": 0}, "assistant", False),
        ({"loss_weight": 0.0}, "assistant", False),
        ({"loss_weight": 1.0}, "assistant", True),
        ({"loss_weight": 0.0}, "user", None),
        ({"loss_weight": 1.0}, "user", True),
        ({"weight": 0}, "assistant", False),
        ({"loss": None}, "assistant", None),
    ],
)
def test_weights_of_0_and_1_are_losses(field, role, loss):
    sample = from_record({"messages": [{"role": role, "content": "x", **field}]})
    assert (sample.conversations[0].loss, sample.meta) == (loss, {})


def test_other_fields_of_turns_are_kept_beside_them():
    record = {"messages": [ASKED, {**GOOD, "loss_scale": 2.0, "weight": 0.5, "name": "Ann", "audio": None}]}
    sample = from_record(record)
    assert sample.meta == {"turn_fields": [{}, {"loss_scale": 2.0, "weight": 0.5, "name": "Ann"}]}


def test_weights_between_are_kept_and_unknown_fields_of_turns_are_named():
    answer = {"role": "assistant", "content": "a", "loss_scale": 0.5, "mask": 1, "id": 7}
    sample = from_record({"messages": [{"role": "user", "content": "q"}, answer]})
    assert sample.conversations[1].loss is None
    assert sample.meta["turn_fields"] == [{}, {"loss_scale": 0.5, "mask": 1, "id": 7}]
    assert sample.notes == ("turns have a field 'mask', which is kept under `meta.turn_fields` and used by no export",)


@pytest.mark.parametrize("field", ["reasoning_content", "thinking"])
def test_reasoning_beside_an_answer_is_its_beginning(field):
    answer = {"role": "assistant", "content": "a", field: "hm"}
    record = {"messages": [{"role": "user", "content": "q"}, answer]}
    assert turns(record)[1] == ("assistant", "<think>\nhm\n</think>\n\na")
    assert "turn_fields" not in meta(record)
    call = {"role": "assistant", "content": None, field: "hm", "tool_calls": [{"function": {"name": "f"}}]}
    names = [name for name, _ in turns({"messages": [{"role": "user", "content": "q"}, call]})]
    assert names == ["user", "assistant", "tool_call"]


def test_answers_in_the_prompt_of_a_completion_are_not_learned():
    talk = [{"role": role, "content": text} for role, text in (("user", "q"), ("assistant", "a"), ("user", "again"))]
    record = {"prompt": talk, "completion": [{"role": "assistant", "content": "b"}]}
    assert [turn.loss for turn in from_record(record).conversations] == [None, False, None, None]
    assert to_original(from_record(record)) == record
    labelled = from_record({**record, "label": True})
    assert [turn.loss for turn in labelled.conversations] == [None] * 4


@pytest.mark.parametrize(
    ("marker", "files", "videos"),
    [
        ("<video>", {"video": ["1.jpg", "2.jpg"]}, [["1.jpg", "2.jpg"]]),
        ("<image>", {"video": ["1.jpg", "2.jpg"]}, [["1.jpg", "2.jpg"]]),
        ("<video><video>", {"videos": ["1.jpg", "2.jpg"]}, ["1.jpg", "2.jpg"]),
        ("<video>", {"videos": ["1.mp4", "2.mp4"]}, ["1.mp4", "2.mp4"]),
    ],
)
def test_images_listed_as_a_video_are_its_frames(marker, files, videos):
    sample = from_record({"messages": [{"role": "user", "content": f"{marker}q"}, GOOD], **files})
    assert sample.meta["videos"] == videos
    assert sample.conversations[0].value == f"{marker.replace('image', 'video')}q"


def test_the_path_of_a_sound_is_no_base64():
    def sound(data):
        part = {"type": "input_audio", "input_audio": {"data": data, "format": "wav"}}
        return meta({"messages": [{"role": "user", "content": [part]}, GOOD]})["audios"]

    assert sound("clips/s.wav") == ["clips/s.wav"]
    assert sound("UklGRg==") == ["data:audio/wav;base64,UklGRg=="]


def test_empty_turns_beside_a_question_are_no_conversation():
    assert holds_conversation({"messages": []}), "which is what it is then refused for"
    assert not holds_conversation({"conversations": None, "question": "q", "answer": "a"})
    assert not holds_conversation({"messages": [], "instruction": "q", "output": "a"})


def test_calls_of_openai():
    record = {
        "messages": [
            {"role": "developer", "content": "Be brief."},
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "a.png"}}]},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {"id": "c1", "type": "function", "function": {"name": "f", "arguments": '{"x": 1}'}},
                    {"id": "c2", "type": "function", "function": {"name": "g", "arguments": "not JSON"}},
                ],
            },
            {"role": "tool", "tool_call_id": "c1", "content": {"value": 2}},
            {"role": "assistant", "content": "two", "tool_calls": []},
        ]
    }
    assert turns(record) == [
        ("developer", "Be brief."),
        ("user", "<image>"),
        ("tool_call", '{"name": "f", "arguments": {"x": 1}}'),
        ("tool_call", '{"name": "g", "arguments": "not JSON"}'),
        ("tool", '{"value": 2}'),
        ("assistant", "two"),
    ]
    fields = [{}, {}, {"id": "c1", "type": "function"}, {"id": "c2", "type": "function"}, {"tool_call_id": "c1"}, {}]
    assert meta(record) == {"turn_fields": fields}


def test_calls_of_anthropic():
    image = {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "aGk="}}
    result = {"type": "tool_result", "tool_use_id": "t", "content": [image, {"type": "text", "text": "Sunny."}]}
    record = {
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "Where? "}, image]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "I look."},
                    {"type": "tool_use", "id": "t", "name": "look", "input": {"at": 1}},
                ],
            },
            {"role": "user", "content": [result]},
        ]
    }
    assert turns(record) == [
        ("user", "Where? <image>"),
        ("assistant", "I look."),
        ("tool_call", '{"name": "look", "arguments": {"at": 1}}'),
        ("tool_response", "<image>Sunny."),
    ]
    assert from_record(record).image == ("data:image/png;base64,aGk=",) * 2


@pytest.mark.parametrize(
    ("part", "marker", "file"),
    [
        ({"type": "image_url", "value": "f"}, "<image>", "f"),
        ({"type": "image_url", "image_url": "f"}, "<image>", "f"),
        ({"type": "image", "image": "f"}, "<image>", "f"),
        ({"type": "image", "path": "f"}, "<image>", "f"),
        ({"type": "image", "url": "f"}, "<image>", "f"),
        ({"type": "image", "image": {"path": "f", "bytes": None}}, "<image>", "f"),
        ({"type": "input_image", "image_url": "f"}, "<image>", "f"),
        ({"image": "f"}, "<image>", "f"),
        ({"type": "video", "video": "f"}, "<video>", "f"),
        ({"type": "video_url", "video_url": {"url": "f"}}, "<video>", "f"),
        ({"type": "video_url", "value": "f"}, "<video>", "f"),
        ({"type": "video", "video": ["f1", "f2"], "fps": 1}, "<video>", ["f1", "f2"]),
        ({"type": "audio", "audio": "f"}, "<audio>", "f"),
        ({"type": "audio", "audio_url": "f"}, "<audio>", "f"),
        ({"type": "input_audio", "input_audio": {"data": "aGk=", "format": "wav"}}, "<audio>",
         "data:audio/wav;base64,aGk="),
    ],
)  # fmt: skip
def test_every_kind_of_part(part, marker, file):
    record = {"messages": [{"role": "user", "content": [{"type": "text", "text": "See "}, part, {"text": "!"}]}]}
    sample = from_record(record)
    files = {"<image>": list(sample.image), "<video>": sample.meta.get("videos"), "<audio>": sample.meta.get("audios")}
    assert sample.conversations[0].value == f"See {marker}!"
    assert files[marker] == [file]
    assert to_original(sample) == record


def test_parts_of_reasoning_and_calls():
    content = [{"type": "reasoning", "value": "Hm."}, {"type": "text", "value": "So."}]
    call = {"type": "tool_call", "value": '{"name": "f", "arguments": {}}'}
    record = {"messages": [{"role": "user", "content": "?"}, {"role": "assistant", "content": [*content, call]}]}
    assert turns(record)[1:] == [
        ("assistant", "<think>\nHm.\n</think>\n\nSo."),
        ("tool_call", '{"name": "f", "arguments": {}}'),
    ]


@pytest.mark.parametrize(
    ("content", "images", "found"),
    [
        ([{"type": "image"}, {"type": "image"}], ["a", "b"], ("a", "b")),
        ([{"type": "image", "image": "a"}, {"type": "image"}], ["b"], ("a", "b")),
        ([{"type": "image"}, {"type": "image", "image": "b"}], ["a"], ("a", "b")),
        ([{"type": "image", "image": "a"}, {"type": "image", "image": "b"}], ["a", "b"], ("a", "b")),
        ([{"type": "image", "image": "a"}], ["a", "c"], ("a", "c")),
        ([{"type": "image", "image": "a"}, {"type": "image", "image": "a"}], None, ("a", "a")),
    ],
)
def test_images_of_parts_and_of_the_record(content, images, found):
    record = {"messages": [{"role": "user", "content": content}], "images": images}
    assert from_record(record).image == found


def test_tags_of_qwen():
    text = "Picture 1: <img>a/b.jpg</img>\nPicture 2: <img>https://x.org/c.png</img>\nWhich has <ref>a dog</ref>?"
    record = {
        "id": "i",
        "conversations": [
            {"from": "user", "value": text},
            {"from": "assistant", "value": "<ref>a dog</ref><box>(1,2),(3,4)</box> in <img>no path here</img>"},
        ],
    }
    sample = from_record(record)
    assert sample.image == ("a/b.jpg", "https://x.org/c.png")
    assert sample.conversations[0].value == "Picture 1: <image>\nPicture 2: <image>\nWhich has <ref>a dog</ref>?"
    assert sample.conversations[1].value == record["conversations"][1]["value"]
    assert to_original(sample) == record
    heard = from_record({"query": "Audio 1: <audio>a.wav</audio>\nWho?", "response": "Ann"})
    assert (heard.question, heard.meta) == ("Audio 1: \nWho?", {"audios": ["a.wav"]})


def test_winnows_own_texts_are_not_read_as_tags():
    for text in ("What does <img>a.png</img> mean?", "<image_00>?", "<video>x.mp4</video>"):
        sample = Sample("a", (), (Turn("user", text),))
        again = from_record(json.loads(to_line(sample)))
        assert (again.conversations, again.image, again.meta) == (sample.conversations, (), {})


def test_numbered_markers_of_minicpm():
    image = {"<image_00>": "a.jpg", "<image_01>": "b.jpg", "<image_02>": "c.jpg"}
    talk = [{"role": "user", "content": "<image_01> or <image_00>, not <image_07>?"}]
    sample = from_record({"id": "0", "image": image, "conversations": talk})
    assert sample.image == ("b.jpg", "a.jpg", "c.jpg")
    assert sample.conversations[0].value == "<image> or <image>, not <image_07>?"


@pytest.mark.parametrize(
    ("text", "plain", "images"),
    [
        ("<|image_2|> or <|image_1|>?", "<image> or <image>?", ("b", "a", "c")),
        ("<image_1><image_3>?", "<image><image>?", ("a", "c", "b")),
        ("<image_00> <image_02>", "<image> <image>", ("a", "c", "b")),
        ("<image 1> and <image 1>", "<image> and <image>", ("a", "a", "b", "c")),
        ("<image_9>?", "<image_9>?", ("a", "b", "c")),
        ("<ImageHere><ImageHere><ImageHere>", "<image><image><image>", ("a", "b", "c")),
    ],
)
def test_markers_that_count_through_a_list(text, plain, images):
    record = {"messages": [{"role": "user", "content": text}], "images": ["a", "b", "c"]}
    sample = from_record(record)
    assert (sample.conversations[0].value, sample.image, to_original(sample)) == (plain, images, record)


def test_texts_of_the_cauldron():
    record = {
        "images": ["a.jpg"],
        "texts": [{"user": "q", "assistant": "a", "source": "s1"}, {"user": "q2", "assistant": "a2"}],
        "source": "vqav2",
        "relevance_ratings": [5, 4],
    }
    sample = from_record(record)
    assert turns(record) == [("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2")]
    assert sample.meta == {"relevance_ratings": [5, 4], "turn_fields": [{"source": "s1"}, {}, {}, {}]}
    assert (sample.source, sample.unclaimed) == ("vqav2", ("relevance_ratings",))


@pytest.mark.parametrize(
    "record",
    [
        {"conversation": [{"system": "s", "input": "q", "output": "a"}, {"input": "q2", "output": "a2"}]},
        {"system": "s", "conversation": [{"human": "q", "assistant": "a"}, {"human": "q2", "assistant": "a2"}]},
        {"system": "s", "conversations": [["q", "a"], ["q2", "a2"]]},
        {"system": "s", "qa_pairs": [{"question": "q", "answer": "a"}, {"question": "q2", "answer": "a2"}]},
        {"system": "s", "query": "q2", "response": "a2", "history": [["q", "a"]]},
    ],
)
def test_pairs(record):
    talk = [("system", "s"), ("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2")]
    sample = from_record(record)
    assert (turns(record), sample.meta, to_original(sample)) == (talk, {}, record)
    new = (*sample.conversations[:4], Turn("assistant", "new"))
    assert to_original(Sample("x", (), new, form=sample.form)) == json.loads(json.dumps(record).replace("a2", "new"))


@pytest.mark.parametrize(
    "record",
    [
        {"texts": ["a", "b"], "question": "q"},
        {"conversation": "two people talk", "answer": "a"},
        {"qa_pairs": [{"image": "a.jpg", "question": "q", "answer": "a"}]},
        {"dialog": [{"name": "cup"}], "answer": "a"},
        {"qas": [{"question": "q", "answers": [{"text": "a"}]}]},
        {"chosen": 1, "rejected": 2},
        {"prompt": "q"},
    ],
)
def test_lists_of_other_things_are_no_conversation(record):
    assert not holds_conversation(record)


def test_cells_of_a_table_that_are_json_text():
    record = {"messages": [ASKED], "videos": '["v.mp4"]', "objects": '{"ref": ["dog"]}'}
    assert meta(record) == {"videos": ["v.mp4"], "objects": {"ref": ["dog"]}}


def test_a_video_that_llava_marks_as_image():
    record = {"video": "x.mp4", "conversations": [{"from": "human", "value": "<image>\nWhat happens?"}]}
    assert (turns(record), meta(record)) == ([("user", "<video>\nWhat happens?")], {"videos": ["x.mp4"]})
    with_image = {**record, "image": "a.jpg"}
    assert turns(with_image) == [("user", "<image>\nWhat happens?")]
    assert turns({**record, "video": ["x.mp4", "y.mp4"]}) == [("user", "<image>\nWhat happens?")]


def test_lists_of_frames_and_of_files():
    frames = [["1.jpg", "2.jpg"], ["3.jpg"]]
    assert meta({"query": "<video><video>?", "videos": frames}) == {"videos": frames}
    assert meta({"query": "?", "video": {"path": "x.mp4"}, "audio": "y.wav"}) == {
        "videos": ["x.mp4"], "audios": ["y.wav"]
    }  # fmt: skip


PREFERENCES = {
    "ms-swift": {"messages": [ASKED, GOOD], "rejected_response": "bad"},
    "ms-swift, list": {"messages": [ASKED, GOOD], "rejected_response": [BAD]},
    "ms-swift, messages": {"messages": [ASKED, GOOD], "rejected_messages": [ASKED, BAD]},
    "LLaMA-Factory": {
        "conversations": [{"from": "human", "value": "<image>What?"}],
        "chosen": {"from": "gpt", "value": "good"},
        "rejected": {"from": "gpt", "value": "bad"},
    },
    "LLaMA-Factory 1": {"chosen_messages": [ASKED, GOOD], "rejected_messages": [ASKED, BAD]},
    "TRL": {"prompt": [ASKED], "chosen": [GOOD], "rejected": [BAD]},
    "TRL, texts": {"prompt": "<image>What?", "chosen": "good", "rejected": "bad"},
    "TRL, no prompt": {"chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]},
    "UltraFeedback": {
        "prompt": "<image>What?", "messages": [ASKED, GOOD], "chosen": [ASKED, GOOD], "rejected": [ASKED, BAD]
    },
    "MMPR": {"question": "<image>What?", "chosen": "good", "rejected": "bad"},
    "query": {"query": "<image>What?", "chosen": "good", "rejected": "bad"},
    "query, response": {"query": "<image>What?", "response": "good", "rejected_response": "bad"},
}  # fmt: skip


@pytest.mark.parametrize("record", PREFERENCES.values(), ids=PREFERENCES)
def test_every_spelling_of_a_preference_is_one(record):
    record = {**record, "images": ["a.jpg"]}
    sample = from_record(record)
    assert turns(record) == [("user", "<image>What?"), ("assistant", "good")]
    assert {key: value for key, value in sample.meta.items() if key != "prompt"} == {"rejected": "bad"}
    assert sample.image == ("a.jpg",)
    assert json.dumps(to_original(sample)) == json.dumps(record)


def test_a_rejected_side_of_several_turns_is_kept_whole():
    call = {"role": "tool_call", "content": "{}"}
    record = {"messages": [ASKED, call, {"role": "tool_response", "content": "{}"}, GOOD], "rejected_response": [BAD]}
    assert meta(record) == {"rejected_messages": [ASKED, BAD]}
    other = [{"role": "user", "content": [{"type": "image", "image": "b.png"}, {"type": "text", "text": "What?"}]}]
    record = {"messages": [ASKED, GOOD], "images": ["a.png"], "rejected_messages": [*other, GOOD]}
    assert meta(record) == {"rejected_messages": [ASKED, GOOD], "rejected_images": ["b.png"]}


def test_labels_and_completions():
    assert meta({"messages": [ASKED, GOOD], "kto_tag": False}) == {"label": False}
    record = {"prompt": "q", "completion": "a", "label": True}
    assert (turns(record), meta(record)) == ([("user", "q"), ("assistant", "a")], {"label": True})
    classes = from_record({"messages": [ASKED], "label": 3})
    assert (classes.meta, classes.unclaimed) == ({"label": 3}, ("label",))


def test_a_system_beside_the_turns():
    own = {"role": "system", "content": "own"}
    assert turns({"system_prompt": "s", "messages": [ASKED]})[0] == ("system", "s")
    sample = from_record({"system": "s", "messages": [own, ASKED]})
    assert (sample.conversations[0].value, sample.meta, sample.unclaimed) == ("own", {"system": "s"}, ("system",))
    assert from_record({"system": "own", "messages": [own, ASKED]}).unclaimed == ()


def test_lists_as_json_text():
    record = {"messages": json.dumps([ASKED, GOOD]), "tools": "[]"}
    assert turns(record) == [("user", "<image>What?"), ("assistant", "good")]


def test_what_nothing_reads_is_named():
    record = {"messages": [ASKED], "options": ["a"], "score": 0.5, "empty": "", "nothing": None, "channel": "c"}
    sample = from_record(record)
    assert sample.unclaimed == ("options", "score")
    assert sample.meta == {"options": ["a"], "score": 0.5, "empty": "", "nothing": None, "channel": "c"}


def test_a_field_of_meta_that_the_record_has_too_is_kept():
    record = {"messages": [ASKED], "videos": ["new.mp4"], "meta": {"videos": "old", "year": 1}}
    assert meta(record) == {"videos": ["new.mp4"], "year": 1, "meta": {"videos": "old"}}


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"videos": 3}, "'video' must be a path"),
        ({"audios": [None]}, "'audio' must be a path"),
        ({"images": [["a"]]}, "'image' must be a path"),
        ({"tools": {"a": 1}}, "'tools' must be a text or a list"),
        ({"channel": 1}, "'channel' must be a text"),
        ({"kto_tag": "yes"}, "'kto_tag' must be true or false"),
        ({"objects": {"ref": "dog"}}, "'objects' needs lists"),
        ({"rejected_response": 3}, "'rejected_response' must be a list of turns"),
        ({"rejected_response": "a", "rejected_messages": [BAD]}, "has both"),
        ({"chosen": "other", "rejected": "bad"}, "'chosen' is neither the last answer"),
        (
            {"rejected": [{"role": "assistant", "content": [{"type": "video", "video": "x.mp4"}]}]},
            "other files at its <video>",
        ),
        ({"system": ["s"]}, "'system' must be a text"),
        ({"messages": [{"role": "user", "content": "x", "loss": "no"}]}, "true or false as 'loss'"),
        ({"messages": [{"role": "user", "content": [3]}]}, "turn 1 has a part that is no object"),
        ({"messages": [{"role": "user", "content": None}]}, "turn 1 has no text"),
        ({"messages": [{"role": "assistant", "tool_calls": "f"}]}, "'tool_calls'"),
        ({"messages": "[broken"}, "'messages' must be a list of turns"),
        ({"messages": [{"role": "user", "content": "<bbox>"}], "objects": ["dog"]}, "<bbox> needs 'objects'"),
    ],
)
def test_a_value_of_the_wrong_type_costs_the_row(fields, words):
    with pytest.raises(UserError, match=words) as error:
        from_record({"messages": [ASKED, GOOD], **fields}, where="file.jsonl:3")
    assert str(error.value).startswith("file.jsonl:3: ")


def test_questions_about_different_objects_differ():
    def keys(ref, box):
        record = {
            "conversations": [{"from": "user", "value": "<image>Find <ref-object>"},
                              {"from": "assistant", "value": "<bbox>"}],
            "meta": {"objects": {"ref": ref, "bbox": box}},
        }  # fmt: skip
        return question_key(record), answer_key(record)

    assert keys(["a dog"], [[1, 2, 3, 4]]) == ("find a dog", "1 2 3 4")
    assert keys(["a cat"], [[1, 2, 3, 5]]) == ("find a cat", "1 2 3 5")
    assert keys([], None) == ("find ref object", "bbox")


def test_the_same_question_about_another_video_is_another_question():
    talk = [{"from": "user", "value": "<video>What happens?"}]
    keys = {question_key({"conversations": talk, "meta": {"videos": [name]}}) for name in ("a.mp4", "b.mp4")}
    assert keys == {"what happens\na.mp4", "what happens\nb.mp4"}


def test_a_changed_text_is_written_in_its_place():
    for record in (
        {"texts": [{"user": "q", "assistant": "a"}], "images": ["i"]},
        {"query": "q2", "history": [["q", "a"]]},
        {"prompt": "q", "chosen": [{"role": "assistant", "content": "a"}], "rejected": "b"},
        {"question": "q", "chosen": "a", "rejected": "b"},
    ):
        sample = from_record(record)
        new = (sample.conversations[0], Turn("assistant", "new"), *sample.conversations[2:])
        changed = to_original(Sample(sample.id, sample.image, new, form=sample.form))
        assert json.dumps(changed) == json.dumps(record).replace('"a"', '"new"')
    sample = from_record({"messages": [{"role": "user", "content": [{"type": "text", "text": "q"}]}]})
    with pytest.raises(UserError, match="cannot be written back"):
        to_original(Sample("a", (), (Turn("user", "new"),), form=sample.form))


TEXT = st.sampled_from(
    ["", "q", "<image>", "<video>?", "a\n<audio><bbox>", "<img>p.jpg</img>", "<image_00> <ref-object>"]
)
PATHS = st.sampled_from(
    ["a.jpg", "https://x.org/b.png", ["a.jpg"], ["a.jpg", "b.jpg"], [], None, "", {"path": "c.jpg"}]
)
PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": TEXT}),
    st.fixed_dictionaries({"type": st.just("text"), "value": TEXT}),
    st.fixed_dictionaries({"type": st.sampled_from(["image", "video", "audio"])}),
    st.fixed_dictionaries({"type": st.sampled_from(["image", "image_url"]), "value": st.just("p.png")}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.just("u.png")})}
    ),
    st.fixed_dictionaries({"type": st.just("video"), "video": st.just(["1.jpg", "2.jpg"])}),
    st.fixed_dictionaries({"type": st.just("tool_call"), "value": st.just("{}")}),
)
CONTENT = TEXT | st.lists(PART, max_size=3)
MORE = st.fixed_dictionaries(
    {},
    optional={
        "loss": st.booleans() | st.none(), "loss_weight": st.sampled_from([0.0, 0.5, 1.0]), "name": TEXT,
        "tool_calls": st.just([{"id": "1", "function": {"name": "f", "arguments": "{}"}}]),
    },
)  # fmt: skip
ROLE = st.sampled_from([*ROLES, *NAMED_ROLES])


def turn(role, value):
    return st.tuples(st.fixed_dictionaries({role: ROLE, value: CONTENT}), MORE).map(lambda pair: {**pair[0], **pair[1]})


TURNS = st.lists(turn("role", "content"), min_size=1, max_size=4)
REPLY = st.fixed_dictionaries({"role": st.just("assistant"), "content": CONTENT})
ANSWER = TEXT.filter(bool) | st.lists(REPLY, min_size=1, max_size=2)
REJECTED = TEXT.filter(bool) | st.lists(st.fixed_dictionaries({"role": ROLE, "content": TEXT}), min_size=1, max_size=2)
PAIRS = st.lists(st.fixed_dictionaries({"human": TEXT, "assistant": TEXT}), min_size=1, max_size=2)
TALKS = st.one_of(
    st.fixed_dictionaries({"messages": TURNS}),
    st.fixed_dictionaries({"conversations": st.lists(turn("from", "value"), min_size=1, max_size=4)}),
    st.fixed_dictionaries({"conversation": PAIRS}),
    st.fixed_dictionaries({"texts": PAIRS}),
    st.fixed_dictionaries({"query": TEXT}, optional={"response": TEXT, "history": st.just([["a", "b"]])}),
    st.fixed_dictionaries({"prompt": TEXT.filter(bool) | TURNS, "completion": ANSWER}),
    st.fixed_dictionaries({"prompt": TEXT.filter(bool), "chosen": ANSWER, "rejected": REJECTED}),
)  # fmt: skip
BESIDE = st.fixed_dictionaries(
    {},
    optional={
        "id": st.sampled_from(["x", 3, None]), "image": PATHS, "images": PATHS, "videos": PATHS, "video": PATHS,
        "audio": PATHS, "audios": PATHS, "system": TEXT, "tools": st.sampled_from(["[]", [], [{"name": "f"}], None]),
        "objects": st.sampled_from([{"ref": ["d"], "bbox": [[1, 2]]}, {}, None]), "channel": st.just("c"),
        "label": st.sampled_from([True, False, 3, None]), "rejected_images": PATHS,
        "answers": st.just(["a", "a"]), "source": st.just("s"), "meta": st.just({"videos": 1, "k": None}),
        "score": st.floats(allow_nan=False), "turn_fields": st.just("own"), "options": st.just(["a", "b"]),
    },
)  # fmt: skip


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(TALKS, BESIDE)
def test_nothing_of_a_record_is_lost(talk, beside):
    record = {**beside, **talk}
    sample = from_record(record, source="s", split="t")
    assert json.dumps(to_original(sample)) == json.dumps(record)
    again = from_record(json.loads(to_line(sample)))
    for name in ("id", "image", "conversations", "answers", "source", "split", "meta"):
        assert getattr(again, name) == getattr(sample, name), name
    assert again.unclaimed == ()
    files = {"image", "images", "videos", "video", "audio", "audios", "rejected_images"}
    held = json.dumps([sample.meta, [turn.value for turn in sample.conversations]])
    for key in beside.keys() - files - {"id", "source", "answers", "meta"}:
        value = json.dumps(beside[key]) if key == "tools" and isinstance(beside[key], list) else beside[key]
        if value not in (None, "", "[]", {}):
            assert json.dumps(value) in held, key
    listed = json.dumps([*sample.image, *(sample.meta.get(key, []) for key in ("videos", "audios", "rejected_images"))])
    for key in beside.keys() & files:
        for file in beside[key] if isinstance(beside[key], list) else [beside[key]]:
            path = file["path"] if isinstance(file, dict) else file
            assert not path or path in listed or key in sample.unclaimed, (key, path)


def test_carried_keys_are_documented():
    page = (Path(__file__).parents[3] / "docs/reference/files.md").read_text(encoding="utf-8")
    assert [key for key in CARRIED if f"| `{key}` |" not in page] == []


KEYS = st.sampled_from(
    ["messages", "conversations", "texts", "qa_pairs", "query", "history", "response", "prompt", "completion", "chosen",
     "rejected", "rejected_messages", "rejected_response", "rejected_images", "image", "images", "videos", "audio",
     "objects", "tools", "system", "kto_tag", "answers", "meta", "id", "source", "channel"]
)  # fmt: skip
INNER = st.sampled_from(
    ["role", "from", "content", "value", "type", "text", "image", "path", "url", "bytes", "tool_calls", "function",
     "name", "loss", "user", "assistant", "ref", "bbox", "<image_00>", "source", "data", "input"]
)  # fmt: skip
WORDS = st.sampled_from(["user", "assistant", "tool_call", "text", "image", "video", "<image_1> <bbox>", "[{", '["a"]'])
ANYTHING = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | WORDS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(INNER, inner, max_size=4),
    max_leaves=12,
)


TURN_OF_ANYTHING = st.fixed_dictionaries({"role": ROLE, "content": ANYTHING}, optional={"tool_calls": ANYTHING})
SOME = st.lists(TURN_OF_ANYTHING, max_size=2)


@pytest.mark.slow
@settings(max_examples=300, deadline=None)
@given(st.dictionaries(KEYS, ANYTHING, max_size=5), st.sampled_from(["messages", "rejected"]), SOME)
def test_whatever_a_record_holds_it_is_read_or_refused_with_a_sentence(record, key, some):
    record = {**record, key: some}
    try:
        sample = from_record(record, where="f:1")
    except UserError as error:
        assert str(error).startswith("f:1: ")
        return
    assert repr(to_original(sample)) == repr(record)
    from_record(json.loads(to_line(sample)))
