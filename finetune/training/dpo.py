"""Direct preference optimisation (Rafailov et al. 2023, arXiv:2305.18290): a trainer for pairs of answers.

Reference log-probabilities come from the model as the stage finds it: the base model, the adapter that is continued, or
the weights of the stage before. They are computed once, before the first step, and kept beside the checkpoints.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch
from accelerate.utils import gather_object
from torch.nn import functional
from torch.utils.data import Subset

from finetune.data.pairs import PairCollator
from finetune.data.schedule import Schedule
from finetune.processes import sharded, start_processes
from finetune.recipe import DpoOptions
from finetune.training.trainer import SampleLossTrainer
from winnow.errors import UserError
from winnow.files import atomic_path
from winnow.progress import track

REFERENCE = "reference.parquet"


def pair_losses(
    logps: torch.Tensor, reference: torch.Tensor, tokens: torch.Tensor, options: DpoOptions
) -> tuple[torch.Tensor, torch.Tensor]:
    """Loss of each pair, (pairs,), and the rewards of both answers, (2, pairs): beta times the log-ratio.

    Args:
        logps: log-probability of each answer in nats, summed over its tokens, (2, pairs): chosen, then rejected.
        reference: the same of the reference model.
        tokens: trained tokens of each answer, (2, pairs).
    """
    ratios = logps - reference
    if options.loss_type == "ipo":  # by token, as its authors do (TRL has the same)
        chosen, rejected = ratios / tokens
        losses = (chosen - rejected - 1 / (2 * options.beta)) ** 2
    else:
        losses = -functional.logsigmoid(options.beta * (ratios[0] - ratios[1]))
    return losses, options.beta * ratios.detach()


class PreferenceTrainer(SampleLossTrainer):
    """Trainer whose loss compares the chosen with the rejected answer, in one forward pass for both.

    Attributes:
        options: the recipe's ``dpo``.
        reference: row number → reference log-probability of the chosen and of the rejected answer; a row that it lacks
            counts as its own reference.
    """

    def __init__(self, *, options: DpoOptions, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.options = options
        self.reference: dict[int, tuple[float, float]] = {}
        self._logged: defaultdict[str, list[float]] = defaultdict(list)
        # The loss is the mean over pairs, which Trainer divides by the number of forward passes of a step.
        self.model_accepts_loss_kwargs = self.loss_is_scaled_for_ga = False

    def compute_loss(
        self, model: Any, inputs: dict[str, Any], return_outputs: bool = False, num_items_in_batch: Any = None
    ) -> Any:
        """Mean loss of the pairs, plus ``sft_weight`` times the loss of the chosen answers' tokens."""
        if not isinstance(self.data_collator, PairCollator):  # an evaluation set, which need not have pairs
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        logps, tokens, rows, epochs = self._answers(model, inputs)
        known = [self.reference.get(row) for row in rows.tolist()]
        reference = logps.detach().clone()
        for place, values in enumerate(known):
            if values is not None:
                reference[:, place] = torch.tensor(values)
        losses, rewards = pair_losses(logps, reference, tokens, self.options)
        chosen_loss = -logps[0].sum() / tokens[0].sum()
        loss = losses.mean() + self.options.sft_weight * chosen_loss
        self._record_pairs(losses.detach(), rewards, -logps[0].detach() / tokens[0], tokens[0], rows, epochs)
        return (loss, {"loss": loss}) if return_outputs else loss

    def _answers(self, model: Any, inputs: dict[str, Any]) -> tuple[torch.Tensor, ...]:
        """Log-probability and number of tokens of each answer, (2, pairs) each, and row and epoch of the pairs."""
        rows, epochs = inputs.pop("rows"), inputs.pop("epochs")
        losses, owners = self.token_losses(model, inputs)
        sums = torch.zeros(len(rows), device=losses.device).index_add(0, owners, losses)
        tokens = torch.bincount(owners, minlength=len(rows))
        pairs = len(rows) // 2
        return -sums.view(2, pairs), tokens.view(2, pairs), rows[:pairs], epochs[:pairs]

    def _record_pairs(
        self, losses: torch.Tensor, rewards: torch.Tensor, chosen_loss: torch.Tensor, tokens: torch.Tensor,
        rows: torch.Tensor, epochs: torch.Tensor,
    ) -> None:  # fmt: skip
        chosen, rejected, pair_loss = (values.double().cpu().numpy() for values in (*rewards, losses))
        self.losses.add(
            rows.cpu().numpy(), epochs.int().cpu().numpy(), chosen_loss.double().cpu().numpy(),
            tokens.int().cpu().numpy(), self.state.global_step + 1,
            pair_loss=pair_loss, chosen_reward=chosen, rejected_reward=rejected,
        )  # fmt: skip
        self._logged["reward_margin"] += (chosen - rejected).tolist()
        self._logged["reward_accuracy"] += (chosen > rejected).tolist()

    def log(self, logs: dict[str, float], *arguments: Any, **options: Any) -> None:
        """Add this process's mean reward margin and accuracy since the last line."""
        if "loss" in logs:
            logs |= {name: float(np.mean(values)) for name, values in self._logged.items()}
            self._logged.clear()
        super().log(logs, *arguments, **options)

    def find_reference(self, schedule: Schedule, folder: Path) -> None:
        """Set ``reference`` for all pairs of a stage, from ``folder`` if an earlier start has kept it there.

        Raises:
            UserError: the model is split over processes.
        """
        if sharded():
            raise UserError("method: dpo needs the whole model in every process; use --launch ddp")
        path, state = folder / REFERENCE, start_processes()
        if not path.is_file():
            found: dict[int, tuple[float, float]] = {}
            loader = self.get_eval_dataloader(Subset(schedule, first_uses(schedule)))  # type: ignore[arg-type]
            model, tokens_seen = self.learner.model.eval(), self.tokens_seen
            with torch.no_grad(), self.accelerator.autocast():
                for batch in track(loader, "reference answers", len(loader)):
                    logps, _, rows, _ = self._answers(model, self._prepare_inputs(batch))
                    found |= dict(zip(rows.tolist(), logps.T.tolist(), strict=True))
            self.tokens_seen = tokens_seen
            gathered = {row: values for part in gather_object([found]) for row, values in part.items()}
            if state.is_main_process:
                values = np.array(list(gathered.values()))
                with atomic_path(path) as temporary:
                    table = {"row": list(gathered), "chosen": values[:, 0], "rejected": values[:, 1]}
                    pq.write_table(pa.table(table), temporary)
            state.wait_for_everyone()
        self._logged.clear()  # the memory probe has filled it
        columns = (column.to_pylist() for column in pq.read_table(path).columns)
        self.reference = {row: (chosen, rejected) for row, chosen, rejected in zip(*columns, strict=True)}


def first_uses(schedule: Schedule) -> list[int]:
    """Positions of a schedule at which a row is used for the first time.

    In this order the pairs of the first epoch share a batch as they do in training, so that they are padded alike.
    """
    places: dict[int, int] = {}
    for position in range(len(schedule)):
        places.setdefault(schedule[position].rows[0], position)
    return list(places.values())
