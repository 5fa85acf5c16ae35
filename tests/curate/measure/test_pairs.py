"""Image–text matching models of transformers: tiny ones with random weights, beside their own forward pass."""

import json

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
import transformers as tf
from PIL import Image
from tokenizers import Tokenizer, models, pre_tokenizers, processors

from curate import pipeline
from curate.measure import pairs
from curate.measure.itm import load_matcher
from tests.curate import sets
from tests.curate.make_images import noise, write
from winnow.errors import UserError

TEXT = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
        "max_position_embeddings": 8, "vocab_size": 20, "bos_token_id": 1, "eos_token_id": 2, "pad_token_id": 0,
        "sep_token_id": 2}  # fmt: skip
VISION = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2,
          "image_size": 32, "patch_size": 16}  # fmt: skip
SIZE = {"height": 32, "width": 32}


def save(kind, folder):
    """A model of a kind with its processor."""
    torch.manual_seed(0)
    words = {word: number for number, word in enumerate(["[PAD]", "[BOS]", "[EOS]", "[UNK]", *"abcdefgh"])}
    tokenizer = Tokenizer(models.WordLevel(words, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing("[BOS] $A [EOS]", None, [("[BOS]", 1), ("[EOS]", 2)])
    fast = tf.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="[PAD]", unk_token="[UNK]", bos_token="[BOS]", eos_token="[EOS]"
    )
    settings = {"text_config": TEXT, "vision_config": VISION}
    if kind == "blip":
        config = tf.BlipConfig(**settings, projection_dim=8, image_text_hidden_size=8)
        config.text_config.encoder_hidden_size = 16
        model = tf.BlipForImageTextRetrieval(config)
        processor = tf.BlipProcessor(tf.BlipImageProcessor(size=SIZE), fast)
    elif kind == "siglip":
        model = tf.SiglipModel(tf.SiglipConfig(**settings))
        processor = tf.SiglipProcessor(tf.SiglipImageProcessor(size=SIZE), fast)
    else:
        model = tf.CLIPModel(tf.CLIPConfig(**settings, projection_dim=8))
        processor = tf.CLIPProcessor(tf.CLIPImageProcessor(size={"shortest_edge": 32}, crop_size=SIZE), fast)
    model.eval().save_pretrained(folder)
    processor.save_pretrained(folder)
    return str(folder), model, processor


@pytest.mark.parametrize("kind", ["blip", "siglip", "clip"])
def test_scores_are_those_of_the_model(kind, tmp_path):
    name, model, processor = save(kind, tmp_path)
    images = [Image.fromarray(np.random.default_rng(k).integers(0, 256, (40, 50, 3), dtype=np.uint8)) for k in range(3)]
    texts = ["a b", "c", "a b c d e f g h a b c d"]
    found = load_matcher(name).scores(images, texts)
    for image, text, score in zip(images, texts, found, strict=True):
        padding = "max_length" if kind == "siglip" else "longest"
        inputs = processor(
            images=[image], text=[text], return_tensors="pt", padding=padding, truncation=True, max_length=8
        )
        with torch.inference_mode():
            out = model(**inputs)
        if kind == "blip":
            expected = out.itm_score.softmax(-1)[0, 1]
        elif kind == "siglip":
            expected = out.logits_per_image.sigmoid()[0, 0]
        else:
            expected = torch.nn.functional.cosine_similarity(out.image_embeds, out.text_embeds)[0]
        assert score == pytest.approx(float(expected), abs=1e-4)
    assert len(set(found.round(7))) == 3


def test_a_model_that_cannot_be_had_is_a_sentence(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "bert"}))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_matcher(str(tmp_path))
    with pytest.raises(UserError, match="cannot be loaded"):
        load_matcher(str(tmp_path / "nothing"))


def test_rows_get_their_lowest_score_and_only_new_pairs_are_scored(tmp_path, monkeypatch):
    for number in range(3):
        write(tmp_path / "images" / f"{number}.png", noise(seed=number))
    write(tmp_path / "images/broken.png", b"broken")
    pictures = [["0.png"], ["0.png", "1.png"], ["broken.png"], []]
    rows = [sets.row(number, images, f"What {number}?") for number, images in enumerate(pictures)]
    sets.write_lines(tmp_path / "rows.jsonl", rows)
    asked = []

    class Brightness:
        def scores(self, images, texts):
            asked.extend(texts)
            return np.array([np.asarray(image).mean() / 255 for image in images])

    monkeypatch.setattr(pairs, "load_matcher", lambda name: Brightness())
    monkeypatch.setattr("curate.measure.models.load_matcher", lambda name: None)
    sources = [{"location": str(tmp_path / "rows.jsonl"), "image_root": str(tmp_path / "images")}]
    settings = {"signals": {"itm": "some/model", "workers": 1}, "rules": {"low": {"when": "itm < 2", "action": "flag"}}}
    recipe = sets.recipe(tmp_path, sources=sources, **settings)
    pipeline.run(recipe, "recipe.yaml")
    stored = tmp_path / "out/signals/itm.parquet"
    found = [row["itm"] for row in pq.read_table(stored).to_pylist()]
    bright = [float(np.asarray(Image.open(tmp_path / f"images/{k}.png").convert("RGB")).mean() / 255) for k in range(2)]
    assert found[:2] == pytest.approx([bright[0], min(bright)], abs=1e-3) and found[2:] == [None, None]
    assert len(asked) == 3
    before = stored.read_bytes()
    monkeypatch.setattr(pairs, "load_matcher", lambda name: pytest.fail("opened a model"))
    pipeline.decide_again(recipe, "recipe.yaml")
    assert stored.read_bytes() == before and len(asked) == 3, "decided without a model"
