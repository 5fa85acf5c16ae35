"""Packing: the conversations of a batch follow each other in a single row without padding, and none attends to another.

As with transformers' DataCollatorWithFlattening, positions start again with each conversation. From that, models derive
the block-diagonal mask of eager, sdpa and flex attention, and the sequence lengths of flash attention. It is done on
the device, behind the collator, as models with 3-D positions (Qwen-VL, GLM-V) compute those of a padded batch.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

import numpy as np

from finetune.data.schedule import Schedule
from finetune.recipe import TrainRecipe
from finetune.training.losses import LossTally
from winnow.errors import UserError

_CHECKED = 4
_LEAK = 1e-3  # nats; the same shapes are computed, so that rounding is the same
_ROUNDING = {"float32": 1e-3, "bfloat16": 0.05, "float16": 0.05}  # nats, between other shapes


def rope_index_of(model: Any) -> Callable[..., Any] | None:
    """The method that computes a model's 3-D positions; None if its positions are plain numbers."""
    return next((module.get_rope_index for module in model.modules() if hasattr(module, "get_rope_index")), None)


def packed(inputs: dict[str, Any], rope_index: Callable[..., Any] | None) -> dict[str, Any]:
    """A padded batch as a single row without padding; images stay as they are, in the same order.

    Args:
        inputs: tensors of a batch with ``attention_mask`` (batch, tokens), padded on the right.
        rope_index: see ``rope_index_of``.

    Returns:
        ``inputs`` with what has a value for each token as (1, all tokens), with ``position_ids`` of the same shape, or
        (4, 1, all tokens) for 3-D positions with the plain ones before them, and without ``attention_mask``.
    """
    import torch

    mask = inputs["attention_mask"].bool()
    row = {key: value for key, value in inputs.items() if key != "attention_mask"}
    for key, value in row.items():
        if value.shape == mask.shape:
            row[key] = value[mask][None]
    positions = (mask.cumsum(1) - 1)[mask][None]
    if rope_index is not None and any(f"{kind}_grid_thw" in inputs for kind in ("image", "video")):
        known = inspect.signature(rope_index).parameters
        places, _ = rope_index(**{key: value for key, value in inputs.items() if key in known})
        positions = torch.cat([positions[None], places[:, mask][:, None]])
    elif rope_index is not None:
        positions = positions.expand(4, 1, -1)  # without the plain ones, some (Qwen2.5-VL) make no mask
    return {**row, "position_ids": positions}


def check_packing(trainer: Any, recipe: TrainRecipe, schedule: Schedule) -> None:
    """Check on a few conversations that packing gives each the loss that it has alone, and that none sees another.

    Args:
        trainer: a ``SampleLossTrainer``.

    Raises:
        UserError: it does not, as with architectures whose state or attention runs on through the row.
    """
    import torch

    collator: Any = trainer.data_collator
    chosen = schedule.used[:_CHECKED]
    batch = collator([schedule.conversation(int(number)) for number in chosen])
    trained = batch["owners"] >= 0
    place = int(trained.any(dim=1).nonzero()[0])  # a blank image's row has no answer
    first, answers = trained[place], batch["labels"][trained].unique()
    other = {token: answers[number - 1] for number, token in enumerate(answers.tolist())}  # no token of an image
    changed = {**batch, "input_ids": batch["input_ids"].clone()}
    changed["input_ids"][place, first] = torch.stack([other[token] for token in batch["labels"][place, first].tolist()])
    alone, together, beside = (
        _losses(trainer, given, packing=packing) for given, packing in ((batch, False), (batch, True), (changed, True))
    )
    apart = max(abs(alone[row] - together[row]) for row in alone)
    others = set(batch["rows"].tolist()[int(batch["owners"][place].max()) + 1 :])
    leaked = max((abs(together[row] - beside[row]) for row in others), default=0.0)
    if apart > _ROUNDING[recipe.compute_dtype] or leaked > _LEAK:
        name = trainer.learner.model.config.model_type
        what = f"change by {leaked:.3f} with the conversation before" if leaked > _LEAK else f"differ by {apart:.3f}"
        raise UserError(f"packing: {name} cannot be packed: losses of answers {what}; set packing: false")


def _losses(trainer: Any, batch: dict[str, Any], *, packing: bool) -> dict[int, float]:
    """Row → loss of its answers."""
    import torch

    tally, before = LossTally(), (trainer.losses, trainer.tokens_seen, trainer.packing)
    trainer.losses, trainer.packing = tally, packing
    try:
        with torch.no_grad(), trainer.accelerator.autocast():
            trainer.compute_loss(trainer.learner.model.eval(), trainer._prepare_inputs(dict(batch)))
    finally:
        trainer.losses, trainer.tokens_seen, trainer.packing = before
    return {row: float(np.mean([loss for loss, _ in answers])) for row, answers in tally.by_row.items()}
