"""The longest batch is tried first; if it does not fit, the message says what to change."""

from __future__ import annotations

import pytest

from finetune.training.run import train
from winnow.errors import UserError


def test_memory_that_runs_out_names_the_way_out(recipe_of, monkeypatch):
    import torch

    from finetune.training.trainer import SampleLossTrainer

    def too_much(*_, **__):
        raise torch.OutOfMemoryError("no")

    monkeypatch.setattr(SampleLossTrainer, "compute_loss", too_much)
    with pytest.raises(
        UserError, match=r"longest batch \([\d,]+ tokens\) does not fit .*batch_size: 1 and gradient_acc"
    ):
        train(recipe_of())
