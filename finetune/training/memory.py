"""What training and merging need of a GPU's memory, from the architecture, the recipe and the size of a batch alone.

Weights, gradients and optimiser states are counted, activations estimated from the layers of a block. Measured
against all living tensors of a step on a CPU (eight families; LoRA, DoRA, full training, gradient checkpointing,
float32): activations are between 20 % too low and 5 % too high for the decoder, 19 % too low and 23 % too high for a
trained vision tower. Published totals for QLoRA of a 7B on an A100, 512 to 8,192 tokens, are met within 15 %.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from rich.table import Table

from finetune.data.collate import IGNORED
from finetune.model.adapter import Learner, module_groups
from finetune.model.parts import plain_name
from finetune.recipe import Quantization, ResolvedStage, TrainRecipe

NF4_BYTES = (
    0.5 + 1 / 64 + 4 / (64 * 256)
)  # half a byte, a scale of a byte per 64 weights, one of float32 per 256 scales
CONTEXT = 768 * 2**20  # CUDA's context, its kernels and cuBLAS's workspaces
LOGIT_BYTES = 12  # float32: log-probabilities, and two gradients of them at the start of the backward pass
Sharding = Literal["none", "zero2", "full"]


@dataclass(frozen=True, slots=True)
class BatchSize:
    """Size of a batch.

    Attributes:
        tokens: of all sequences, padding included.
        longest: tokens of a sequence.
        trained: tokens that the loss is computed for.
        patches: image patches that enter the vision tower.
    """

    tokens: int
    longest: int
    trained: int
    patches: int

    @classmethod
    def of(cls, batch: Mapping[str, Any], config: Any) -> BatchSize:
        """Size of a collated batch.

        Args:
            config: of the model; its vision tower's patch size counts the patches of whole images.
        """
        rows, longest = batch["input_ids"].shape
        trained = int((batch["labels"][:, 1:] != IGNORED).sum())
        pixels = batch.get("pixel_values")
        if pixels is None:
            return cls(rows * longest, longest, trained, 0)
        if pixels.ndim == 2:  # a row for each patch
            return cls(rows * longest, longest, trained, len(pixels))
        side = getattr(getattr(config, "vision_config", None), "patch_size", None) or 14
        side = side if isinstance(side, int) else side[0]
        return cls(rows * longest, longest, trained, pixels[..., 0, :, :].numel() // side**2)


@dataclass(frozen=True, slots=True)
class MemoryEstimate:
    """Bytes on each GPU.

    Attributes:
        weights: frozen and trained, as they are stored.
        gradients, optimizer: float32 gradients and the optimiser's states of the trained parameters.
        activations: at the peak of a step: what the backward pass needs, logits and temporary tensors.
        context: CUDA's own.
    """

    weights: float
    gradients: float
    optimizer: float
    activations: float
    context: float = CONTEXT

    @property
    def total(self) -> float:
        """Their sum."""
        return self.weights + self.gradients + self.optimizer + self.activations + self.context


def training_memory(
    learner: Learner, recipe: TrainRecipe, stage: ResolvedStage, batch: BatchSize, *,
    processes: int = 1, sharding: Sharding = "none",
) -> MemoryEstimate:  # fmt: skip
    """Estimate a stage of training.

    Args:
        learner: made of a model without weights.
        batch: the longest of the stage.
        processes: GPUs.
        sharding: what they share out: ``none`` (DDP), gradients and optimiser states (``zero2``), or parameters
            too (``full``: ZeRO-3, FSDP).
    """
    trained = set(learner.trained_in(stage))
    numbers = sum(parameter.numel() for name, parameter in learner.model.named_parameters() if name in trained)
    weights = weight_bytes(learner, recipe.quantization, _bytes(recipe.compute_dtype))
    gradients, optimizer = 4.0 * numbers, optimizer_bytes(recipe.optim) * numbers
    if sharding != "none":
        gradients, optimizer = gradients / processes, optimizer / processes
    elif processes > 1:
        gradients *= 2  # DDP's buckets
    activations = _activations(learner, recipe, trained, batch)
    if sharding == "full":
        blocks = decoder_blocks(learner)
        gathered = weights / max(len(blocks), 1)
        weights, activations = weights / processes, activations + gathered
    return MemoryEstimate(weights, gradients, optimizer, activations)


def merge_memory(learner: Learner, recipe: TrainRecipe) -> MemoryEstimate:
    """Estimate `finetune merge`: it compares the adapter model and the merged one, one after the other."""
    size = _bytes(recipe.compute_dtype)
    merged = size * sum(
        parameter.numel() for name, parameter in learner.model.named_parameters()
        if ".lora_" not in name and ".original_module." not in name
    )  # fmt: skip
    return MemoryEstimate(max(merged, weight_bytes(learner, recipe.quantization, size)), 0.0, 0.0, 0.0)


def memory_table(learner: Learner, recipe: TrainRecipe, batches: Sequence[BatchSize], processes: int) -> Table:
    """The estimates in GiB for the terminal, of the stage that needs most.

    Args:
        batches: the longest batch of each stage.
        processes: GPUs that share the work in the columns for several.
    """
    stages = list(zip(recipe.resolved_stages(), batches, strict=True))
    stage, batch = max(stages, key=lambda pair: training_memory(learner, recipe, *pair).total)

    def of(count: int, sharding: Sharding) -> MemoryEstimate:
        return training_memory(learner, recipe, stage, batch, processes=count, sharding=sharding)

    columns = {
        "1 GPU": of(1, "none"),
        f"{processes}, DDP": of(processes, "none"),
        f"{processes}, ZeRO-2": of(processes, "zero2"),
        f"{processes}, ZeRO-3 or FSDP": of(processes, "full"),
    }
    if recipe.decoder != "full":
        columns["merge"] = merge_memory(learner, recipe)
    caption = f"for the longest batch: {batch.tokens:,} tokens, {batch.trained:,} of them trained"
    table = Table("", *columns, title="GiB on each GPU, estimated", title_justify="left",
                  caption=caption, caption_justify="left")  # fmt: skip
    for name in ("weights", "gradients", "optimizer", "activations", "context", "total"):
        label = {"optimizer": "optimiser", "context": "CUDA"}.get(name, name)
        cells = [f"{getattr(column, name) / 2**30:.1f}" for column in columns.values()]
        table.add_row(label, *cells, style="bold" if name == "total" else None)
    for column in table.columns[1:]:
        column.justify = "right"
    return table


def weight_bytes(learner: Learner, quantization: Quantization, dtype_bytes: int) -> float:
    """Bytes of all weights, the frozen originals of trained copies included.

    Args:
        quantization: of the decoder, whose model has no weights and so is not quantised itself.
        dtype_bytes: of a frozen weight that is not quantised.
    """
    size = {"4-bit": NF4_BYTES, "8-bit": 1.0, "frozen": float(dtype_bytes), "trained": 4.0, "LoRA": 4.0}
    groups = module_groups(learner, quantization=quantization)
    originals = (p.numel() for name, p in learner.model.named_parameters() if ".original_module." in name)
    return sum(group.parameters * size[group.state] for group in groups) + float(dtype_bytes * sum(originals))


def optimizer_bytes(optim: str) -> float:
    """Bytes of optimiser state that stay on the device for each trained parameter.

    Args:
        optim: name of an optimiser of ``TrainingArguments``. Two float32 states (AdamW) are 8 bytes; states in 8
            bits carry a scale for every 256 numbers; paged ones move to the CPU's memory when the GPU is full.
    """
    if "paged" in optim or optim == "sgd":
        return 0.0
    if "adafactor" in optim:
        return 0.1  # a row and a column for each matrix
    states = 1 if "lion" in optim else 2
    if "8bit" in optim:
        return states * (1 + 4 / 256)
    return states * (0.5 + 4 / 128 if "4bit" in optim else 4.0)


def _bytes(dtype: str) -> int:
    return 4 if dtype == "float32" else 2


def _activations(learner: Learner, recipe: TrainRecipe, trained: set[str], batch: BatchSize) -> float:
    """Bytes of activations at the peak of a step: at the loss, or in the backward pass of a block."""
    size = _bytes(recipe.compute_dtype)
    config = learner.model.config.get_text_config()
    names = [f"{plain_name(name)}." for name in trained]
    matrices = [p.numel() for name, p in learner.model.named_parameters() if name in trained and p.ndim == 2]
    kept = 0.0 if size == 4 else float(size * sum(matrices))  # autocast's copies in the compute dtype
    tower = [block for block in tower_blocks(learner) if any(name.startswith(f"{block[0]}.") for name in names)]
    peak = batch.trained * config.vocab_size * LOGIT_BYTES
    for blocks, tokens in ((decoder_blocks(learner), batch.tokens), (tower, batch.patches)):
        for _, block in blocks:
            own = tokens * _kept_per_token(block, recipe, trained=blocks is tower or recipe.decoder == "full")
            own += tokens * size * _expert_outputs(block, getattr(config, "num_experts_per_tok", 1))
            if any(".experts" in name and ".lora_A." in name for name, _ in block.named_parameters()):
                own += size * sum(p.numel() for p in block.parameters() if p.ndim == 3)  # W + B·A of all experts
            if recipe.attention == "eager" and blocks is not tower:
                own += tokens * batch.longest * config.num_attention_heads * (4 + 2 * size)
            width, widest, largest = _sizes(block)
            temporary = 2.0 * size * tokens * widest
            if recipe.lora_variant == "dora":
                temporary += 16 * largest  # B·A, the weight, and their sum and norm in float32
            elif recipe.quantization != "none" and blocks is not tower:
                temporary += size * largest  # the weight, dequantised
            if recipe.gradient_checkpointing:
                kept, temporary = kept + size * tokens * width, temporary + own
            else:
                kept += own
            peak = max(peak, temporary)
    return float(kept + peak)


def _kept_per_token(block: Any, recipe: TrainRecipe, *, trained: bool) -> float:
    """Bytes that a block keeps of a token for its backward pass.

    Kept are a float32 copy of what each norm reads, the outputs of the linear layers, the gate behind its
    activation function, and what LoRA matrices and trained weights read.

    Args:
        trained: whether the block's own weights may be trained.
    """
    size = _bytes(recipe.compute_dtype)
    linears = _linears(block)
    outputs = {name: linear.out_features for name, linear in linears.items() if ".lora_" not in name}
    width, widest, _ = _sizes(block)
    gated = sum(out for out in outputs.values() if out >= widest) >= 2 * widest
    total = float(size * (sum(outputs.values()) - width + (widest if gated else 0)))
    for name, module in block.named_modules():
        weight = getattr(module, "weight", None)
        if "norm" in name.rsplit(".", 1)[-1] and weight is not None:
            of_heads = outputs.get(name.replace("norm", "proj"))  # norms of queries and keys
            total += 4 * (of_heads or weight.numel()) * (2 if weight.requires_grad else 1)
    read: dict[tuple[str, int], float] = {}
    for name, linear in linears.items():
        if ".lora_A." in name and recipe.lora_dropout:
            total += (size + 1) * linear.in_features  # each has its own dropout
        elif ".lora_A." in name or (trained and linear.weight.requires_grad and ".lora_" not in name):
            layer = name.split(".lora_A.")[0].removesuffix(".base_layer")
            read[layer.rpartition(".")[0], linear.in_features] = size * linear.in_features
        elif ".lora_B." in name and recipe.lora_variant == "dora":
            total += 2 * size * linear.out_features
    return float(total + sum(read.values()))


def _expert_outputs(block: Any, experts_per_token: int) -> float:
    """Numbers that fused experts put out for a token: those of each matrix, and the gate behind its activation."""
    width, _, _ = _sizes(block)
    matrices = [p for _, p in block.named_parameters() if p.ndim == 3]
    return float(sum(1.5 * experts_per_token * matrix[0].numel() / width for matrix in matrices))


def _linears(block: Any) -> dict[str, Any]:
    """Name → linear layer, under the names of a model without LoRA but for LoRA's own matrices."""
    from torch import nn

    return {name.removesuffix(".base_layer"): m for name, m in block.named_modules() if isinstance(m, nn.Linear)}


