"""transformers' Trainer with a loss over trained tokens only, recorded per sample, and its monitor.

The monitor shows a bar in a terminal or lines in a log, and writes a line of ``metrics.jsonl`` for each logged step.
"""

from __future__ import annotations

import contextlib
import json
import math
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import torch
from accelerate.utils import gather_object
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch.nn import functional
from transformers import Trainer, TrainerCallback

from finetune.data.collate import IGNORED
from finetune.data.schedule import Schedule
from finetune.model.adapter import Learner, load_weights
from finetune.processes import sharded
from finetune.recipe import ResolvedStage
from finetune.training.losses import LossSink, LossStore, LossTally
from finetune.training.packing import packed, rope_index_of
from winnow.errors import UserError
from winnow.files import strict_json, write_json
from winnow.progress import track

COMPLETE = "complete.json"


@dataclass(frozen=True, slots=True)
class Watched:
    """What an evaluation between steps means for the training.

    Attributes:
        figures: name → number, for reporters.
        best: whether this step is the best of the stage so far.
        stop: whether the stage ends here.
    """

    figures: dict[str, float]
    best: bool
    stop: bool


class SampleLossTrainer(Trainer):
    """Trainer that normalises the loss over trained tokens and records it per sample.

    Attributes:
        losses: receives the losses of each batch; an evaluation replaces it for its duration.
        tokens_seen: tokens of all batches so far, padding not counted.
        frozen_norms: batch norms that are not trained, as in FastVLM's tower. Training would normalise by the batch
            and change their statistics, which no adapter holds; so they compute as at inference.
        packing: whether the conversations of a batch share a row, see ``finetune.training.packing``.
        watch: set after construction; evaluates the model at a step.
    """

    watch: Callable[[int], Watched]

    def __init__(
        self,
        *,
        learner: Learner,
        stage: ResolvedStage,
        losses: LossStore,
        b_ratio: float = 1.0,
        packing: bool = False,
        **arguments: Any,
    ) -> None:
        super().__init__(model=learner.model, **arguments)
        self.learner, self.stage, self.b_ratio = learner, stage, b_ratio
        self.store, self.losses = losses, cast(LossSink, losses)
        self.tokens_seen = 0
        self.packing, self.rope_index = packing, rope_index_of(learner.model) if packing else None
        # Kept, as each walks through all modules, which slows the steps of a small model.
        self.head = learner.model.get_output_embeddings()
        self.size = learner.model.num_parameters(exclude_embeddings=True)
        self.frozen_norms = [
            module for module in learner.model.modules()
            if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
            and not any(parameter.requires_grad for parameter in module.parameters())
        ]  # fmt: skip
        # Makes Trainer count num_items_in_batch and leave the loss unscaled.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = True

    def create_optimizer(self, model: Any = None) -> torch.optim.Optimizer:
        """The optimiser with a learning rate for each part; that of LoRA's B matrices is ``b_ratio`` times as high.

        As the Trainer does by itself, biases and norms are not decayed.
        LoRA+: Hayou et al. 2024, arXiv:2402.12354.
        """
        if self.optimizer is None:
            target = model or cast(torch.nn.Module, self.model)
            decay = self.args.weight_decay
            decayed = set(self.get_decay_parameter_names(target)) if decay else set()
            groups: dict[tuple[float, float], list[Any]] = {}
            for name, parameter in target.named_parameters():
                part = self.learner.parameter_parts.get(name.removeprefix("module."))
                if parameter.requires_grad and part is not None:
                    rate = self.stage.rates[part] * (self.b_ratio if ".lora_B." in name else 1.0)
                    groups.setdefault((rate, decay if name in decayed else 0.0), []).append(parameter)
            cls, options = self.get_optimizer_cls_and_kwargs(self.args)
            self.optimizer = cls(
                [{"params": params, "lr": rate, "weight_decay": decay} for (rate, decay), params in groups.items()],
                **options,
            )
        return self.optimizer

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Sum of the trained tokens' losses, divided by the number of trained tokens in the optimiser step."""
        rows, epochs = inputs.pop("rows"), inputs.pop("epochs")
        losses, owners = self.token_losses(model, inputs)
        self._record(losses.detach(), owners, rows, epochs)
        count = len(losses) if num_items_in_batch is None else num_items_in_batch
        loss = losses.sum() / count
        if num_items_in_batch is not None and self.args.average_tokens_across_devices:
            loss = loss * self.accelerator.num_processes  # the gradients are averaged over processes
        return (loss, {"loss": loss}) if return_outputs else loss

    def token_losses(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
        """Loss in nats, float32, and the number of its answer for each trained token of a batch, (trained tokens,)."""
        self.tokens_seen += int(inputs["attention_mask"].sum())
        for norm in self.frozen_norms:  # the Trainer has put the whole model into training mode
            norm.eval()
        if self.packing:
            inputs = packed(inputs, self.rope_index)
        return answer_losses(model, self.head, inputs)

    def _record(self, losses: torch.Tensor, owners: torch.Tensor, rows: torch.Tensor, epochs: torch.Tensor) -> None:
        tokens = torch.zeros(len(rows), dtype=torch.float64, device=losses.device)
        sums = tokens.clone().index_add_(0, owners, losses.double())
        tokens.index_add_(0, owners, torch.ones_like(losses, dtype=torch.float64))
        means = (sums / tokens).cpu().numpy()
        step = self.state.global_step + 1
        self.losses.add(rows.cpu().numpy(), epochs.int().cpu().numpy(), means, tokens.int().cpu().numpy(), step)

    def measure(self, schedule: Schedule, collator: Any) -> tuple[int, float, int]:
        """Number of rows, loss (mean nats per answer token) and answer tokens of a set, over all processes."""
        tally, tokens_seen = LossTally(), self.tokens_seen
        losses, self.losses, own = self.losses, cast(LossSink, tally), self.data_collator
        self.data_collator = collator
        try:
            loader = self.get_eval_dataloader(cast(Any, schedule))
            model = self.model_wrapped if sharded() else self.learner.model
            model.eval()  # of DeepSpeed it returns nothing
            # Not with Trainer.evaluate, which marks the model as prepared, so that DDP is never set up.
            with torch.no_grad(), self.accelerator.autocast():
                for batch in track(loader, "measuring", len(loader)):
                    self.compute_loss(model, self._prepare_inputs(batch))
        finally:
            self.losses, self.data_collator, self.tokens_seen = losses, own, tokens_seen
        sums: dict[int, list[tuple[float, int]]] = {}
        for part in gather_object([tally.by_row]):
            sums.update(part)
        tokens = sum(count for answers in sums.values() for _, count in answers)
        total = sum(loss * count for answers in sums.values() for loss, count in answers)
        return len(sums), total / max(tokens, 1), tokens

    def evaluate(self, *_: Any, **__: Any) -> dict[str, float]:
        """Evaluate at this step, in place of Trainer's evaluation of a single set; keep the best step, stop in time."""
        found = self.watch(self.state.global_step)
        self.log(dict(found.figures))
        self.control = self.callback_handler.on_evaluate(self.args, self.state, self.control, found.figures)
        if found.best:
            self.state.best_global_step = self.state.global_step  # its checkpoint is not rotated away
            self.control.should_save = True
        self.control.should_training_stop |= found.stop
        return found.figures

    def floating_point_ops(self, inputs: dict[str, Any]) -> int:
        """Trainer's estimate for the forward and backward pass of a batch, without counting parameters every time."""
        return 6 * int(inputs["input_ids"].numel()) * int(self.size)

    def _load_from_checkpoint(self, resume_from_checkpoint: str, model: Any = None) -> None:
        if self.is_fsdp_enabled:
            super()._load_from_checkpoint(resume_from_checkpoint, model)
            return
        load_weights(model or self.model, Path(resume_from_checkpoint))

    def _save_checkpoint(self, model: Any, trial: Any) -> None:
        step = self.state.global_step
        self.store.flush(step)
        super()._save_checkpoint(model, trial)
        if self.args.should_save:
            write_json(Path(str(self.args.output_dir)) / f"checkpoint-{step}" / COMPLETE, {"step": step})


def answer_losses(model: Any, head: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss in nats, float32, and the number of its answer for each trained token of a batch, (trained tokens,).

    Args:
        head: the model's output layer, see ``only_positions``.
        inputs: a collated batch without ``rows`` and ``epochs``; its labels are taken out.
    """
    labels, owners = inputs.pop("labels"), inputs.pop("owners")
    trained = labels[:, 1:] != IGNORED
    with only_positions(head, trained):
        outputs = model(**inputs, use_cache=False)
    logits = outputs.logits if outputs.logits.ndim == 2 else outputs.logits[:, :-1][trained]
    losses = functional.cross_entropy(logits.float(), labels[:, 1:][trained], reduction="none")
    return losses, owners[:, 1:][trained]


@contextlib.contextmanager
def only_positions(head: Any, trained: torch.Tensor) -> Iterator[None]:
    """Pass the output head only the hidden states that predict a trained token.

    With short answers this saves most of the head's work and memory: logits become
    (trained tokens, vocabulary) instead of (batch, tokens, vocabulary).

    Args:
        head: the output layer; None leaves the logits as they are.
        trained: bool (batch, tokens - 1), true where the *next* token is trained.
    """
    if head is None:
        yield
        return
    handle = head.register_forward_pre_hook(lambda _, hidden: (hidden[0][:, :-1][trained],))
    try:
        yield
    finally:
        handle.remove()


def last_complete(folder: Path) -> Path | None:
    """The newest checkpoint in ``folder`` that was written completely."""
    found = [path.parent for path in folder.glob(f"checkpoint-*/{COMPLETE}")]
    return max(found, key=lambda path: int(path.name.rsplit("-", 1)[1]), default=None)


_SECONDS_BETWEEN_LINES = 10.0


def read_metrics(path: Path) -> list[dict[str, Any]]:
    """The lines of a ``metrics.jsonl``, without a last line cut short by a kill; empty if there is no such file."""
    if not path.is_file():
        return []
    whole, _, _ = path.read_text(encoding="utf-8").rpartition("\n")
    return [json.loads(line) for line in whole.splitlines()]


def stop_on_nan(loss: float, step: int) -> None:
    """Stop training with a loss that is not finite.

    Raises:
        UserError: the loss is NaN or infinite.
    """
    if not math.isfinite(loss):
        raise UserError(f"the loss became {loss} at step {step}; lower learning_rate or use compute_dtype: float32")


class Monitor(TrainerCallback):
    """Writes a line of metrics per logged step and shows loss, tokens per second and time left.

    Attributes:
        metrics: the ``metrics.jsonl`` to append to.
        steps: optimiser steps of the stage.
        per_epoch: optimiser steps of an epoch.
        before: seconds that earlier starts and stages took.
        eval_steps: steps between evaluations; None: there are none.
        trainer: set after construction; counts the tokens.
    """

    trainer: SampleLossTrainer

    def __init__(
        self,
        metrics: Path,
        *,
        stage: int,
        label: str,
        steps: int,
        per_epoch: float,
        before: float,
        eval_steps: int | None = None,
    ) -> None:
        self.metrics, self.stage, self.label, self.steps = metrics, stage, label, steps
        self.per_epoch, self.before, self.eval_steps = per_epoch, before, eval_steps
        self._tokens = 0
        self._terminal = sys.stderr.isatty()
        self._console = Console(stderr=True, highlight=False)
        self._progress = Progress(
            TextColumn("{task.description:<18}"), BarColumn(), MofNCompleteColumn(),
            TextColumn("loss {task.fields[loss]}  {task.fields[rate]} tokens/s"), TimeRemainingColumn(),
            console=self._console, disable=not self._terminal,
        )  # fmt: skip
        self._task = self._progress.add_task(label, total=steps, loss="-", rate="-")

    def on_train_begin(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Start the clock and the bar."""
        self._started = self._last = self._shown = time.monotonic()
        self._first_step = state.global_step
        self._progress.update(self._task, completed=state.global_step)
        self._progress.start()

    def on_step_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Advance the bar; log wherever a checkpoint may come, so that a resumed run logs at the same steps."""
        step = state.global_step
        self._progress.update(self._task, completed=step)
        if self.eval_steps and (step % self.eval_steps == 0 or step == self.steps):
            control.should_evaluate = True
        if control.should_save or control.should_evaluate:
            control.should_log = True

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **_: Any) -> None:
        """Write a line of metrics."""
        if not logs or "loss" not in logs or not state.is_world_process_zero:
            return
        stop_on_nan(logs["loss"], state.global_step)
        now = time.monotonic()
        rate = (self.trainer.tokens_seen - self._tokens) * args.world_size / max(now - self._last, 1e-9)
        self._tokens, self._last = self.trainer.tokens_seen, now
        line = {
            "stage": self.stage,
            "step": state.global_step,
            "epoch": round(state.global_step / self.per_epoch, 4),
            "loss": logs["loss"],
            "grad_norm": logs.get("grad_norm"),
            "learning_rate": logs["learning_rate"],
            "tokens_per_second": round(rate, 1),
            "seconds": round(self.before + now - self._started, 2),
        }
        line |= {name: logs[name] for name in ("reward_margin", "reward_accuracy") if name in logs}
        with self.metrics.open("a", encoding="utf-8") as handle:
            handle.write(strict_json(line) + "\n")
        self._show(state.global_step, logs["loss"], rate)

    def on_train_end(self, args: Any, state: Any, control: Any, **_: Any) -> None:
        """Stop the bar."""
        self.close()

    def close(self) -> None:
        """Stop the bar; safe to call twice."""
        self._progress.stop()

    def _show(self, step: int, loss: float, rate: float) -> None:
        self._progress.update(self._task, loss=f"{loss:.4f}", rate=f"{rate:,.0f}")
        now = time.monotonic()
        if self._terminal or (now - self._shown < _SECONDS_BETWEEN_LINES and step < self.steps):
            return
        self._shown = now
        left = (now - self._started) / max(step - self._first_step, 1) * (self.steps - step)
        self._console.print(
            f"{self.label}: step {step}/{self.steps}  loss {loss:.4f}  {rate:,.0f} tokens/s  "
            f"{int(left) // 60}:{int(left) % 60:02d} left"
        )
