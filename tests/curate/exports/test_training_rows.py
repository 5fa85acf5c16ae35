"""Video, sound, boxes, preferences, labels, tools and losses: whole in the formats that have them, else rejected.

The records are those of the targets' documentation: ms-swift 3602360 (Custom-dataset.md), LLaMA-Factory ff6d4d1
(data/README.md), TRL f2cd577 (dataset_formats.md), LLaVA c121f04 (train.py), EvalScope fde259d (vlm.md).
"""

import base64
import json
import re

import pydantic
import pytest

from curate import pipeline
from tests.curate import sets
from tests.curate.exports.made import exported, talk

CALL = '{"name": "look", "arguments": {"at": [1, 2]}}'
TOOLS = [{"type": "function", "function": {"name": "look", "parameters": {"type": "object", "properties": {}}}}]


ASKED = [("user", "<image>What?"), ("assistant", "discs")]
ROWS = {
    "plain": {"messages": talk(*ASKED), "images": ["a.png"]},
    "system": {"messages": talk(("system", "Be brief."), *ASKED), "images": ["a.png"]},
    "video": {"messages": talk(("user", "<image><video>What?"), ("assistant", "it falls")), "images": ["a.png"],
              "videos": ["clips/v.mp4"]},
    "frames": {"messages": talk(("user", "What?"), ("assistant", "it falls")), "videos": [["f1.png", "f2.png"]]},
    "sound": {"messages": talk(("user", "<audio>What?"), ("assistant", "a bell")), "audios": ["s.wav"]},
    "boxes": {"messages": talk(("user", "<image>Find <ref-object>"), ("assistant", "<bbox>")), "images": ["a.png"],
              "objects": {"ref": ["disc"], "bbox": [[10, 20, 30, 40]]}},
    "rejected": {"messages": talk(*ASKED), "images": ["a.png"], "rejected_response": "cubes"},
    "other": {"messages": talk(*ASKED), "images": ["a.png"], "rejected_messages": talk(*ASKED),
              "rejected_images": ["b.png"]},
    "good": {"messages": talk(*ASKED), "images": ["a.png"], "label": True},
    "poor": {"messages": talk(*ASKED), "images": ["a.png"], "kto_tag": False},
    "loss": {"messages": talk(("user", "<image>q"), ("assistant", "no", {"loss": False}), ("user", "again"),
                              ("assistant", "yes", {"loss": True})), "images": ["a.png"]},
    "first": {"messages": talk(("user", "<image>q"), ("assistant", "yes", {"loss": True}), ("user", "again"),
                               ("assistant", "no", {"loss": False})), "images": ["a.png"]},
    "tools": {"messages": talk(("user", "<image>q"), ("tool_call", CALL), ("tool_response", '{"seen": 3}'),
                               ("assistant", "three")), "images": ["a.png"], "tools": json.dumps(TOOLS)},
    "parallel": {"messages": talk(("user", "<image>q"), ("assistant", "Let me look."), ("tool_call", CALL),
                                  ("tool_call", CALL), ("tool", "1"), ("tool", "2"), ("assistant", "three")),
                 "images": ["a.png"], "tools": TOOLS},
    "strange": {"messages": talk(("user", "<image>q"), ("function_call", "{}"), ("observation", "{}"),
                                 ("assistant", "a")), "images": ["a.png"], "tools": "[]"},
    "several": {"messages": talk(("user", "<image>and <image>"), ("assistant", "x")), "images": ["a.png", "b.png"]},
    "text": {"messages": talk(("user", "2 + 2?"), ("assistant", "4"))},
    "unbalanced": {"messages": talk(("user", "<image><video>What?"), ("assistant", "x")), "images": ["a.png"]},
    "unboxed": {"messages": talk(("user", "<image>Find"), ("assistant", "<bbox><bbox>")), "images": ["a.png"],
                "objects": {"ref": [], "bbox": [[1, 2, 3, 4]]}},
    "no boxes": {"messages": talk(("user", "<image>Find"), ("assistant", "<bbox>")), "images": ["a.png"]},
    "names": {"messages": talk(("user", "<image>Find <ref-object>"), ("assistant", "left")), "images": ["a.png"],
              "objects": {"ref": ["disc"]}},
    "asker": {"messages": talk(("user", "<image>q", {"loss": True}), ("assistant", "a")), "images": ["a.png"]},
    "half": {"messages": talk(("user", "<image>q"), ("assistant", "a", {"loss_weight": 0.5})), "images": ["a.png"]},
    "untold": {"messages": talk(*ASKED), "images": ["a.png"], "tools": '[{"name": '},
    "hammer": {"messages": talk(*ASKED), "images": ["a.png"], "meta": {"tools": "hammer and tongs"}},
    "equal": {"messages": talk(*ASKED), "images": ["a.png"], "rejected_response": "discs"},
}  # fmt: skip


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    folder = tmp_path_factory.mktemp("training")
    for name in ("a", "b"):
        sets.save(folder / "images" / f"{name}.png", sets.scene(ord(name)))
    (folder / "images/clips").mkdir()
    (folder / "images/clips/v.mp4").write_bytes(b"a video")
    sets.write_lines(folder / "rows.jsonl", [{"id": name, **row} for name, row in ROWS.items()])
    pipeline.run(sets.recipe(folder, rules={}), "recipe.yaml")
    return folder / "out"


