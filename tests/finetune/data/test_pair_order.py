"""Both sides of a pair keep their place in a batch that mixes rows with and without an image."""

from __future__ import annotations

import pytest
from PIL import Image

from finetune.data.chat import join_rows
from finetune.data.collate import Collator
from finetune.data.pairs import PairCollator
from finetune.data.rows import open_rows
from finetune.recipe import TrainRecipe
from tests.finetune.toys import build_processor, record, write_rows


@pytest.mark.parametrize("images", [(0, 1, 0, 1), (1, 0, 0, 0), (0, 0, 0, 1), (0, 0, 0, 0)], ids=str)
def test_chosen_answers_come_first_in_the_order_of_the_rows(tmp_path, images):
    Image.new("RGB", (16, 16)).save(tmp_path / "a.png")
    answers = [("red", "blue"), ("yes", "no"), ("green", "black"), ("circle", "square")]
    records = [
        record(number, "a.png" if image else None, "<image>\nwhat?" if image else "what?", good, rejected=bad)
        for number, (image, (good, bad)) in enumerate(zip(images, answers, strict=True))
    ]
    rows = open_rows(TrainRecipe(name="a", model="m", data=write_rows(tmp_path / "rows.jsonl", records)))
    processor = build_processor()
    order = [2, 0, 3, 1]
    batch = PairCollator(Collator(processor, rows.image_root), rows)([join_rows([rows[n]], [n]) for n in order])
    trained = [
        processor.tokenizer.decode(ids[labels >= 0]).replace("<|im_end|>", "").strip()
        for ids, labels in zip(batch["input_ids"], batch["labels"], strict=True)
    ]
    assert trained == [answers[n][side] for side in (0, 1) for n in order]
    assert batch["rows"].tolist() == order * 2
    assert [int(owners.max()) for owners in batch["owners"]] == list(range(8))
