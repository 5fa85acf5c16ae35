"""Proof, before training, that the trained tokens are the answers and nothing else."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from curate.sample import IMAGE_MARKER
from finetune.conversation import Conversation
from finetune.data.chat import plain, render_with_spans
from finetune.data.collate import Collator
from finetune.data.rows import Rows
from finetune.data.schedule import Schedule
from winnow.errors import UserError

_LOOKED_AT = 2000


@dataclass(frozen=True, slots=True)
class MaskCheck:
    """What the self-check saw.

    Attributes:
        conversations: how many were checked.
        tokens, trained: tokens seen (without padding), and how many of them are trained.
        stops: whether every checked answer ends in a stop token that is trained.
    """

    conversations: int
    tokens: int
    trained: int
    stops: bool


def check_masks(collator: Collator, conversations: Iterable[Conversation]) -> MaskCheck:
    """Decode the trained tokens of each answer and compare them with its text.

    Raises:
        UserError: an answer's trained tokens are not its text, for example because the
            processor expands image placeholders without saying where (idefics2).
    """
    count = tokens = trained = 0
    stops = True
    for conversation in conversations:
        batch = collator([conversation])
        chat = render_with_spans(collator.processor, conversation)
        kept_ids = batch["input_ids"][0]
        for answer, span in enumerate(chat.spans):
            mask = batch["owners"][0] == answer
            kept = collator.processor.tokenizer.decode(kept_ids[mask], skip_special_tokens=False)
            if plain(kept) != plain(chat.text[slice(*span)]):
                raise UserError(_problem(collator.processor, kept, chat.text[slice(*span)]))
        count += 1
        tokens += int(batch["attention_mask"].sum())
        trained += int((batch["owners"] >= 0).sum())
        stops &= all(chat.stops)
    return MaskCheck(count, tokens, trained, stops)


def first_of_each_source(rows: Rows, schedules: Sequence[Schedule], count: int) -> list[Conversation]:
    """Up to ``count`` conversations of every source among the first 2,000 of each schedule."""
    picked: Counter[str] = Counter()
    chosen = []
    for schedule in schedules:
        for position in range(min(len(schedule), _LOOKED_AT)):
            conversation = schedule[position]
            source = rows[conversation.rows[0]].source
            if picked[source] < count:
                picked[source] += 1
                chosen.append(conversation)
    return chosen


def _problem(processor: Any, kept: str, wanted: str) -> str:
    return (
        f"mask self-check failed for {type(processor).__name__}: the tokens to train decode to {kept!r:.80}, "
        f"the answer is {wanted.replace(IMAGE_MARKER, '')!r:.80}; this processor cannot be trained with safely"
    )