def read(folder, *, key="id"):
    """File → own id → record."""
    found = {}
    for path in sorted([*folder.rglob("*.jsonl"), *folder.glob("train*.json")]):
        if path.name != "rejects.jsonl":
            text = path.read_text(encoding="utf-8")
            rows = json.loads(text) if path.suffix == ".json" else [json.loads(line) for line in text.splitlines()]
            found[str(path.relative_to(folder))] = {str(row[key]).rpartition("/")[2]: row for row in rows}
    return found


def rejects(folder):
    """Own id → reason."""
    lines = [json.loads(line) for line in (folder / "rejects.jsonl").read_text().splitlines()]
    return {line["sample_id"].rpartition("/")[2]: line["reason"] for line in lines}


def test_every_row_is_exported_or_rejected_with_a_reason(curated):
    for to in ("jsonl", "ms-swift", "llama-factory", "trl", "llava", "evalscope", "parquet", "webdataset"):
        folder, done = exported(curated, to)
        assert done.counts["rows"] + done.counts["rejected"] == len(ROWS), to
        assert all(rejects(folder).values())


def test_records_and_tables_keep_everything(curated):
    folder, _ = exported(curated, "jsonl")
    (rows,) = read(folder).values()
    assert set(rows) == set(ROWS)
    assert rows["loss"]["conversations"][1] == {"from": "assistant", "value": "no", "loss": False}
    assert rows["tools"]["conversations"][1]["from"] == "tool_call"
    assert rows["tools"]["meta"]["tools"] == json.dumps(TOOLS)
    assert rows["video"]["meta"]["videos"] == ["clips/v.mp4"]
    assert rows["boxes"]["meta"]["objects"] == ROWS["boxes"]["objects"]


@pytest.mark.parametrize("to", ["parquet", "imagefolder"])
def test_containers_keep_names_losses_and_meta(curated, tmp_path, to):
    import datasets

    folder, _ = exported(curated, to)
    loaded = datasets.load_dataset(to, data_dir=str(folder), split="train", cache_dir=str(tmp_path))
    rows = {row["id"].rpartition("/")[2]: row for row in loaded}
    assert [turn["loss"] for turn in rows["loss"]["messages"]] == [None, False, None, True]
    assert [turn["role"] for turn in rows["tools"]["messages"]] == ["user", "tool_call", "tool_response", "assistant"]
    assert json.loads(rows["boxes"]["meta"])["objects"] == ROWS["boxes"]["objects"]
    assert json.loads(rows["rejected"]["meta"])["rejected"] == "cubes"
    without = {"video", "frames", "sound", "other"} if to == "imagefolder" else set()
    assert set(rejects(folder)) == without
    assert set(rows) == ROWS.keys() - without
    if without:
        assert rejects(folder)["sound"] == "an image folder holds images of rows only, and this one has audios"


