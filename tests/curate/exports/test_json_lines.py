"""Line formats against the rules of their loaders, told from the loaders' own sources.

ms-swift 4.6 and LLaMA-Factory 0.9.5 cannot be installed beside this transformers; what their readers
do with a row is written out here. TRL's own functions run where it is installed.
"""

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from curate import pipeline
from tests.curate import sets
from tests.curate.exports.made import FITTING, ROWS, UNFIT, exported, make, talk
from winnow.rows.lines import read_jsonl


@pytest.fixture(scope="module")
def curated(tmp_path_factory):
    return make(tmp_path_factory.mktemp("lines"))


def lines(path):
    return [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]


def by_id(rows):
    return {row["id"]: row for row in rows}


def swift_reads(row):
    """ms-swift's MessagesPreprocessor and its image rule: what training gets, or an assertion that deletes the row."""
    assert row["messages"]
    for message in row["messages"]:
        assert set(message) == {"role", "content"}
        assert message["role"] in {"system", "user", "assistant"}
        assert message["content"] is not None
    assert not set(row) & {"image", "conversations", "system", "label", "objects", "tools", "solution", "videos"}
    tags = sum(message["content"].count("<image>") for message in row["messages"])
    assert tags == len(row["images"]), "missing tags go before the first turn, surplus ones stay as text"
    return row["images"]


def llama_factory_reads(row, info, media_dir):
    """SharegptDatasetConverter and _validate_messages: prompt, response, system, images; None for a lost row."""
    # A column or tag that is not named is None.
    columns = {name: info["columns"].get(name) for name in ("messages", "system", "images", "tools", "videos")}
    tags = {f"{name}_tag": info["tags"].get(f"{name}_tag") for name in ("role", "content", "user", "assistant")}
    system_tag = info["tags"].get("system_tag")
    messages = row[columns["messages"]]
    if system_tag and messages and messages[0][tags["role_tag"]] == system_tag:
        system, messages = messages[0][tags["content_tag"]], messages[1:]
    else:
        system = row[columns["system"]] if columns["system"] else ""
    expected = (tags["user_tag"], tags["assistant_tag"])
    if any(one[tags["role_tag"]] != expected[n % 2] for n, one in enumerate(messages)) or len(messages) % 2:
        return None
    images = row[columns["images"]]
    if sum(one[tags["content_tag"]].count("<image>") for one in messages) != len(images):
        raise ValueError("The number of images does not match the number of <image> tokens")
    found = [media_dir / one if (media_dir / one).is_file() else Path(one) for one in images]
    return messages[:-1], messages[-1], system, found


def test_jsonl_is_the_curated_set(curated):
    folder, done = exported(curated, "jsonl")
    assert (folder / "samples.jsonl").read_bytes() == (curated / "samples.jsonl").read_bytes()
    assert done.counts == {"rows": 11, "images": 10, "splits": {"train": 11}, "corrected": 0, "rejected": 0}
    assert (folder / "rejects.jsonl").read_text() == ""


def test_jsonl_with_copied_images_stands_alone(curated, tmp_path):
    folder, _ = exported(curated, "jsonl", out=tmp_path / "moved", images="copy")
    for sample in read_jsonl(folder / "samples.jsonl"):
        for path in sample.image:
            Image.open(folder / path).load()
    assert len(list((folder / "images").rglob("*.*"))) == 3, "equal images are one file"


def test_ms_swift(curated):
    folder, done = exported(curated, "ms-swift")
    rows = lines(folder / "train.jsonl")
    assert [row["id"] for row in rows] == FITTING
    for row in rows:
        for path in swift_reads(row):
            assert Path(path).is_absolute()
            Image.open(path).load()
    found = by_id(rows)
    assert found["set/train/1"]["messages"][0]["content"] == "<image>\nWhat is it?"
    assert found["set/train/2"]["messages"][0]["content"] == "Look: <image>\nWho?"
    assert found["set/train/3"]["messages"][:2] == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "<image>\n<image>\nSame?"},
    ]
    assert found["set/train/5"]["images"] == []
    assert found["set/train/5"]["channel"] == "set"
    assert len({tuple(row) for row in rows}) == 1, "one order of keys, or Arrow sees two schemas"
    assert done.counts["rejected"] == len(UNFIT)


@pytest.mark.parametrize("to", ["ms-swift", "llama-factory", "trl"])
def test_rows_that_trainers_cannot_take_are_listed_with_the_reason(curated, to):
    folder, done = exported(curated, to)
    rejected = {row["sample_id"]: row["reason"] for row in lines(folder / "rejects.jsonl")}
    assert list(rejected) == list(UNFIT)
    assert "end with an answer; these are user" in rejected["set/train/9"]
    assert rejected["set/train/10"] == "2 <image> markers in the turns for 1 images"
    assert rejected["set/train/11"] == "1 <image> markers in the turns for 0 images"
    assert done.counts["rows"] == len(FITTING) == len(lines(folder / "train.jsonl"))


