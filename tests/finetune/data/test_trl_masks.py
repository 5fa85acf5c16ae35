"""Where a template marks what the assistant says, TRL trains on the same tokens as we do."""

from __future__ import annotations

import pytest
from PIL import Image

from finetune.data.collate import Collator
from tests.finetune.data.test_chat import conversation
from tests.finetune.data.test_collate import TALKS
from tests.finetune.toys import GENERATION, build_processor


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    folder = tmp_path_factory.mktemp("images")
    for name in ("a.png", "b.png"):
        Image.new("RGB", (40, 30), (200, 10, 10)).save(folder / name)
    return folder


def theirs(talk, root):
    """TRL's batch for a conversation, with its ``assistant_only_loss``."""
    vision = pytest.importorskip("trl.trainer.sft_trainer", reason="TRL is not installed")
    collator = vision.DataCollatorForVisionLanguageModeling(
        processor=build_processor(GENERATION), max_length=None, assistant_only_loss=True
    )
    messages = [{"role": turn.role, "content": turn.value} for turn in talk.turns]
    return collator([{"images": [Image.open(root / name) for name in talk.images], "messages": messages}])


@pytest.mark.parametrize("talk", TALKS.values(), ids=[f"{images} images, {turns} turns" for images, turns in TALKS])
def test_same_tokens_and_labels_as_trl(talk, root):
    batch, other = Collator(build_processor(GENERATION), root)([talk]), theirs(talk, root)
    assert batch["input_ids"].tolist() == other["input_ids"].tolist()
    assert batch["labels"].tolist() == other["labels"].tolist()


def test_the_same_mask_without_any_mark_in_the_template(root):
    """Ours needs no ``{% generation %}``: the plain template gives the labels that TRL needs the marked one for."""
    talk = conversation(("is it red?", "yes"), images=("a.png",))
    plain = GENERATION.replace("{% generation %}", "").replace("{% endgeneration %}\n", "")
    assert Collator(build_processor(plain), root)([talk])["labels"].tolist() == theirs(talk, root)["labels"].tolist()
