"""Progress of a training: a bar in a terminal, lines in a log, and a line of ``metrics.jsonl`` for each logged step."""

from __future__ import annotations

import json
import math
import sys
import time
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from transformers import TrainerCallback

from finetune.training.trainer import SampleLossTrainer
from winnow.errors import UserError

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
        trainer: set after construction; counts the tokens.
    """

    trainer: SampleLossTrainer

    def __init__(self, metrics: Path, *, stage: int, label: str, steps: int, per_epoch: float, before: float) -> None:
        self.metrics, self.stage, self.label, self.steps = metrics, stage, label, steps
        self.per_epoch, self.before = per_epoch, before
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
        """Advance the bar; log at every checkpoint, so that a resumed run logs at the same steps."""
        self._progress.update(self._task, completed=state.global_step)
        if control.should_save:
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
        with self.metrics.open("a", encoding="utf-8") as handle:
            handle.write(json.dumps(line) + "\n")
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