def test_ms_swift(curated):
    folder, _ = exported(curated, "ms-swift")
    files = read(folder)
    images = str(curated.parent / "images")
    assert {name: set(rows) for name, rows in files.items()} == {
        "train.jsonl": {"plain", "system", "video", "frames", "sound", "boxes", "loss", "first", "tools", "parallel",
                        "strange", "several", "text", "hammer", "names", "asker", "half"},
        "train-preference.jsonl": {"rejected"},
        "train-preference-messages.jsonl": {"other"},
        "train-kto.jsonl": {"good", "poor"},
    }  # fmt: skip
    sft = files["train.jsonl"]
    for name in ("plain", "system", "loss", "first", "tools", "several"):
        assert sft[name]["messages"] == ROWS[name]["messages"]
    assert sft["video"]["videos"] == [f"{images}/clips/v.mp4"]
    assert sft["frames"]["videos"] == [["f1.png", "f2.png"]]
    assert sft["frames"]["messages"][0]["content"] == "<video>\nWhat?"
    assert sft["sound"]["audios"] == ["s.wav"]
    assert sft["boxes"]["objects"] == ROWS["boxes"]["objects"]
    assert sft["tools"]["tools"] == json.dumps(TOOLS) == sft["parallel"]["tools"]
    assert [turn["role"] for turn in sft["strange"]["messages"]] == ["user", "tool_call", "tool_response", "assistant"]
    assert files["train-preference.jsonl"]["rejected"]["rejected_response"] == "cubes"
    other = files["train-preference-messages.jsonl"]["other"]
    assert (other["rejected_messages"], other["rejected_images"]) == (talk(*ASKED), [f"{images}/b.png"])
    assert {name: row["label"] for name, row in files["train-kto.jsonl"].items()} == {"good": True, "poor": False}
    assert len({tuple(row) for row in sft.values()}) == 1, "one set of columns a file"
    found = rejects(folder)
    assert found["unbalanced"] == "1 <video> markers in the turns for 0 videos"
    assert found["unboxed"] == "2 <bbox> markers in the turns for 1 in objects.bbox"
    assert found["no boxes"] == "1 <bbox> markers in the turns for 0 in objects.bbox"
    assert sft["names"]["objects"] == {"ref": ["disc"], "bbox": []}
    assert sft["asker"]["messages"] == ROWS["asker"]["messages"]
    assert sft["half"]["messages"][1]["loss_scale"] == 0.5
    assert found["equal"] == "the rejected answer is the chosen one"
    assert found["untold"] == "ms-swift needs `tools` as a JSON list"
    assert sft["hammer"]["tools"] is None


def test_llama_factory(curated):
    folder, _ = exported(curated, "llama-factory")
    files = read(folder)
    info = json.loads((folder / "dataset_info.json").read_text())
    assert {name: entry["file_name"] for name, entry in info.items()} == {
        "set_train": "train.jsonl",
        "set_train-preference": "train-preference.jsonl",
        "set_train-kto": "train-kto.jsonl",
    }
    for entry in info.values():
        columns = set(entry["columns"].values())
        assert all(columns | {"id"} == set(row) for row in files[entry["file_name"]].values())
    assert info["set_train-preference"]["ranking"] is True
    assert "ranking" not in info["set_train"]
    assert {"chosen", "rejected"} <= info["set_train-preference"]["columns"].keys()
    assert "kto_tag" in info["set_train-kto"]["columns"]
    chosen = files["train-preference.jsonl"]["rejected"]
    assert chosen["messages"] == talk(ASKED[0])
    assert chosen["chosen"] == {"role": "assistant", "content": "discs"}
    assert chosen["rejected"] == {"role": "assistant", "content": "cubes"}
    assert {name: row["kto_tag"] for name, row in files["train-kto.jsonl"].items()} == {"good": True, "poor": False}
    sft = files["train.jsonl"]
    assert [turn["role"] for turn in sft["tools"]["messages"]] == ["user", "function_call", "observation", "assistant"]
    assert sft["tools"]["messages"][1]["content"] == CALL
    assert sft["frames"]["videos"] == [["f1.png", "f2.png"]]
    found = rejects(folder)
    assert set(found) == {"boxes", "other", "loss", "first", "parallel", "unbalanced", "unboxed", "equal", "untold",
                          "no boxes", "names", "asker", "half"}  # fmt: skip
    assert found["half"] == found["asker"]
    assert found["half"] == "LLaMA-Factory has no place for weights of turns, or users' turns that are to be learned"
    assert found["boxes"] == "LLaMA-Factory has no place for boxes of objects"
    assert found["loss"].startswith("LLaMA-Factory has no place for answers that are not to be learned")
    assert found["other"].endswith("more than the last answer differs")


