import json
import shutil
from pathlib import Path

import numpy as np
import open_clip
import pytest
import torch
from gguf import GGUFReader
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText, AutoProcessor, LlamaForCausalLM

from tests.winnow.demo.tiny_clip import TINY_CLIP, write_clip
from winnow.demo import clip_tower, vlm
from winnow.demo.vlm import build_model, load_projector, save_checkpoint, widen_vocabulary
from winnow.errors import UserError

OPTIONS = {"tiny": True, "feature_layer": -1, "strategy": "full", "seed": 0}
FEATURES = (64 // 16) ** 2 + 1


def photo(seed: int, size: tuple[int, int] = (64, 64)) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    return Image.fromarray(pixels)


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_clip(tmp_path_factory.mktemp("clip"))


@pytest.fixture(scope="module")
def folder(clip_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("vlm") / "tiny"
    assert save_checkpoint(out, clip_folder, **OPTIONS)
    return out


@pytest.fixture(scope="module")
def model(folder: Path):
    return AutoModelForImageTextToText.from_pretrained(folder)


@pytest.fixture(scope="module")
def processor(folder: Path):
    return AutoProcessor.from_pretrained(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"quick_gelu": True},
        {"vision_cfg": TINY_CLIP["vision_cfg"] | {"patch_size": 8, "head_width": 32, "layers": 3}},
    ],
)
def test_tower_and_pixels_equal_open_clip(tmp_path, changes):
    folder = write_clip(tmp_path / "clip", **changes)
    theirs, preprocess = open_clip.create_model_from_pretrained(f"local-dir:{folder}")
    theirs.visual.output_tokens = True
    ours = clip_tower.vision_tower(folder)
    images = [photo(0), photo(1), photo(2, (100, 48))]
    pixels = torch.stack([preprocess(image) for image in images])
    assert torch.allclose(
        clip_tower.image_processor(folder)(images[:2], return_tensors="pt")["pixel_values"], pixels[:2], atol=1e-5
    )
    with torch.no_grad():
        pooled, tokens = theirs.eval().visual(pixels)
        out = ours(pixels, output_hidden_states=True)
        projected = out.pooler_output @ theirs.visual.proj
        # open_clip returns the patch tokens after its last norm, CLIPVisionModel before it.
        normed = ours.post_layernorm(out.last_hidden_state[:, 1:])
    assert torch.allclose(projected, pooled, atol=1e-4)
    assert torch.allclose(normed, tokens, atol=1e-4)
    assert torch.equal(out.hidden_states[-1], out.last_hidden_state)


def test_a_tower_without_counterpart_is_refused(tmp_path):
    folder = write_clip(tmp_path / "clip", vision_cfg=TINY_CLIP["vision_cfg"] | {"ls_init_value": 0.1})
    with pytest.raises(UserError, match="ls_init_value"):
        clip_tower.vision_tower(folder)


