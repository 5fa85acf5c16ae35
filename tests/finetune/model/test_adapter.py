"""Which modules are quantised, adapted, trained; found in the model, not listed by name."""

from __future__ import annotations

import re

import pytest
import torch

from finetune.model.adapter import build_learner, load_weights, set_trained
from finetune.model.load import load_base
from finetune.model.parts import lora_targets
from finetune.training.trainer import only_positions
from tests.architectures import bare
from tests.finetune.toys import llava_config
from winnow.errors import UserError
from winnow.vlm.anatomy import find_parts
from winnow.vlm.models import empty_model


@pytest.mark.parametrize("name", ["llava", "qwen3_vl", "idefics", "llama4", "janus", "git"])
def test_lora_reaches_every_linear_layer_of_the_decoder_and_no_other(name):
    """Towers inside the decoder (IDEFICS, GIT) and output layers inside it (Llama 4) are left out, and routers."""
    model = bare(name)
    parts = find_parts(model)
    pattern, experts = lora_targets(model, parts, "all-linear")
    outside = tuple(f"{module}." for module in (parts.encoder, parts.head, *parts.projector))
    linears = [
        full for full, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and f"{full}.".startswith(f"{parts.decoder}.")
        and not f"{full}.".startswith(outside) and not full.endswith(".router")
    ]  # fmt: skip
    assert [full for full, _ in model.named_modules() if re.fullmatch(pattern, full)] == linears and linears
    assert bool(experts) == (name == "llama4")


def test_short_target_names_stay_out_of_the_tower():
    model = bare("llava")
    pattern, _ = lora_targets(model, find_parts(model), ["q_proj", "v_proj"])
    hits = [name for name, _ in model.named_modules() if re.fullmatch(pattern, name)]
    assert len(hits) == 2 * model.config.text_config.num_hidden_layers
    assert all(name.startswith("model.language_model.") for name in hits)
    with pytest.raises(UserError, match=r"no linear layer of the decoder is called 'qkv'; known: .*q_proj"):
        lora_targets(model, find_parts(model), ["qkv"])
    with pytest.raises(UserError, match=r"did you mean q_proj\?"):
        lora_targets(model, find_parts(model), ["q_projj"])


@pytest.fixture
def adapted(tiny_model, recipe_of):
    """A learner on the tiny model."""

    def make(**changes):
        recipe = recipe_of(**changes)
        torch.manual_seed(0)
        base = load_base(
            str(changes.get("model", tiny_model)), quantization=recipe.quantization, compute_dtype=recipe.compute_dtype
        )
        return build_learner(base, recipe)

    return make


def stage_of(recipe_of, **changes):
    return recipe_of(**changes).resolved_stages()[0]


def learning(learner):
    return {name for name, parameter in learner.model.named_parameters() if parameter.requires_grad}


def test_only_the_decoder_is_four_bit(tiny_model):
    from bitsandbytes.nn import Linear4bit

    model = load_base(str(tiny_model), quantization="nf4", compute_dtype="bfloat16")
    for name, module in model.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert isinstance(module, Linear4bit) == name.startswith("model.language_model."), name
            if isinstance(module, Linear4bit):
                assert module.weight.quant_state.nested and module.weight.quant_state.quant_type == "nf4"
                assert module.support_avx512bf16_for_cpu is False


@pytest.mark.parametrize("parts", [["decoder"], ["projector"], ["decoder", "projector"]], ids="+".join)
def test_exactly_the_asked_parts_train(adapted, recipe_of, parts):
    learner = adapted()
    set_trained(learner, stage_of(recipe_of, stages=[{"train": parts}]))
    assert {learner.parameter_parts[name] for name in learning(learner)} == set(parts)
    assert learning(learner) == {name for name, part in learner.parameter_parts.items() if part in parts}
    assert all(p.dtype == torch.float32 for p in learner.model.parameters() if p.requires_grad)


def test_projector_alone_and_decoder_alone(adapted):
    assert set(adapted(decoder="frozen").parameter_parts.values()) == {"projector"}
    assert set(adapted(projector=False).parameter_parts.values()) == {"decoder"}


@pytest.mark.parametrize("variant", ["lora", "rslora", "dora"])
def test_variants(adapted, variant):
    config = adapted(lora_variant=variant).model.peft_config["default"]
    assert (config.use_rslora, config.use_dora) == (variant == "rslora", variant == "dora")


TOWER = "model.vision_tower.encoder.layers."
PROJECTOR = "model.multi_modal_projector."


@pytest.mark.parametrize(
    ("vision", "wanted"),
    [("frozen", ()), ("lora", (f"{TOWER}0.", f"{TOWER}1.")), ({"last_n": 1}, (f"{TOWER}1.",)), ("full", ("tower",))],
    ids=["frozen", "lora", "last_n", "full"],
)
def test_vision_modes(adapted, recipe_of, deep_model, vision, wanted):
    """Three blocks, the projector reads the second one: the third is never counted and never trained."""
    from finetune.model.adapter import plain_name

    learner = adapted(model=str(deep_model), vision=vision, projector=False, decoder="frozen" if wanted else "lora")
    set_trained(learner, stage_of(recipe_of, vision=vision, projector=False, decoder="frozen" if wanted else "lora"))
    names = learning(learner)
    plain = {plain_name(name) for name in names}
    if vision == "frozen":
        assert not any("vision_tower" in name for name in plain) and plain
    elif vision == "full":
        assert (
            f"{TOWER}0.self_attn.q_proj.weight" in plain
            and "model.vision_tower.embeddings.position_embedding.weight" in plain
        )
    else:
        assert {name for name in plain if name.startswith(wanted)} == plain
        assert all(any(name.startswith(block) for name in plain) for block in wanted)
        assert all(".lora_" in name for name in names) == (vision == "lora")
    assert not any(name.startswith(f"{TOWER}2.") or "post_layernorm" in name for name in plain)


