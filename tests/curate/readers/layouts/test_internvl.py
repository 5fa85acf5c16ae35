"""InternVL's meta file, as internvl_chat/shell/data/internvl_1_2_finetune_custom.json is published."""

import json

import pytest

from curate.readers import detect, open_source, other_files
from curate.settings.sources import SourceSettings
from tests.curate.readers.published import save, save_lines
from winnow.errors import UserError
from winnow.rows.records import to_original

CHAT = {
    "id": 0,
    "image": "train2017/000000000009.jpg",
    "width": 640,
    "height": 480,
    "conversations": [{"from": "human", "value": "<image>\nWhat is it?"}, {"from": "gpt", "value": "Food."}],
}
VIDEO = {**CHAT, "image": None, "video": "clips/1.mp4"}
PAIR = {"id": 3, "image": ["a.png", "b.png"], "question": "<image>\n<image>\nSame?", "chosen": "Yes", "rejected": "No"}


def entry(root, annotation, **more):
    return {"root": root, "annotation": annotation, "data_augment": False, "repeat_time": 1, "length": 1, **more}


def published(folder, **sets):
    save_lines(folder / "data/coco/chat.jsonl", [CHAT, VIDEO | {"id": 1}])
    save_lines(folder / "data/pairs.jsonl", [PAIR])
    known = {
        "coco_chat": entry("data/coco/", "data/coco/chat.jsonl"),
        "mmpr_pairs": entry("data/images", "data/pairs.jsonl", repeat_time=2),
    }
    return save(folder / "meta.json", sets or known, indent=2)


def test_each_set_is_read_with_its_own_root(tmp_path):
    path = published(tmp_path)
    assert detect(str(path)) == "internvl"
    chat, video, pair = open_source(SourceSettings(location=str(path))).rows()
    assert (chat.id, chat.source, chat.image) == (
        "coco_chat/0", "coco_chat", ("data/coco/train2017/000000000009.jpg",)
    )  # fmt: skip
    assert (video.image, video.meta["videos"]) == ((), ["data/coco/clips/1.mp4"])
    assert video.conversations[0].value == "<video>\nWhat is it?"
    assert (pair.image, pair.answer, pair.meta["rejected"]) == (("data/images/a.png", "data/images/b.png"), "Yes", "No")
    assert pair.notes == ("rows of mmpr_pairs are read once (its repeat_time is 2)",)
    assert [json.dumps(to_original(row)) for row in (chat, pair)] == [json.dumps(CHAT), json.dumps(PAIR)]
    settings = SourceSettings(location=str(path), layout="internvl")
    assert {file.name for file in other_files(settings)} >= {"chat.jsonl", "pairs.jsonl"}


def test_paths_are_relative_to_the_folder_of_training(tmp_path):
    published(tmp_path)
    path = (tmp_path / "meta.json").rename(tmp_path / "data/meta.json")
    with pytest.raises(UserError, match=r"'data/coco/chat\.jsonl' of 'coco_chat' is no file .* set image_root"):
        list(open_source(SourceSettings(location=str(path))).rows())
    first, *_ = open_source(SourceSettings(location=str(path), image_root=str(tmp_path))).rows()
    assert first.image == ("data/coco/train2017/000000000009.jpg",)


@pytest.mark.parametrize(
    ("sets", "words"),
    [
        ({"x": entry("", "../secret.jsonl")}, "lies outside"),
        ({"x": entry("", "/etc/passwd")}, "lies outside"),
        ({"x": entry("", "a\0b")}, "x"),
        ({"x": entry("", "data/pairs.jsonl"), "y": {"root": "", "annotation": 1}}, "'y' needs the texts"),
    ],
)
def test_what_a_meta_file_may_not_name(tmp_path, sets, words):
    save_lines(tmp_path / "secret.jsonl", [CHAT])
    path = published(tmp_path / "set", **sets)
    with pytest.raises(UserError, match=words):
        list(open_source(SourceSettings(location=str(path), layout="internvl")).rows())
