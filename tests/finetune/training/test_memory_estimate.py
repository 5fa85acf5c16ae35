"""The estimate of memory against living tensors, loaded weights, published models and the cards that recipes name."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from finetune.model.adapter import build_learner, set_trained
from finetune.model.load import load_base
from finetune.recipe import TrainRecipe, load
from finetune.training.memory import BatchSize, _activations, merge_memory, training_memory, weight_bytes
from finetune.training.trainer import only_positions
from tests.finetune import families, models
from tests.finetune import published_models as published
from tests.finetune.live_memory import LiveMemory
from tests.finetune.model.test_families import FAMILY_OF, RECIPES
from winnow.vlm.models import empty_model

TOKENS, TRAINED = 384, 96
_WIDE = {"hidden_size": 256, "intermediate_size": 768, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "head_dim": 64}  # fmt: skip


def recipe_with(**options) -> TrainRecipe:
    values = {"name": "x", "model": "x", "data": Path("x"), "quantization": "none", "lora_dropout": 0.0}
    return TrainRecipe.model_validate({**values, **options})


def wide_model(family: str):
    """A model of the family that is wide enough for activations to outweigh everything else."""
    from transformers import AutoModelForImageTextToText

    config = models.CONFIGS[family](getattr(families, family)().tokenizer)
    for key, value in {**_WIDE, "vocab_size": 2000}.items():
        setattr(config.text_config, key, value)
    if family == "qwen3_vl_moe":
        config.text_config.moe_intermediate_size = 256
    if family.startswith("qwen"):
        config.text_config.rope_parameters["mrope_section"] = [8, 12, 12]
        config.vision_config.out_hidden_size = 256
    if family == "paligemma":
        config.projection_dim = config.vision_config.projection_dim = 256
    torch.manual_seed(0)
    return AutoModelForImageTextToText.from_config(config, attn_implementation="sdpa").bfloat16()


def peak_of_a_step(learner, recipe) -> int:
    """Most bytes that live in a forward and backward pass, beyond weights and gradients."""
    model, head = learner.model.train(), learner.model.get_output_embeddings()
    if recipe.gradient_checkpointing:
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    ids = torch.randint(150, 210, (1, TOKENS))
    trained = torch.zeros(1, TOKENS - 1, dtype=torch.bool)
    trained[:, -TRAINED:] = True
    learning = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for parameter in learning:
        parameter.grad = torch.zeros_like(parameter)
    kinds = {"token_type_ids": torch.zeros_like(ids)} if "emma" in type(model.get_base_model()).__name__ else {}
    existing = (*model.parameters(), *model.buffers(), *(parameter.grad for parameter in learning))
    with LiveMemory(*existing) as live:

        def loss():
            with torch.autocast("cpu", enabled=recipe.compute_dtype == "bfloat16"), only_positions(head, trained):
                logits = model(input_ids=ids, attention_mask=torch.ones_like(ids), use_cache=False, **kinds).logits
                return torch.nn.functional.cross_entropy(logits.float(), ids[:, 1:][trained])

        loss().backward()
    return live.peak


@pytest.mark.parametrize("options", [
    {}, {"lora_dropout": 0.05}, {"lora_variant": "dora"}, {"gradient_checkpointing": True},
    {"compute_dtype": "float32"}, {"lora_targets": ["q_proj", "v_proj"]},
], ids=str)  # fmt: skip
@pytest.mark.parametrize("family", ["llava_1_5", "qwen3_vl", "gemma3"])
def test_activations_are_those_that_live(family, options):
    compare_with_living(family, options)


@pytest.mark.parametrize("options", [{}, {"lora_targets": ["q_proj"]}], ids=str)
def test_activations_of_fused_experts(options):
    compare_with_living("qwen3_vl_moe", options)


def compare_with_living(family, options):
    recipe = recipe_with(**options)
    model = wide_model(family)
    learner = build_learner(model.float() if recipe.compute_dtype == "float32" else model, recipe)
    (stage,) = recipe.resolved_stages()
    set_trained(learner, stage)
    batch = BatchSize(TOKENS, TOKENS, TRAINED, 0)
    estimate = _activations(learner, recipe, set(learner.trained_in(stage)), batch)
    assert estimate == pytest.approx(peak_of_a_step(learner, recipe), rel=0.2)


@pytest.mark.parametrize("quantization", ["nf4", "int8", "none"])
def test_weights_are_those_that_load(quantization, tmp_path):
    """An estimate without weights against every byte of the loaded, quantised model and its adapter."""
    config = models.CONFIGS["llava_1_5"](families.llava_1_5().tokenizer)
    for key, value in _WIDE.items():
        setattr(config.text_config, key, value)
    from transformers import LlavaForConditionalGeneration

    LlavaForConditionalGeneration(config).bfloat16().save_pretrained(tmp_path)
    recipe = recipe_with(quantization=quantization, vision={"last_n": 1})
    learner = build_learner(load_base(str(tmp_path), quantization=quantization, compute_dtype="bfloat16"), recipe)
    loaded = 0
    for parameter in learner.model.parameters():
        loaded += parameter.nbytes
        if (state := getattr(parameter, "quant_state", None)) is not None:
            loaded += state.absmax.nbytes + state.state2.absmax.nbytes
        if (scales := getattr(parameter, "SCB", None)) is not None:
            loaded += scales.nbytes
    empty = build_learner(empty_model(str(tmp_path)), recipe)
    assert weight_bytes(empty, quantization, 2) == pytest.approx(loaded, rel=0.01)


PATCHES = {"qwen2_5_vl": lambda r: r.max_pixels // 14**2, "qwen3_vl": lambda r: r.max_pixels // 16**2,
           "llava_1_5": lambda r: 576, "llava_onevision": lambda r: 5 * 729, "internvl3": lambda r: 13 * 1024,
           "gemma3": lambda r: 4096, "paligemma": lambda r: 1024, "smolvlm2": lambda r: 17 * 729}  # fmt: skip


@pytest.fixture(scope="module")
def learner_of():
    made = {}

    def make(recipe):
        from transformers import AutoModelForImageTextToText

        if recipe.model not in made:
            with torch.device("meta"):
                made[recipe.model] = AutoModelForImageTextToText.from_config(published.config_of(recipe.model))
        parameters = sum(parameter.numel() for parameter in made[recipe.model].parameters())
        assert parameters / 1e9 == pytest.approx(published.BILLIONS[recipe.model], rel=0.01)
        return build_learner(made.pop(recipe.model), recipe)

    return make


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_fits_its_card(path, learner_of):
    """Rows of max_length with an image at the cap, a quarter of all tokens trained; cards of decimal gigabytes."""
    recipe = load(path)
    name, card = path.stem.rsplit("_", 1)
    learner = learner_of(recipe)
    for stage in recipe.resolved_stages():
        tokens = stage.batch_size * recipe.max_length
        batch = BatchSize(tokens, recipe.max_length, tokens // 4, stage.batch_size * PATCHES[name](recipe))
        needed = training_memory(learner, recipe, stage, batch).total
        assert needed < int(card.removesuffix("gb")) * 1e9
        assert needed > 0.2 * int(card.removesuffix("gb")) * 1e9  # a card of that size is not a joke
    assert FAMILY_OF[name]


def test_known_sizes(learner_of):
    """A 7B has 14 GB in 16 bit and 4 in NF4; trained in full with AdamW it takes 16 bytes a weight."""
    recipe = load(Path("finetune/recipes/llava_1_5_16gb.yaml"))
    learner = learner_of(recipe)
    assert merge_memory(learner, recipe).weights / 1e9 == pytest.approx(14.1, abs=0.2)
    assert 4.0 < weight_bytes(learner, "nf4", 2) / 1e9 < 5.0
    full = recipe.model_copy(update={"quantization": "none", "decoder": "full", "projector": True})
    learner = learner_of(full)
    (stage,) = full.resolved_stages()
    batch = BatchSize(2048, 2048, 256, 0)
    one = training_memory(learner, full, stage, batch)
    assert (one.weights + one.gradients + one.optimizer) / 7.06e9 == pytest.approx(16, rel=0.06)
    two = training_memory(learner, full, stage, batch, processes=4, sharding="zero2")
    assert two.weights == one.weights and two.optimizer == one.optimizer / 4 and two.gradients == one.gradients / 4
    shared = training_memory(learner, full, stage, batch, processes=4, sharding="full")
    assert shared.weights == one.weights / 4 and shared.activations > one.activations
    eight = training_memory(learner, full.model_copy(update={"optim": "adamw_8bit"}), stage, batch)
    assert eight.optimizer < 0.26 * one.optimizer


@pytest.mark.parametrize("tokens", published.QWEN_7B_QLORA)
def test_published_figures_of_qlora(tokens):
    from transformers import AutoModelForImageTextToText

    recipe = recipe_with(
        quantization="nf4", lora_rank=64, lora_dropout=0.05, gradient_checkpointing=True, projector=False, batch_size=1
    )
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(published.qwen_7b())
    (stage,) = recipe.resolved_stages()
    needed = training_memory(build_learner(model, recipe), recipe, stage, BatchSize(tokens, tokens, tokens, 0))
    assert needed.total / 1e9 == pytest.approx(published.QWEN_7B_QLORA[tokens], rel=0.15), needed


def test_plan_prints_the_estimate_before_any_weight(recipe_of, tmp_path, capsys):
    from finetune.training.run import dry_run

    folder = models.checkpoint("llava_1_5", tmp_path / "model", weights=False)
    dry_run(recipe_of(model=str(folder)), tmp_path / "plan")
    printed = capsys.readouterr().out
    assert "GiB on each GPU, estimated" in printed and "ZeRO-3 or" in printed and "merge" in printed
    assert "optimiser" in printed and not list(folder.glob("*.safetensors"))
