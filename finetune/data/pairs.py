"""Preference pairs: a row with a rejected answer as two conversations that differ in their last answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from finetune.data.chat import TrainingConversation, is_trained, join_rows
from finetune.data.collate import Collator
from finetune.data.rows import Rows
from finetune.recipe import TrainRecipe
from winnow.rows.records import Sample


def pair_problem(sample: Sample) -> tuple[str, str] | None:
    """Reason and detail if the sample is no preference pair, else None."""
    rejected, last = sample.meta.get("rejected"), sample.conversations[-1]
    if key := next((key for key in ("rejected_messages", "rejected_images") if sample.meta.get(key)), None):
        return "rejected_differs", f"{key}: more than the text of the last answer differs"
    if not isinstance(rejected, str) or not rejected.strip():
        return "no_rejected_answer", "method: dpo needs the text of a rejected answer in `rejected`"
    if not is_trained(last) or last.name:
        return "no_answer", "the last turn is not an answer to prefer"
    if rejected.strip() == last.value.strip():
        return "same_answer", f"the rejected answer is the chosen one: {last.value!r:.60}"
    return None


def pair_of(sample: Sample) -> tuple[Sample, Sample]:
    """The chosen and the rejected side of a preference pair; only their last answers are trained."""
    *before, last = sample.conversations
    context = [replace(turn, loss=False) if turn.role == "assistant" else turn for turn in before]
    rejected = replace(last, value=sample.meta["rejected"])
    return replace(sample, conversations=(*context, last)), replace(sample, conversations=(*context, rejected))


def pair_sides(
    rows: Rows, conversations: Sequence[TrainingConversation]
) -> tuple[list[TrainingConversation], list[TrainingConversation]]:
    """The chosen and the rejected side of conversations of one row each."""
    chosen: list[TrainingConversation] = []
    rejected: list[TrainingConversation] = []
    for conversation in conversations:
        row, epoch = conversation.rows[0], conversation.epoch
        for sides, sample in zip((chosen, rejected), pair_of(rows[row]), strict=True):
            sides.append(join_rows([sample], [row], epoch))
    return chosen, rejected


@dataclass(frozen=True)
class PairCollator:
    """Collates preference pairs into one batch: first all chosen conversations, then the rejected ones in their order.

    Attributes:
        collator: collates each side.
        rows: the rows that the conversations come from.
    """

    collator: Collator
    rows: Rows

    def __call__(self, conversations: Sequence[TrainingConversation]) -> dict[str, Any]:
        chosen, rejected = pair_sides(self.rows, conversations)
        return self.collator([*chosen, *rejected])


def batch_collator(recipe: TrainRecipe, collator: Collator, rows: Rows) -> Collator | PairCollator:
    """What makes a batch of the recipe's rows: both sides of pairs with ``method: dpo``."""
    return PairCollator(collator, rows) if recipe.method == "dpo" else collator


def shown_sides(
    recipe: TrainRecipe, rows: Rows, conversations: Sequence[TrainingConversation]
) -> list[TrainingConversation]:
    """The conversations as they are trained: of a pair both sides, one after the other."""
    if recipe.method != "dpo":
        return list(conversations)
    return [side for both in zip(*pair_sides(rows, conversations), strict=True) for side in both]