@pytest.mark.slow
def test_trl_loads_every_kind(curated, tmp_path):
    """Through Arrow, as its users load them, and through TRL's own preparation."""
    data_utils = pytest.importorskip("trl.data_utils")
    import datasets

    folder, _ = exported(curated, "trl")
    files = read(folder)
    assert {name: set(rows) for name, rows in files.items()} == {
        "train.jsonl": {"plain", "system", "tools", "parallel", "several", "text", "hammer"},
        "train-completion.jsonl": {"loss"},
        "train-preference.jsonl": {"rejected"},
        "train-kto.jsonl": {"good", "poor"},
    }
    for name, expected in files.items():
        rows = datasets.load_dataset(
            "json", data_files=str(folder / name), split="train", cache_dir=str(tmp_path / name)
        ).cast_column("images", datasets.List(datasets.Image()))
        for row, record in zip(rows, expected.values(), strict=True):
            assert data_utils.is_conversational(row)
            for key in {"messages", "prompt", "completion", "chosen", "rejected"} & record.keys():
                has_images = key in ("messages", "prompt")
                prepared = data_utils.prepare_multimodal_messages(row[key], images=row["images"] if has_images else [])
                blocks = [block for turn in prepared for block in turn["content"] if block["type"] == "image"]
                assert len(blocks) == (len(record["images"]) if has_images else 0)
            if record.get("tools"):
                assert row["tools"] == TOOLS
                calls = [call for turn in row["messages"] for call in turn.get("tool_calls") or []]
                assert {json.dumps(call["function"]) for call in calls} == {CALL}
    first, *_, answer = files["train.jsonl"]["parallel"]["messages"][1:]
    assert first["content"] == [{"type": "text", "text": "Let me look."}]
    assert len(first["tool_calls"]) == 2
    assert answer["content"] == [{"type": "text", "text": "three"}]
    assert files["train-completion.jsonl"]["loss"]["completion"] == [
        {"role": "assistant", "content": [{"type": "text", "text": "yes"}]}
    ]
    assert files["train-preference.jsonl"]["rejected"].keys() == {
        "id",
        "prompt",
        "chosen",
        "rejected",
        "images",
        "tools",
    }
    assert [row["label"] for row in files["train-kto.jsonl"].values()] == [True, False]
    assert rejects(folder)["strange"] == "TRL needs a call of a tool as JSON with `name` and `arguments`"


def test_llava(curated):
    folder, _ = exported(curated, "llava")
    (rows,) = read(folder).values()
    assert set(rows) == {"plain", "several", "text", "hammer"}
    assert rows["plain"] == {
        "id": "plain",
        "image": "a.png",
        "conversations": [{"from": "human", "value": "<image>What?"}, {"from": "gpt", "value": "discs"}],
    }
    assert rows["several"]["image"] == ["a.png", "b.png"]
    assert "image" not in rows["text"]
    assert rejects(folder)["system"] == "LLaVA has no place for a system turn"


@pytest.mark.parametrize("images", ["path", "copy"])
def test_openai_takes_the_messages(curated, tmp_path, images):
    """Checked with the types of OpenAI's own client."""
    from openai.types.chat import ChatCompletionMessageParam, ChatCompletionToolParam

    folder, _ = exported(curated, "openai-messages", images=images, out=tmp_path / "out")
    lines = [json.loads(line) for line in (folder / "train.jsonl").read_text().splitlines()]
    message = pydantic.TypeAdapter(ChatCompletionMessageParam)
    for line in lines:
        for one in line["messages"]:
            message.validate_python(one)
        pydantic.TypeAdapter(list[ChatCompletionToolParam]).validate_python(line.get("tools", []))
    kept = [name for name in ROWS if name not in rejects(folder)]
    assert kept == ["plain", "system", "loss", "first", "tools", "parallel", "several", "text", "hammer"]
    found = dict(zip(kept, lines, strict=True))
    url = found["plain"]["messages"][0]["content"][0]["image_url"]["url"]
    if images == "path":
        assert url == str(curated.parent / "images/a.png")
    else:
        data = base64.b64decode(url.removeprefix("data:image/png;base64,"))
        assert data == (curated.parent / "images/a.png").read_bytes()
    assert [turn.get("weight") for turn in found["loss"]["messages"]] == [None, 0, None, 1]
    assert found["tools"]["tools"] == TOOLS
    call = found["parallel"]["messages"][1]
    assert call["content"] == "Let me look."
    ids = [one["id"] for one in call["tool_calls"]]
    assert [one["tool_call_id"] for one in found["parallel"]["messages"][2:4]] == ids
    assert json.loads(call["tool_calls"][0]["function"]["arguments"]) == {"at": [1, 2]}


