"""Which modules are quantised, adapted, trained; found in the model, not listed by name."""

from __future__ import annotations

import re

import pytest
import torch
from safetensors.torch import save_file
from toys import llava_config

from curate.errors import UserError
from finetune.adapter import add_adapter, load_adapter_weights, part_of, set_trained
from finetune.model import anatomy_of, load_base
from finetune.towers import Anatomy, find_parts, lora_targets
from finetune.trainer import only_positions


def bare(name: str):
    """A model of a family on the meta device, from its default configuration."""
    import transformers

    config = getattr(transformers, f"{name}Config")()
    if name.startswith("Qwen"):  # the default widths do not fit each other
        config.vision_config.out_hidden_size = config.text_config.hidden_size
    with torch.device("meta"):
        return getattr(transformers, f"{name}ForConditionalGeneration")(config)


FAMILIES = {
    "Llava": ("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
    "LlavaOnevision": ("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
    "Qwen2_5_VL": ("model.language_model", "model.visual", ("model.visual.merger",)),
    "Qwen3VL": ("model.language_model", "model.visual", ("model.visual.merger", "model.visual.deepstack_merger_list")),
    "SmolVLM": ("model.text_model", "model.vision_model", ("model.connector",)),
    "InternVL": ("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
    "Gemma3": ("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
    "PaliGemma": ("model.language_model", "model.vision_tower", ("model.multi_modal_projector",)),
}


@pytest.mark.parametrize("family", FAMILIES)
def test_parts_of_the_families(family):
    model = bare(family)
    decoder, encoder, projector = FAMILIES[family]
    assert find_parts(model) == Anatomy(decoder, encoder, "lm_head", projector)
    pattern = lora_targets(model, find_parts(model), "all-linear")
    names = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    linears = [n for n, m in model.named_modules() if isinstance(m, torch.nn.Linear) and n.startswith(f"{decoder}.")]
    assert names == linears and names


def test_short_target_names_stay_out_of_the_tower():
    model = bare("Llava")
    pattern = lora_targets(model, find_parts(model), ["q_proj", "v_proj"])
    hits = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    assert len(hits) == 2 * model.config.text_config.num_hidden_layers
    assert all(name.startswith("model.language_model.") for name in hits)
    with pytest.raises(UserError, match=r"no linear layer of the decoder is called 'qkv'; known: .*q_proj"):
        lora_targets(model, find_parts(model), ["qkv"])


@pytest.fixture
def adapted(tiny_model, recipe_of):
    def make(**changes):
        recipe = recipe_of(**changes)
        torch.manual_seed(0)
        return add_adapter(
            load_base(str(tiny_model), quantization=recipe.quantization, compute_dtype=recipe.compute_dtype), recipe
        )

    return make


def test_only_the_decoder_is_four_bit(tiny_model):
    from bitsandbytes.nn import Linear4bit

    model = load_base(str(tiny_model), quantization="nf4", compute_dtype="bfloat16")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert isinstance(module, Linear4bit) == name.startswith("model.language_model."), name
            if isinstance(module, Linear4bit):
                assert module.weight.quant_state.nested and module.weight.quant_state.quant_type == "nf4"
                assert module.support_avx512bf16_for_cpu is False


@pytest.mark.parametrize("parts", [["lora"], ["projector"], ["lora", "projector"]], ids="+".join)
def test_exactly_the_asked_parts_train(adapted, parts):
    model = adapted()
    set_trained(model, parts)
    trained = {part_of(name) for name, p in model.named_parameters() if p.requires_grad}
    assert trained == set(parts)
    wanted = {name for name, _ in model.named_parameters() if part_of(name) in parts}
    assert {name for name, p in model.named_parameters() if p.requires_grad} == wanted
    assert all(p.dtype == torch.float32 for p in model.parameters() if p.requires_grad)


def test_projector_alone_and_lora_alone(adapted):
    assert {part_of(n) for n, p in adapted(lora_rank=0).named_parameters() if p.requires_grad} == {"projector"}
    assert {part_of(n) for n, p in adapted(projector=False).named_parameters() if p.requires_grad} == {"lora"}


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_variants(adapted, variant):
    config = adapted(lora_variant=variant).peft_config["default"]
    assert (config.use_rslora, config.use_dora) == (variant == "rslora", variant == "dora")


@pytest.fixture
def batch(processor, tmp_path):
    from PIL import Image
    from test_finetune_chat import conversation

    from finetune.collate import Collator

    Image.new("RGB", (16, 16), (250, 0, 0)).save(tmp_path / "a.png")
    talks = [conversation(("red?", "yes"), ("blue?", "no"), images=("a.png",)), conversation(("red?", "no"))]
    made = Collator(processor, tmp_path)(talks)
    return made.pop("labels"), {k: v for k, v in made.items() if k not in ("owners", "rows", "epochs")}


def gradients(model, labels, inputs):
    model.train()
    model.zero_grad()
    with torch.autocast("cpu", torch.bfloat16):
        logits = model(**inputs).logits
    trained = labels[:, 1:] != -100
    torch.nn.functional.cross_entropy(logits[:, :-1][trained].float(), labels[:, 1:][trained]).backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.requires_grad}


def test_an_evaluation_in_the_middle_leaves_gradients_alone(adapted, batch):
    """On CPUs with AVX512-BF16, bitsandbytes would repack its weights and lose autograd."""
    labels, inputs = batch
    model = adapted(lora_dropout=0.0)
    before = gradients(model, labels, inputs)
    model.eval()
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        model(**inputs)
    after = gradients(model, labels, inputs)
    assert all(torch.equal(before[name], after[name]) for name in before)
    first = [name for name in before if "layers.0." in name and "lora_B" in name]
    assert first and all(before[name].any() for name in first)


def test_logits_only_where_the_loss_looks(adapted, batch):
    labels, inputs = batch
    model = adapted(quantization="none", compute_dtype="float32").eval()
    trained = labels[:, 1:] != -100
    with torch.no_grad():
        whole = model(**inputs).logits[:, :-1][trained]
        with only_positions(model, trained):
            part = model(**inputs).logits
        again = model(**inputs).logits
    assert part.shape == whole.shape
    torch.testing.assert_close(part, whole)
    assert again.ndim == 3


def test_adapter_weights_survive_saving(adapted, tmp_path):
    model = adapted()
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if part_of(name):
                parameter.normal_()
    model.save_pretrained(tmp_path / "adapter")
    other = adapted()
    load_adapter_weights(other, tmp_path / "adapter")
    pairs = zip(model.named_parameters(), other.named_parameters(), strict=True)
    assert all(torch.equal(left, right) for (name, left), (_, right) in pairs if part_of(name))


def test_initial_projector(adapted, tiny_model, tmp_path):
    model = load_base(str(tiny_model), quantization="none", compute_dtype="float32")
    state = {
        n.rpartition("projector.")[2]: torch.randn_like(p) for n, p in model.named_parameters() if "projector" in n
    }
    save_file(state, tmp_path / "projector.safetensors")
    loaded = adapted(init_projector=tmp_path / "projector.safetensors")
    for name, parameter in loaded.named_parameters():
        if part_of(name) == "projector":
            torch.testing.assert_close(parameter, state[name.rpartition("default.")[2]], atol=2e-2, rtol=2e-2)
    save_file({"linear_1.weight": torch.zeros(2)}, tmp_path / "wrong.safetensors")
    with pytest.raises(UserError, match=r"no weight .*linear_1"):
        adapted(init_projector=tmp_path / "wrong.safetensors")


def test_model_that_does_not_load(tmp_path):
    with pytest.raises(UserError, match="does not load"):
        anatomy_of(str(tmp_path))


def test_language_model_is_refused(processor):
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(llava_config(processor.tokenizer).text_config)
    with pytest.raises(UserError, match="has no vision tower"):
        find_parts(model)
