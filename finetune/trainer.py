"""transformers.Trainer with our loss: over trained tokens only, remembered per sample."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import torch
from torch.nn import functional
from transformers import Trainer

from curate.atomic import write_json
from finetune.adapter import load_adapter_weights, part_of
from finetune.collate import IGNORED
from finetune.losses import LossStore
from finetune.recipe import ResolvedStage

COMPLETE = "complete.json"


class SampleLossTrainer(Trainer):
    """Trainer that normalises over trained tokens and keeps each sample's loss."""

    def __init__(self, *, stage: ResolvedStage, losses: LossStore, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.stage, self.losses = stage, losses
        self.tokens_seen = 0
        # num_items_in_batch is counted for us, and the loss needs no further scaling.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """AdamW with one learning rate for LoRA and one for the projector; no decay on vectors."""
        if self.optimizer is None:
            rates = {"lora": self.stage.learning_rate, "projector": self.stage.projector_learning_rate}
            groups: dict[tuple[float, float], list[Any]] = {}
            for name, parameter in (model or cast(torch.nn.Module, self.model)).named_parameters():
                part = part_of(name)
                if parameter.requires_grad and part is not None:
                    decay = self.args.weight_decay if parameter.ndim > 1 else 0.0
                    groups.setdefault((rates[part], decay), []).append(parameter)
            cls, options = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = cls(
                [{"params": params, "lr": lr, "weight_decay": decay} for (lr, decay), params in groups.items()],
                **options,
            )
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the trained tokens' losses divided by their number in the whole optimiser step."""
        labels, owners = inputs.pop("labels"), inputs.pop("owners")
        rows, epochs = inputs.pop("rows"), inputs.pop("epochs")
        trained = labels[:, 1:] != IGNORED
        with only_positions(self.accelerator.unwrap_model(model), trained):
            outputs = model(**inputs, use_cache=False)
        logits = outputs.logits if outputs.logits.ndim == 2 else outputs.logits[:, :-1][trained]
        losses = functional.cross_entropy(logits.float(), labels[:, 1:][trained], reduction="none")
        self._remember(losses.detach(), owners[:, 1:][trained], rows, epochs)
        self.tokens_seen += int(inputs["attention_mask"].sum())
        count = trained.sum() if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the gradients are averaged over processes
        return (loss, outputs) if return_outputs else loss

    def _remember(self, losses: torch.Tensor, owners: torch.Tensor, rows: torch.Tensor, epochs: torch.Tensor) -> None:
        tokens = torch.zeros(len(rows), dtype=torch.float64, device=losses.device)
        sums = tokens.clone().index_add_(0, owners, losses.double())
        tokens.index_add_(0, owners, torch.ones_like(losses, dtype=torch.float64))
        means = (sums / tokens).cpu().numpy()
        self.losses.add(rows.cpu().numpy(), epochs.int().cpu().numpy(), means, tokens.int().cpu().numpy())

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        load_adapter_weights(model or self.model, Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        self.losses.flush(step)
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            write_json(Path(str(self.args.output_dir)) / f"checkpoint-{step}" / COMPLETE, {"step": step})


@contextlib.contextmanager
def only_positions(model: Any, trained: torch.Tensor) -> Iterator[None]:
    """Let the output head see only the hidden states that predict a trained token.

    With short answers this saves most of the head's work and memory: logits become
    (trained tokens, vocabulary) instead of (batch, tokens, vocabulary).

    Args:
        trained: bool (batch, tokens - 1); true where the *next* token is trained.
    """
    head = model.get_output_embeddings()
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][:, :-1][trained],))
    try:
        yield
    finally:
        handle.remove()


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint below ``folder`` that was written to its end."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)