def test_weights_that_do_not_fit_the_config_are_refused(tmp_path, clip_folder):
    folder = shutil.copytree(clip_folder, tmp_path / "clip")
    config = json.loads((folder / "open_clip_config.json").read_text())
    config["model_cfg"]["vision_cfg"]["layers"] = 3
    (folder / "open_clip_config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match="does not fit"):
        clip_tower.vision_tower(folder)


def test_folder_loads_whole_and_in_bfloat16(folder):
    model, info = AutoModelForImageTextToText.from_pretrained(folder, output_loading_info=True)
    assert not any(info.values())
    assert model.dtype == torch.bfloat16
    assert {tensor.dtype for tensor in load_file(folder / "model.safetensors").values()} == {torch.bfloat16}
    assert model.lm_head.weight.data_ptr() == model.get_input_embeddings().weight.data_ptr()
    assert "quantization_config" not in (folder / "config.json").read_text()


def test_vocabulary_holds_the_image_token_and_is_padded(model, processor):
    tokenizer = processor.tokenizer
    weight = model.get_input_embeddings().weight
    assert len(tokenizer) == 49153 and weight.shape[0] == model.config.text_config.vocab_size == 49160
    assert tokenizer.convert_ids_to_tokens(tokenizer.encode("a<image>b")) == ["a", "<image>", "b"]
    assert tokenizer.image_token_id == model.config.image_token_id == 49152
    assert tokenizer.decode(tokenizer.encode("how many? 12 <café>")) == "how many? 12 <café>"
    assert tokenizer.padding_side == "left"
    settings = model.generation_config
    ends = tokenizer.convert_ids_to_tokens([settings.eos_token_id, settings.pad_token_id])
    assert ends == ["<|im_end|>", "<|endoftext|>"]


def test_new_embedding_rows_are_the_mean_of_the_old():
    model = LlamaForCausalLM(vlm.tiny_config(10))
    old = model.get_input_embeddings().weight.detach().clone()
    widen_vocabulary(model, 11)
    new = model.get_input_embeddings().weight
    assert new.shape[0] == 16 and torch.equal(new[:10], old)
    assert torch.allclose(new[10:], old.mean(dim=0).expand(6, -1), atol=1e-6)


def test_placeholders_equal_features_for_any_image_size(model, processor):
    chat = "<|im_start|>user\n<image>what color is the shape?<|im_end|>\n<|im_start|>assistant\n"
    two = chat.replace("what", "<image>what")
    batch = processor(
        text=[chat, two], images=[photo(0), photo(1, (100, 48)), photo(2, (20, 20))], padding=True, return_tensors="pt"
    )
    count = (batch["input_ids"] == model.config.image_token_id).sum(dim=1)
    assert count.tolist() == [FEATURES, 2 * FEATURES]
    assert model.config.image_seq_length == FEATURES
    features = model.get_image_features(batch["pixel_values"]).pooler_output
    assert [tuple(one.shape) for one in features] == [(FEATURES, 64)] * 3
    assert torch.isfinite(model(**batch).logits).all()


def test_without_the_class_token_both_sides_count_one_less(clip_folder, tmp_path):
    out = tmp_path / "patches"
    save_checkpoint(out, clip_folder, **(OPTIONS | {"strategy": "default", "feature_layer": -2}))
    model, processor = AutoModelForImageTextToText.from_pretrained(out), AutoProcessor.from_pretrained(out)
    batch = processor(text="<image>", images=photo(0), return_tensors="pt")
    assert batch["input_ids"].shape[1] == FEATURES - 1
    model(**batch)


def test_generation_depends_on_the_image_and_not_on_padding(folder, processor):
    model = AutoModelForImageTextToText.from_pretrained(folder, dtype=torch.float32)

    def answer(chats: list[str], images: list[Image.Image]) -> list[str]:
        batch = processor(text=chats, images=images, padding=True, return_tensors="pt")
        new = model.generate(**batch, max_new_tokens=4, do_sample=False)[:, batch["input_ids"].shape[1] :]
        return processor.batch_decode(new)

    short = "<|im_start|>user\n<image>what?<|im_end|>\n<|im_start|>assistant\n"
    long = short.replace("what?", "what color is the shape in the image?")
    alone = answer([short], [photo(0)])
    assert answer([short, long], [photo(0), photo(1)])[0] == alone[0]
    logits = [model(**processor(text=short, images=photo(seed), return_tensors="pt")).logits[0, -1] for seed in (0, 1)]
    assert not torch.allclose(*logits)


@pytest.mark.slow
def test_template_is_smollm2s_own_but_for_the_default_system_text(processor):
    theirs = GGUFReader(vlm.gguf_path()).fields["tokenizer.chat_template"].contents()
    default = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
    chat = [
        {"role": "user", "content": " What is\n<b>this</b>? "},
        {"role": "assistant", "content": "A circle."},
        {"role": "user", "content": "Sure?"},
    ]
    system = [{"role": "system", "content": "Answer briefly."}]
    for prompt in (True, False):
        ours = processor.apply_chat_template(chat, add_generation_prompt=prompt)
        assert default + ours == processor.apply_chat_template(chat, theirs, add_generation_prompt=prompt)
        ours = processor.apply_chat_template(system + chat, add_generation_prompt=prompt)
        assert ours == processor.apply_chat_template(system + chat, theirs, add_generation_prompt=prompt)


def test_image_blocks_become_placeholders_where_they_stand(processor):
    content = [{"type": "text", "text": "Left "}, {"type": "image"}, {"type": "text", "text": " or right?"}]
    chat = [{"role": "user", "content": content}, {"role": "assistant", "content": [{"type": "text", "text": "left"}]}]
    assert processor.apply_chat_template(chat) == (
        "<|im_start|>user\nLeft <image> or right?<|im_end|>\n<|im_start|>assistant\nleft<|im_end|>\n"
    )


def test_an_aligned_projector_is_loaded_and_a_foreign_one_refused(clip_folder, tmp_path, processor):
    model = build_model(clip_folder, processor.tokenizer, tiny=True)
    aligned = {
        f"multi_modal_projector.{name}": torch.full_like(tensor, 0.5)
        for name, tensor in model.model.multi_modal_projector.state_dict().items()
    }
    save_file(aligned, tmp_path / "projector.safetensors")
    load_projector(model, tmp_path / "projector.safetensors")
    assert all((tensor == 0.5).all() for tensor in model.model.multi_modal_projector.state_dict().values())
    save_file({"linear_1.weight": torch.zeros(3, 3)}, tmp_path / "other.safetensors")
    with pytest.raises(UserError, match="no projector for this model"):
        load_projector(model, tmp_path / "other.safetensors")


def test_the_same_folder_again_and_nothing_to_do_when_current(folder, clip_folder, tmp_path):
    assert not save_checkpoint(folder, clip_folder, **OPTIONS)
    assert save_checkpoint(tmp_path / "again", clip_folder, **OPTIONS)
    for path in folder.iterdir():
        if path.name != "manifest.json":
            assert path.read_bytes() == (tmp_path / "again" / path.name).read_bytes()
    assert save_checkpoint(tmp_path / "again", clip_folder, **(OPTIONS | {"seed": 1}))


def test_a_failed_build_leaves_nothing(clip_folder, tmp_path):
    (tmp_path / "clip").mkdir()
    with pytest.raises(UserError, match="open_clip checkpoint"):
        save_checkpoint(tmp_path / "out", tmp_path / "clip", **OPTIONS)
    assert [path.name for path in tmp_path.iterdir()] == ["clip"]


@pytest.mark.slow
def test_the_real_weights_speak(tmp_path, clip_folder):
    out = tmp_path / "vlm"
    save_checkpoint(out, clip_folder, **(OPTIONS | {"tiny": False}))
    model, processor = AutoModelForImageTextToText.from_pretrained(out), AutoProcessor.from_pretrained(out)
    assert "quantization_config" not in (out / "config.json").read_text()
    chat = processor.apply_chat_template(
        [{"role": "user", "content": "What is the capital of France?"}], add_generation_prompt=True
    )
    batch = processor(text=chat, return_tensors="pt")
    assert "Paris" in processor.decode(model.generate(**batch, max_new_tokens=10)[0])
