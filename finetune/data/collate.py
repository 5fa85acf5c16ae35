"""Turns conversations into a batch by a single processor call, labels its answers, and checks the labels."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.chat import TrainingConversation, normalized_text, prompt_and_suffix, uses_prompt_suffix
from finetune.data.media import BLANK_IMAGE, RESTORE, OpenedMedia, open_media, processor_arguments, set_frame_times
from finetune.data.rows import RowError, Rows
from finetune.data.schedule import Schedule
from finetune.data.spans import RenderedChat, Span, render_with_spans
from finetune.data.template import UntrainableRow
from winnow.errors import UserError
from winnow.rows.conversations import IMAGE_MARKER
from winnow.rows.records import Turn
from winnow.vlm.inputs import InputSettings

IGNORED = -100  # label of a token without loss
EXTRA_KEYS = ("labels", "owners", "rows", "epochs")  # of a batch; the model does not take them
_SEARCHED = 2000
_MISCOUNTED = 1.1  # a row that was counted right is no longer; the counts of some processors are off by a few tokens


@dataclass(frozen=True)
class Collator:
    """Collates conversations into a batch; picklable, as the data loader's workers run it and decode images.

    The batch holds the processor's tensors and, with answers counted across the batch,
    ``labels`` int64 (batch, tokens): token ids on answers and stop tokens, -100 elsewhere;
    ``owners`` int64 (batch, tokens): number of the answer that a labelled token belongs to, else -1;
    ``rows``, ``epochs`` int64 (answers,): row number and epoch of each answer.

    Attributes:
        settings: what is done to images and chats before and in the processor.
        always_image: add a row with a blank image and no label to a batch of text alone, so that
            every process runs the vision tower; sharded training (FSDP, ZeRO-3) would hang otherwise.
        max_length: most tokens of a conversation; only a file that changed since it was checked can exceed them.
    """

    processor: Any
    image_root: Path
    settings: InputSettings = field(default_factory=InputSettings)
    always_image: bool = False
    max_length: int | None = None

    def __call__(self, conversations: Sequence[TrainingConversation]) -> dict[str, Any]:
        """Raises RowError if a file of a conversation cannot be read any more, or is not what it was."""
        if self.always_image and not any(item.images or item.videos for item in conversations):
            conversations = [*conversations, _BLANK]
        opened = [
            BLANK_IMAGE if item is _BLANK else open_media(item, self.image_root, self.processor, self.settings)
            for item in conversations
        ]
        batch = self.collate(conversations, opened)
        self._check_lengths(batch["attention_mask"], conversations)
        return batch

    def collate(self, conversations: Sequence[TrainingConversation], opened: Sequence[OpenedMedia]) -> dict[str, Any]:
        """The batch of conversations whose files are open."""
        rendered = [self._rendered(conversation) for conversation in conversations]
        batch = self._process(rendered, conversations, opened)
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

    def _rendered(self, conversation: TrainingConversation) -> RenderedChat:
        try:
            return render_with_spans(self.processor, conversation, self.settings)
        except UntrainableRow as error:
            files = "".join(f"{name}: " for name in conversation.images)
            raise RowError(f"row {', '.join(conversation.ids)}: {files}{error}") from error

    def _process(
        self, rendered: list[RenderedChat], conversations: Sequence[TrainingConversation],
        opened: Sequence[OpenedMedia],
    ) -> dict[str, Any]:  # fmt: skip
        tokenizer = self.processor.tokenizer
        # As apply_chat_template(tokenize=True) does: no second bos token.
        own_bos = bool(tokenizer.bos_token) and rendered[0].text.startswith(tokenizer.bos_token)
        texts: dict[str, Any] = {"text": [chat.text for chat in rendered]}
        if uses_prompt_suffix(self.processor):
            prompts, answers = zip(*map(prompt_and_suffix, conversations), strict=True)
            texts = {"text": list(prompts), "suffix": list(answers)}
        output = self.processor(
            **texts,
            **processor_arguments(opened, self.processor),
            text_kwargs={
                "add_special_tokens": not own_bos,
                "padding": True,
                "padding_side": "right",
                "return_offsets_mapping": True,
            },
            return_text_replacement_offsets=True,
        )
        if "offset_mapping" not in output:
            raise UserError(f"{type(tokenizer).__name__} gives no character offsets; use a fast tokenizer")
        set_frame_times(output, opened, self.processor)
        output.pop("labels", None)  # given by processors that take suffixes; equal to ours
        # Not converted by the processor, as some would also convert the placeholder spans to a tensor.
        expansions = output.pop("text_replacement_offsets", None) or [[]] * len(rendered)
        return {**output.convert_to_tensors("pt"), "expansions": expansions}

    def _check_lengths(self, attention_mask: Any, conversations: Sequence[TrainingConversation]) -> None:
        if self.max_length is None:
            return
        for conversation, tokens in zip(conversations, attention_mask.sum(1).tolist(), strict=True):
            files = [*conversation.images, *conversation.videos, *conversation.audios]
            if tokens > self.max_length * _MISCOUNTED and files:
                raise RowError(
                    f"row {', '.join(conversation.ids)}: {', '.join(map(str, files))}: has {tokens:,} tokens now,"
                    f" max_length is {self.max_length:,}{RESTORE}"
                )


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
        gaps: (what a prompt ends with at generation, what an answer follows in training) where they differ, each
            once.
    """

    conversations: int
    tokens: int
    trained: int
    stops: bool
    gaps: tuple[tuple[str, str], ...]


def check_masks(collator: Collator, conversations: Iterable[TrainingConversation]) -> MaskCheck:
    """Decode the trained tokens of each answer and compare them with its text.

    Raises:
        UserError: an answer's trained tokens are not its text, for example because the
            processor does not report where it expands image placeholders (idefics2).
    """
    count = tokens = trained = 0
    stops = True
    gaps: dict[tuple[str, str], None] = {}
    for conversation in conversations:
        batch = collator([conversation])
        chat = render_with_spans(collator.processor, conversation, collator.settings, compare_prompts=True)
        check_answers(collator.processor, chat, batch)
        count += 1
        tokens += int(batch["attention_mask"].sum())
        trained += int((batch["owners"] >= 0).sum())
        stops &= all(chat.stops)
        gaps |= dict.fromkeys(chat.gaps)
    return MaskCheck(count, tokens, trained, stops, tuple(gaps))


def check_answers(processor: Any, chat: RenderedChat, batch: Mapping[str, Any]) -> None:
    """Decode the trained tokens of each answer of a batch of one conversation and compare them with its text.

    Raises:
        UserError: they differ.
    """
    for answer, span in enumerate(chat.spans):
        kept = processor.tokenizer.decode(
            batch["input_ids"][0][batch["owners"][0] == answer], skip_special_tokens=False
        )
        if normalized_text(kept) != normalized_text(chat.text[slice(*span)]):
            raise UserError(_problem(processor, kept, chat.text[slice(*span)]))


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
