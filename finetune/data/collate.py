"""Turns conversations into a batch by a single processor call, labels its answers, and checks the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.data.chat import (
    RenderedChat,
    Span,
    TrainingConversation,
    normalized_text,
    prompt_and_suffix,
    render_with_spans,
    uses_prompt_suffix,
)
from finetune.data.rows import Rows, open_image
from finetune.data.schedule import Schedule
from winnow.conversations import IMAGE_MARKER
from winnow.errors import UserError
from winnow.records import Turn

IGNORED = -100  # label of a token without loss
EXTRA_KEYS = ("labels", "owners", "rows", "epochs")  # of a batch; the model does not take them
_SEARCHED = 2000


@dataclass(frozen=True)
class Collator:
    """Collates conversations into a batch; picklable, as the data loader's workers run it and decode images.

    The batch holds the processor's tensors and, with answers counted across the batch,
    ``labels`` int64 (batch, tokens): token ids on answers and stop tokens, -100 elsewhere;
    ``owners`` int64 (batch, tokens): number of the answer that a labelled token belongs to, else -1;
    ``rows``, ``epochs`` int64 (answers,): row number and epoch of each answer.

    Attributes:
        max_pixels: larger images are scaled down to this area.
        always_image: add a row with a blank image and no label to a batch of text alone, so that
            every process runs the vision tower; sharded training (FSDP, ZeRO-3) would hang otherwise.
    """

    processor: Any
    image_root: Path
    max_pixels: int | None = None
    always_image: bool = False

    def __call__(self, conversations: Sequence[TrainingConversation]) -> dict[str, Any]:
        if self.always_image and not any(conversation.images for conversation in conversations):
            conversations = [*conversations, _BLANK]
        rendered = [render_with_spans(self.processor, conversation) for conversation in conversations]
        batch = self._process(rendered, conversations)
        offsets = batch.pop("offset_mapping").numpy()
        suffixes = batch["token_type_ids"].numpy() if uses_prompt_suffix(self.processor) else None
        expansions = batch.pop("expansions")
        owners = np.full(offsets.shape[:2], -1, dtype=np.int64)
        first = 0
        for number, chat in enumerate(rendered):
            if conversations[number] is _BLANK:
                continue
            if suffixes is not None:
                owners[number, suffixes[number] == 1] = first
            else:
                for answer, span in enumerate(chat.spans):
                    owners[number, tokens_in(offsets[number], shifted_span(span, expansions[number]))] = first + answer
            first += len(chat.spans)
        return {**batch, **_labels(batch["input_ids"], owners), **_provenance(conversations)}

    def _process(self, rendered: list[RenderedChat], conversations: Sequence[TrainingConversation]) -> dict[str, Any]:
        images = [self._images(item) for item in conversations]
        tokenizer = self.processor.tokenizer
        # As apply_chat_template(tokenize=True) does: no second bos token.
        own_bos = bool(tokenizer.bos_token) and rendered[0].text.startswith(tokenizer.bos_token)
        texts: dict[str, Any] = {"text": [chat.text for chat in rendered]}
        if uses_prompt_suffix(self.processor):
            prompts, answers = zip(*map(prompt_and_suffix, conversations), strict=True)
            texts = {"text": list(prompts), "suffix": list(answers)}
        output = self.processor(
            **texts,
            images=images if any(images) else None,
            text_kwargs={
                "add_special_tokens": not own_bos,
                "padding": True,
                "padding_side": "right",
                "return_offsets_mapping": True,
            },
            images_kwargs={"return_tensors": "pt"},
            return_text_replacement_offsets=True,
        )
        if "offset_mapping" not in output:
            raise UserError(f"{type(tokenizer).__name__} gives no character offsets; use a fast tokenizer")
        output.pop("labels", None)  # given by processors that take suffixes; equal to ours
        # Not converted by the processor, as some would also convert the placeholder spans to a tensor.
        expansions = output.pop("text_replacement_offsets", None) or [[]] * len(rendered)
        return {**output.convert_to_tensors("pt"), "expansions": expansions}

    def _images(self, conversation: TrainingConversation) -> list[Any]:
        if conversation is _BLANK:
            return [Image.new("RGB", (64, 64))]
        return [open_image(self.image_root, name, self.max_pixels) for name in conversation.images]


_BLANK = TrainingConversation((Turn("user", "a"), Turn("assistant", "b")), ("",), ())


def _labels(input_ids: Any, owners: np.ndarray) -> dict[str, Any]:
    import torch

    owner = torch.from_numpy(owners)
    return {"labels": torch.where(owner >= 0, input_ids, IGNORED), "owners": owner}


def _provenance(conversations: Sequence[TrainingConversation]) -> dict[str, Any]:
    import torch

    rows = [row for item in conversations for row in item.rows]
    epochs = [item.epoch for item in conversations for _ in item.rows]
    return {"rows": torch.tensor(rows), "epochs": torch.tensor(epochs)}


def shifted_span(span: Span, expansions: Sequence[dict[str, Any]]) -> Span:
    """Where a span of the rendered chat is in the text with expanded image placeholders."""
    gained = 0
    for expansion in expansions:
        if expansion["span"][1] <= span[0]:
            gained = expansion["new_span"][1] - expansion["span"][1]
    return span[0] + gained, span[1] + gained


def tokens_in(offsets: np.ndarray, span: Span) -> np.ndarray:
    """Bool mask (tokens,) of the tokens that end inside ``span``, without padding and zero-width tokens.

    Args:
        offsets: character offsets, int64 (tokens, 2).
    """
    ends = offsets[:, 1]
    return (ends > span[0]) & (ends <= span[1]) & (ends > offsets[:, 0])


@dataclass(frozen=True, slots=True)
class MaskCheck:
    """Result of the mask self-check.

    Attributes:
        conversations: number of checked conversations.
        tokens, trained: their tokens without padding, and the trained tokens among them.
        stops: whether every answer ends in a trained stop token.
    """

    conversations: int
    tokens: int
    trained: int
    stops: bool


def check_masks(collator: Collator, conversations: Iterable[TrainingConversation]) -> MaskCheck:
    """Decode the trained tokens of each answer and compare them with its text.

    Raises:
        UserError: an answer's trained tokens are not its text, for example because the
            processor does not report where it expands image placeholders (idefics2).
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
            if normalized_text(kept) != normalized_text(chat.text[slice(*span)]):
                raise UserError(_problem(collator.processor, kept, chat.text[slice(*span)]))
        count += 1
        tokens += int(batch["attention_mask"].sum())
        trained += int((batch["owners"] >= 0).sum())
        stops &= all(chat.stops)
    return MaskCheck(count, tokens, trained, stops)


def first_of_each_source(rows: Rows, schedules: Sequence[Schedule], count: int) -> list[TrainingConversation]:
    """Up to ``count`` conversations of every source, from the first 2,000 of each schedule."""
    picked: Counter[str] = Counter()
    chosen = []
    for schedule in schedules:
        for position in range(min(len(schedule), _SEARCHED)):
            conversation = schedule[position]
            source = rows[conversation.rows[0]].source
            if picked[source] < count:
                picked[source] += 1
                chosen.append(conversation)
    return chosen


def _problem(processor: Any, kept: str, wanted: str) -> str:
    return (
        f"mask self-check failed for {type(processor).__name__}: the tokens to train decode to {kept!r:.80}, "
        f"the answer is {wanted.replace(IMAGE_MARKER, '')!r:.80}; this processor cannot be used for training"
    )
