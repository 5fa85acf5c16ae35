"""Labels: on the answers of every family's processor, and only there."""

from __future__ import annotations

import pytest
import torch
from PIL import Image

from finetune.data.chat import normalized_text
from finetune.data.collate import Collator, check_masks
from tests.finetune import families
from tests.finetune.data.test_chat import NO_STOP, conversation
from tests.finetune.toys import build_processor
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    Image.new("RGB", (40, 30), (200, 10, 10)).save(folder / "a.png")
    Image.new("RGB", (30, 50), (20, 10, 210)).save(folder / "b.png")
    return folder


TALKS = {
    (images, turns): conversation(
        *[(f"what color is the square? {turn}", f"a red square {turn}") for turn in range(turns)],
        images=("a.png", "b.png")[:images],
        system="Answer briefly." if turns == 2 else None,
    )
    for images in (0, 1, 2)
    for turns in (1, 2)
}


def decoded(collator, batch, number):
    """Text of the trained tokens of each answer of one conversation."""
    owners = batch["owners"][number]
    ids = batch["labels"][number]
    return [collator.processor.tokenizer.decode(ids[owners == owner]) for owner in sorted(set(owners.tolist()) - {-1})]


@pytest.mark.parametrize("family", families.GOOD)
def test_labels_decode_to_the_answers(family, root):
    collator = Collator(families.GOOD[family](), root)
    for (images, turns), talk in TALKS.items():
        batch = collator([talk])
        stop = collator.processor.tokenizer.eos_token
        assert list(map(normalized_text, decoded(collator, batch, 0))) == [
            normalized_text(f"a red square {turn}{stop}") for turn in range(turns)
        ], (images, turns)
        untrained = batch["input_ids"][0][batch["owners"][0] < 0]
        rest = normalized_text(collator.processor.tokenizer.decode(untrained))
        assert "aredsquare" not in rest and "whatcolor" in rest
    check = check_masks(collator, TALKS.values())
    assert check.stops and 0 < check.trained < check.tokens


@pytest.mark.parametrize("family", [name for name in families.GOOD if name != "mllama"])
def test_batches_equal_their_members(family, root):
    """Mixed batch (no image, two images, two turns): same labels as alone, padding ignored on the right."""
    collator = Collator(families.GOOD[family](), root)
    talks = [TALKS[0, 1], TALKS[2, 2], TALKS[1, 1]]
    batch = collator(talks)
    first = 0
    for number, talk in enumerate(talks):
        alone = collator([talk])
        if alone["input_ids"].shape == batch["input_ids"][number : number + 1].shape:
            assert torch.equal(alone["labels"][0], batch["labels"][number])
        length = int(batch["attention_mask"][number].sum())
        assert (batch["labels"][number, length:] == -100).all()
        assert decoded(collator, batch, number) == decoded(collator, alone, 0)
        owners = set(batch["owners"][number].tolist()) - {-1}
        assert owners == set(range(first, first + len(talk.rows)))
        first += len(talk.rows)
    assert batch["rows"].tolist() == [0, 0, 1, 0]
    for key in ("mm_token_type_ids", "token_type_ids"):
        if key in batch:
            assert batch[key].shape == batch["input_ids"].shape


def test_a_processor_that_hides_its_image_tokens_is_refused(root):
    collator = Collator(families.idefics2(), root)
    with pytest.raises(UserError, match="mask self-check failed for Idefics2Processor"):
        check_masks(collator, [TALKS[1, 1]])


def test_missing_stop_token_is_seen(root):
    assert check_masks(Collator(build_processor(NO_STOP), root), [TALKS[0, 1]]).stops is False


def test_same_prompt_tokens_as_the_library(root):
    """Ours and apply_chat_template(tokenize=True) give the same ids, bos included."""
    from finetune.data.chat import to_messages

    for family in ("gemma3", "qwen2_5_vl", "llava_next"):
        processor = families.GOOD[family]()
        messages = to_messages(TALKS[1, 2])
        for message in messages:
            for block in message["content"]:
                if block["type"] == "image":
                    block["image"] = Image.open(root / "a.png").convert("RGB")
        theirs = processor.apply_chat_template(messages, tokenize=True, return_dict=True, return_tensors="pt")
        assert torch.equal(Collator(processor, root)([TALKS[1, 2]])["input_ids"], theirs["input_ids"])


def test_paligemma_by_suffix(root):
    """No chat template: the answer and its stop token are the suffix, nothing else is trained."""
    from finetune.data.chat import uses_prompt_suffix

    processor = families.paligemma()
    assert uses_prompt_suffix(processor) and not uses_prompt_suffix(families.gemma3())
    collator = Collator(processor, root)
    talks = [TALKS[1, 1], conversation(("<image>\nwhat color?", "blue"), images=("b.png",))]
    batch = collator(talks)
    assert [decoded(collator, batch, number) for number in (0, 1)] == [["a red square 0<eos>"], ["blue<eos>"]]
    rest = processor.tokenizer.decode(batch["input_ids"][0][batch["owners"][0] < 0])
    assert "what color is the square? 0" in rest and rest.count("<image>") == 4
    assert batch["token_type_ids"].shape == batch["input_ids"].shape
    assert (batch["labels"][batch["attention_mask"] == 0] == -100).all()
    check = check_masks(collator, talks)
    assert check.stops and check.trained == int((batch["labels"] != -100).sum())


def test_paligemma_takes_single_questions_only(root, tmp_path):
    import json

    from finetune.data.preflight import check_rows
    from finetune.data.rows import open_rows
    from finetune.recipe import TrainRecipe
    from tests.finetune.toys import record, write_rows

    long = record(1, "a.png", "q", "a")
    long["conversations"] *= 2
    told = record(2, "a.png", "q", "a")
    told["conversations"].insert(0, {"from": "system", "value": "be brief"})
    blind = record(3, None, "what color?", "red")
    data = write_rows(tmp_path / "rows.jsonl", [record(0, "a.png", "<image>what color?", "red"), long, told, blind])
    rows = open_rows(TrainRecipe(name="p", model="m", data=data, image_root=root))
    found = check_rows(
        rows, families.paligemma(), settings=InputSettings(), max_length=99, max_reject=1.0, sample_answers=False,
        workers=0,
        rejects=tmp_path / "rejects.jsonl",
    )  # fmt: skip
    reasons = [json.loads(line)["reason"] for line in (tmp_path / "rejects.jsonl").read_text().splitlines()]
    assert reasons == ["not_one_question_and_answer"] * 2 + ["needs_image"] and found.accepted.row.tolist() == [0]
    counted = Collator(families.paligemma(), root)([conversation(("<image>what color?", "red"), images=("a.png",))])
    assert found.accepted.tokens.tolist() == [int(counted["attention_mask"].sum())]