@pytest.mark.parametrize("images", ["path", "copy"])
def test_llama_factory(curated, tmp_path, images):
    folder, _ = exported(curated, "llama-factory", out=tmp_path / "out", images=images)
    info = json.loads((folder / "dataset_info.json").read_text())["set_train"]
    assert info["formatting"] == "sharegpt"
    read = {}
    for row in lines(folder / info["file_name"]):
        prompt, response, system, pictures = llama_factory_reads(row, info, folder)
        for path in pictures:
            Image.open(path).load()
        read[row["id"]] = (len(prompt), response["content"], system, len(pictures))
    assert list(read) == FITTING
    assert read["set/train/2"] == (3, "there", "", 1)
    assert read["set/train/3"] == (1, "no", "Be brief.", 2)
    assert read["set/train/5"] == (1, "4", "", 0)
    assert read["set/train/6"] == (1, "Hello", "You are a cat.", 0)
    named = {value for key, value in info["columns"].items()}
    assert all(named <= set(row) for row in lines(folder / info["file_name"]))


def test_trl_rows_are_typed(curated):
    folder, _ = exported(curated, "trl")
    found = by_id(lines(folder / "train.jsonl"))
    assert list(found) == FITTING
    for row in found.values():
        blocks = [block for turn in row["messages"] for block in turn["content"]]
        assert Counter(block["type"] for block in blocks)["image"] == len(row["images"])
        assert not any("<image>" in block.get("text", "") for block in blocks)
    assert found["set/train/1"]["messages"][0]["content"] == [
        {"type": "image"},
        {"type": "text", "text": "What is it?"},
    ]
    assert found["set/train/4"]["messages"][0]["content"] == [
        {"type": "text", "text": "First "},
        {"type": "image"},
        {"type": "text", "text": " then "},
        {"type": "image"},
        {"type": "text", "text": "?"},
    ]
    assert found["set/train/5"]["images"] == []


def test_trl_takes_the_rows(curated, tmp_path):
    """TRL's own preparation, on rows that went through Arrow as its users load them."""
    data_utils = pytest.importorskip("trl.data_utils")
    import datasets

    folder, _ = exported(curated, "trl")
    rows = datasets.load_dataset(
        "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    rows = rows.cast_column("images", datasets.List(datasets.Image()))
    assert "images" in rows.column_names, "TRL then takes the set as one with images"
    for row, original in zip(rows, [one for one in ROWS if one["id"] in FITTING], strict=True):
        assert data_utils.is_conversational(row)
        prepared = data_utils.prepare_multimodal_messages(row["messages"], images=row["images"])
        given = original.get("image") or []
        images = [block["image"] for turn in prepared for block in turn["content"] if block["type"] == "image"]
        assert len(images) == len([given] if isinstance(given, str) else given)
        assert all(isinstance(image, Image.Image) for image in images)


@pytest.mark.parametrize("to", ["ms-swift", "llama-factory", "trl", "jsonl"])
def test_datasets_reads_every_line_format(curated, tmp_path, to):
    import datasets

    folder, done = exported(curated, to)
    if to == "jsonl":  # Winnow's meta has no one shape
        return
    rows = datasets.load_dataset(
        "json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=str(tmp_path / "cache")
    )
    assert [row["id"] for row in rows] == FITTING
    assert len(rows) == done.counts["rows"]


@pytest.mark.slow
def test_a_set_that_begins_with_much_text_is_loaded(tmp_path):
    """`datasets` infers the columns from the first 10 MiB; the first image, loss and boxes come after these."""
    import datasets

    sets.save(tmp_path / "images/a.png", sets.scene(1))
    text = "word " * 2000
    rows = [{"id": n, "messages": talk(("user", f"{n} {text}"), ("assistant", "x"))} for n in range(1200)]
    asked = [("user", "<image>Find <ref-object>"), ("assistant", "<bbox>", {"loss": True})]
    objects = {"ref": ["disc"], "bbox": [[1, 2, 3, 4]]}
    rows += [{"id": n, "messages": talk(*asked), "images": ["a.png"], "objects": objects} for n in (1200, 1201)]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    pipeline.run(sets.recipe(tmp_path, rules={}), "recipe.yaml")
    folder, _ = exported(tmp_path / "out", "ms-swift")
    cache = str(tmp_path / "cache")
    found = datasets.load_dataset("json", data_files=str(folder / "train.jsonl"), split="train", cache_dir=cache)
    assert [int(one.rpartition("/")[2]) for one in found["id"]] == [1200, *range(1200), 1201]
    assert found[-1]["objects"] == objects
    assert (found[0]["messages"][1]["loss"], found[1]["images"], len(found[-1]["images"])) == (True, [], 1)