def test_evalscope(curated):
    folder, _ = exported(curated, "evalscope")
    (rows,) = read(folder).values()
    assert set(rows) == {"plain", "system", "video", "sound", "loss", "first", "several", "text", "hammer", "asker",
                         "half"}  # fmt: skip
    image = {"type": "image_url", "image_url": {"url": str(curated.parent / "images/a.png")}}
    assert rows["system"]["messages"] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": [image, {"type": "text", "text": "What?"}]},
    ]
    assert rows["system"]["answer"] == "discs"
    assert rows["video"]["messages"][0]["content"][1] == {
        "type": "video_url",
        "video_url": {"url": str(curated.parent / "images/clips/v.mp4")},
    }
    assert rows["sound"]["messages"][0]["content"][0] == {
        "type": "input_audio",
        "input_audio": {"data": "s.wav", "format": "wav"},
    }


def test_multiple_choice_for_evalscope(tmp_path):
    """Options, the question without them, and the letter of the answer."""
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    carried = {"options": ["cat", "dog"], "original_question": "Which?"}
    rows = [
        sets.row(1, "a.png", "Which?\nA. cat\nB. dog", "B", meta=carried),
        sets.row(2, "a.png", "Is it <image>?\nA. cat\nB. dog", "cat", meta=carried),
        sets.row(4, "a.png", "Context: It barks.\nWhich?\nA. cat\nB. dog", "B", meta=carried),
        sets.row(3, "a.png", "Which?\nA. cat\nB. dog", "C", meta=carried),
    ]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    pipeline.run(sets.recipe(tmp_path), "recipe.yaml")
    folder, _ = exported(tmp_path / "out", "evalscope")
    files = read(folder)
    image = str(tmp_path / "images/a.png")
    assert files["mcq/train.jsonl"]["1"] == {
        "id": "set/train/1", "question": "<image 1> Which?", "options": ["cat", "dog"], "answer": "B",
        "images": [image],
    }  # fmt: skip
    assert files["mcq/train.jsonl"]["2"]["question"] == "Is it <image 1>?"
    assert files["mcq/train.jsonl"]["2"]["answer"] == "A"
    assert files["mcq/train.jsonl"]["4"]["question"] == "<image 1> Context: It barks.\nWhich?", "nothing is left out"
    assert set(files["vqa/train.jsonl"]) == {"3"}
    assert len(re.findall("general_vmcq|general_vqa", (folder / "README.md").read_text())) == 4


def test_the_card_says_how_to_load_each_file(curated):
    folder, _ = exported(curated, "ms-swift")
    card = (folder / "README.md").read_text()
    assert "swift sft --dataset" in card
    assert f"--rlhf_type dpo --dataset {folder}/train-preference.jsonl" in card
    assert f"--rlhf_type kto --dataset {folder}/train-kto.jsonl" in card
    assert "config_name: preference-messages" in card


def test_own_ids_of_llava_keep_their_type(tmp_path):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    turns = [{"from": "human", "value": "<image>\nq"}, {"from": "gpt", "value": "a"}]
    rows = [{"id": own, "image": "a.png", "conversations": turns} for own in (7, "000000033471", "rows/x")]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    pipeline.run(sets.recipe(tmp_path), "recipe.yaml")
    folder, _ = exported(tmp_path / "out", "llava")
    found = json.loads((folder / "train.json").read_text())
    assert found[:2] == rows[:2]
