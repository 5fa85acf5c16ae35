"""Puts an adapter that was trained before, by Winnow or another program, on its base, to be trained further."""

from __future__ import annotations

import warnings
from typing import Any

from finetune.recipe import TrainRecipe
from winnow.remote.downloads import local_model


def continued_model(base: Any, recipe: TrainRecipe) -> Any:
    """A PEFT model with the LoRA layers and trained copies of the recipe's adapter, in its shape and with its weights.

    On a base without weights only the names and shapes of the tensors are compared.

    Raises:
        UserError: the adapter has no weights in safetensors, or not all of them have a place in the base.
    """
    from peft import LoraConfig

    from winnow.vlm.experts import put_adapter

    assert recipe.adapter is not None
    folder = local_model(recipe.adapter)
    config = LoraConfig.from_pretrained(str(folder))
    config.inference_mode, config.lora_dropout = False, recipe.lora_dropout
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of tensors that cannot be copied into a base without weights
        return put_adapter(base, config, folder)