def _sizes(block: Any) -> tuple[int, int, int]:
    """Width of a block's input, its widest linear input, and the numbers in its largest weight."""
    own = [linear for name, linear in _linears(block).items() if ".lora_" not in name]
    inputs = [linear.in_features for linear in own]
    return min(inputs, default=0), max(inputs, default=0), max((linear.weight.numel() for linear in own), default=0)


def decoder_blocks(learner: Learner) -> list[tuple[str, Any]]:
    """Plain name and module of the decoder's blocks."""
    return _longest_list(learner.model, learner.model_parts.decoder)


def tower_blocks(learner: Learner) -> list[tuple[str, Any]]:
    """The same for the vision tower's blocks that are used."""
    used = set(learner.model_parts.blocks)
    return [
        (plain_name(name), module) for name, module in learner.model.named_modules()
        if plain_name(name) in used and ".original_module" not in name and not hasattr(module, "modules_to_save")
    ]  # fmt: skip


def _longest_list(model: Any, inside: str) -> list[tuple[str, Any]]:
    from torch import nn

    lists = [
        (plain_name(name), module) for name, module in model.named_modules()
        if isinstance(module, nn.ModuleList) and plain_name(name).startswith(f"{inside}.")
    ]  # fmt: skip
    name, layers = max(lists, key=lambda found: len(found[1]), default=("", []))
    return [(f"{name}.{number}", layer) for number, layer in enumerate(layers)]
