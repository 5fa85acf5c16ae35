"""Which rows a processor and its chat template can take, found by trying with blank files."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from finetune.data.chat import TrainingConversation, audios_of, videos_of
from finetune.data.collate import Collator, check_answers
from finetune.data.media import BLANK_IMAGE, OpenedMedia, sampling_rate
from finetune.data.rows import RowError
from finetune.data.spans import chat_text, render_with_spans
from winnow.errors import UserError
from winnow.media.videos import ClipForm, even_indices
from winnow.rows.parts import AUDIO_MARKER, IMAGE_MARKER, MEDIA_MARKERS, VIDEO_MARKER
from winnow.rows.records import Sample, Turn
from winnow.vlm.inputs import InputSettings

_CLIP = OpenedMedia(clips=[ClipForm((64, 64), even_indices(4, 4), 4, 2.0).blank()])
# What processors raise on an input that they do not take.
_REFUSALS = (ValueError, TypeError, LookupError, AttributeError, RuntimeError, UserError)


class Abilities:
    """What a processor takes beside images, each tried once.

    Attributes:
        text_problem: why it cannot take a row without any file (PaliGemma); None if it can.
        order_problem: why a text without any file cannot share a batch with images (Mllama); None if it can.
        video_problem, audio_problem: why it cannot take videos or sounds; None if it can.
        mixed_problem: why a batch cannot hold both images and videos; None if it can.
    """

    def __init__(self, processor: Any, settings: InputSettings) -> None:
        self._processor, self._name, self._settings = processor, type(processor).__name__, settings
        self._collator = Collator(processor, Path(), settings)

    def problem(self, sample: Sample) -> tuple[str, str] | None:
        """Reason and detail if the processor cannot take a sample's kinds of files, else None."""
        videos, audios = videos_of(sample), audios_of(sample)
        if not sample.image and not videos and not audios:
            return ("needs_image", self.text_problem) if self.text_problem else None
        detail = (
            (self.video_problem if videos else None)
            or (self.audio_problem if audios else None)
            or (self.mixed_problem if videos and sample.image else None)
        )
        return ("not_only_images", detail) if detail else None

    @cached_property
    def text_problem(self) -> str | None:
        try:
            self._tried("", OpenedMedia())
        except RowError:
            return None  # a template that refuses it is reported with each row
        except _REFUSALS as error:
            return f"{self._name} takes no text without an image ({_short(error)})"
        return None

    @cached_property
    def order_problem(self) -> str | None:
        talks = [_conversation(marker) for marker in ("", IMAGE_MARKER)]
        try:
            self._collator.collate(talks, [OpenedMedia(), BLANK_IMAGE])
        except RowError:
            return None
        except _REFUSALS as error:
            return f"{self._name} takes no batch of a text before an image ({_short(error)})"
        return None

    @cached_property
    def video_problem(self) -> str | None:
        if getattr(self._processor, "video_processor", None) is None:
            return f"{self._name} takes no video"
        return self._refusal(VIDEO_MARKER, _CLIP)

    @cached_property
    def audio_problem(self) -> str | None:
        rate = sampling_rate(self._processor)
        if not rate:
            return f"{self._name} takes no audio"
        return self._refusal(AUDIO_MARKER, OpenedMedia(sounds=[np.zeros(rate, np.float32)]))

    @cached_property
    def mixed_problem(self) -> str | None:
        image, video = (IMAGE_MARKER, BLANK_IMAGE), (VIDEO_MARKER, _CLIP)
        try:
            alone = sum(_floats(self._tried(*item)) for item in (image, video))
            together = self._collator.collate([_conversation(image[0]), _conversation(video[0])], [image[1], video[1]])
        except _REFUSALS as error:
            return f"{self._name} takes no batch of images and videos ({_short(error)})"
        if _floats(together) < alone:
            return f"{self._name} loses the images of a batch that holds videos"
        return None

    def _refusal(self, marker: str, opened: OpenedMedia) -> str | None:
        kind = marker.strip("<>")
        try:
            if chat_text(self._processor, _conversation(marker), self._settings) == self._plain:
                return f"the chat template of {self._name} has no place for {kind}"
            self._tried(marker, opened)
        except _REFUSALS as error:
            return f"{self._name} or its chat template takes no {kind} ({_short(error)})"
        return None

    @property
    def _plain(self) -> str:
        return chat_text(self._processor, _conversation(""), self._settings)

    def _tried(self, marker: str, opened: OpenedMedia) -> dict[str, Any]:
        """The batch of a conversation that begins with ``marker``; its labels are checked."""
        conversation = _conversation(marker)
        batch = self._collator.collate([conversation], [opened])
        check_answers(self._processor, render_with_spans(self._processor, conversation, self._settings), batch)
        return batch


def _conversation(marker: str) -> TrainingConversation:
    turns = (Turn("user", f"{marker}a"), Turn("assistant", "b"))
    images, videos, audios = (("",) if marker == kind else () for kind in MEDIA_MARKERS)
    return TrainingConversation(turns, images, (0,), videos=videos, audios=audios)


def _floats(batch: dict[str, Any]) -> int:
    return sum(value.numel() for value in batch.values() if value.is_floating_point())


def _short(error: Exception) -> str:
    return " ".join(str(error).split())[:200]