def test_parts_have_their_own_learning_rates(adapted, recipe_of, tmp_path):
    from transformers import TrainingArguments

    from finetune.training.losses import LossStore
    from finetune.training.trainer import SampleLossTrainer

    options = {"vision": {"last_n": 1}, "lora_variant": "lora+",
               "learning_rate": {"decoder": 1e-3, "projector": 2e-3, "vision": 3e-3}}  # fmt: skip
    learner = adapted(**options)
    stage = stage_of(recipe_of, **options)
    set_trained(learner, stage)
    trainer = SampleLossTrainer(
        learner=learner, stage=stage, losses=LossStore(tmp_path, 0, 0), b_ratio=4.0,
        args=TrainingArguments(output_dir=str(tmp_path), use_cpu=True, report_to=[]),
    )  # fmt: skip
    rates = {id(p): group["lr"] for group in trainer.create_optimizer().param_groups for p in group["params"]}
    assert len(rates) == len(learning(learner))
    for name, parameter in learner.model.named_parameters():
        if parameter.requires_grad:
            decoder = 4e-3 if "lora_B" in name else 1e-3
            wanted = {"decoder": decoder, "projector": 2e-3, "vision": 3e-3}[learner.parameter_parts[name]]
            assert rates[id(parameter)] == pytest.approx(wanted), name


def test_eight_bit(adapted, batch):
    from bitsandbytes.nn import Linear8bitLt

    labels, inputs = batch
    learner = adapted(quantization="int8", lora_dropout=0.0)
    quantised = [name for name, module in learner.model.named_modules() if isinstance(module, Linear8bitLt)]
    assert quantised and all("language_model" in name for name in quantised)
    found = gradients(learner.model, labels, inputs)
    assert any(found[name].any() for name in found if "lora_B" in name)


def test_the_whole_decoder(adapted, recipe_of):
    learner = adapted(decoder="full", quantization="none", projector=False)
    assert not hasattr(learner.model, "peft_config")
    set_trained(learner, stage_of(recipe_of, decoder="full", quantization="none", projector=False))
    assert learning(learner) == {
        name for name, _ in learner.model.named_parameters() if name.startswith(("model.language_model.", "lm_head."))
    }


@pytest.fixture
def batch(processor, tmp_path):
    from PIL import Image

    from finetune.data.collate import Collator
    from tests.finetune.data.test_chat import conversation

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


@pytest.mark.slow
def test_an_evaluation_in_the_middle_leaves_gradients_alone(adapted, batch):
    """On CPUs with AVX512-BF16, bitsandbytes would repack its weights and lose autograd."""
    labels, inputs = batch
    model = adapted(lora_dropout=0.0).model
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
    model = adapted(quantization="none", compute_dtype="float32").model.eval()
    trained = labels[:, 1:] != -100
    with torch.no_grad():
        whole = model(**inputs).logits[:, :-1][trained]
        with only_positions(model.get_output_embeddings(), trained):
            part = model(**inputs).logits
        again = model(**inputs).logits
    assert part.shape == whole.shape
    torch.testing.assert_close(part, whole)
    assert again.ndim == 3


def test_adapter_weights_survive_saving(adapted, tmp_path):
    """Every trained parameter has its weight in the file: LoRA in both towers, projector."""
    learner, other = adapted(vision="lora"), adapted(vision="lora")
    with torch.no_grad():
        for name, parameter in learner.model.named_parameters():
            if name in learner.parameter_parts:
                parameter.normal_()
    learner.model.save_pretrained(tmp_path / "adapter")
    load_weights(other.model, tmp_path / "adapter")
    pairs = zip(learner.model.named_parameters(), other.model.named_parameters(), strict=True)
    assert all(torch.equal(left, right) for (name, left), (_, right) in pairs if name in learner.parameter_parts)
    assert set(learner.parameter_parts.values()) == {"decoder", "projector", "vision"}


def test_other_modules_stay_frozen_in_full_training(recipe_of):
    """An image generator, its aligner and second towers are no part of the language model."""
    model = bare("janus")
    learner = build_learner(model, recipe_of(decoder="full", quantization="none", vision="full"))
    trained = {name.split(".")[1] for name in learner.parameter_parts if name.startswith("model.")}
    assert trained == {"language_model", "aligner", "vision_model"}


def test_models_without_a_tower(recipe_of):
    with pytest.raises(UserError, match="no vision tower that can be trained; set vision: frozen"):
        build_learner(bare("fuyu"), recipe_of(vision="lora", quantization="none"))
    assert set(build_learner(bare("fuyu"), recipe_of(quantization="none")).parameter_parts.values()) == {
        "decoder", "projector",
    }  # fmt: skip
    with pytest.raises(UserError, match="found no projector; set projector: false"):
        build_learner(bare("chameleon"), recipe_of(quantization="none"))


def test_model_that_does_not_load(tmp_path):
    with pytest.raises(UserError, match="does not load"):
        empty_model(str(tmp_path))


def test_language_model_is_refused(processor):
    from transformers import LlamaForCausalLM

    with torch.device("meta"):
        model = LlamaForCausalLM(llava_config(processor.tokenizer).text_config)
    with pytest.raises(UserError, match="has no vision tower"):
        find_parts(model)
