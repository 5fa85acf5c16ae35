"""The images, videos and sounds of conversations: opened, and as arguments for a processor's call."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache, lru_cache, partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from finetune.data.chat import TrainingConversation
from finetune.data.rows import RowError, open_image
from finetune.data.spans import chat_text
from winnow.media.sounds import read_sound
from winnow.media.videos import Clip, ClipForm, clip_of_images, even_indices, read_clip
from winnow.rows.records import Turn
from winnow.vlm.inputs import InputSettings, cap_before, scaled_down

RESTORE = (
    "; the file was whole when the rows were checked: restore it and run the same command, which goes on from the last"
    " checkpoint, or start again with --fresh, which checks all rows"
)


@dataclass(frozen=True)
class OpenedMedia:
    """The decoded files of a conversation; sounds are float32 (samples,) at the processor's rate."""

    images: Sequence[Any] = ()
    clips: Sequence[Clip] = ()
    sounds: Sequence[np.ndarray] = ()


def open_media(conversation: TrainingConversation, root: Path, processor: Any, settings: InputSettings) -> OpenedMedia:
    """Decode the files of a conversation.

    Raises:
        RowError: one cannot be read, although it could be when the rows were checked.
    """
    name: Any = ""
    try:
        images, clips, sounds = [], [], []
        cap = cap_before(processor, settings)
        for name in conversation.images:
            images.append(open_image(root, name, cap))
        for name in conversation.videos:
            clips.append(open_clip(root, name, settings, exact=needs_equal_clips(processor)))
        for name in conversation.audios:
            sounds.append(read_sound(str(root), name, sampling_rate(processor)))
    except (OSError, ValueError) as error:
        raise RowError(f"row {', '.join(conversation.ids)}: {name}: {error}{RESTORE}") from error
    return OpenedMedia(images, clips, sounds)


def open_clip(root: Path, video: str | tuple[str, ...], settings: InputSettings, *, exact: bool) -> Clip:
    """The frames of a video that the model sees, each under ``settings.max_pixels``.

    Args:
        video: a path below ``root``, or the paths of its frames.
        exact: see ``winnow.media.videos.read_clip``.

    Raises:
        ValueError: what is wrong with the file.
    """
    if isinstance(video, str):
        fit = partial(scaled_down, max_pixels=settings.max_pixels)
        return read_clip(str(root), video, settings.max_frames, fit, exact=exact)
    return clip_of_images(
        video, settings.max_frames, lambda name: open_image(root, name, settings.max_pixels), exact=exact
    )


def processor_arguments(opened: Sequence[OpenedMedia], processor: Any) -> dict[str, Any]:
    """Arguments of a processor's call for the files of a batch, beside its text."""
    arguments: dict[str, Any] = {"images_kwargs": {"return_tensors": "pt"}}
    images = [list(item.images) for item in opened]
    arguments["images"] = images if any(images) else None
    if clips := [clip for item in opened for clip in item.clips]:
        arguments["videos"] = [clip.frames for clip in clips]
        arguments["videos_kwargs"] = {
            "do_sample_frames": False, "return_tensors": "pt", "video_metadata": [clip.metadata for clip in clips]
        }  # fmt: skip
    if sounds := [sound for item in opened for sound in item.sounds]:
        arguments["audio"] = sounds
        arguments["audio_kwargs"] = {"sampling_rate": sampling_rate(processor), "return_tensors": "pt"}
    return arguments


def sampling_rate(processor: Any) -> int:
    """Samples per second of the sounds that the processor takes; 0 if it takes none."""
    extractor = getattr(processor, "feature_extractor", None) or getattr(processor, "audio_processor", None)
    return int(getattr(extractor, "sampling_rate", 0) or 0)


def longest_sound(processor: Any) -> int | None:
    """Samples after which the processor cuts a sound off; None if it does not."""
    extractor = getattr(processor, "feature_extractor", None) or getattr(processor, "audio_processor", None)
    declared = inspect.signature(type(extractor).__call__).parameters.get("max_length")
    limit = getattr(extractor, "n_samples", None) or (declared.default if declared else None)
    return limit if isinstance(limit, int) else None


def set_frame_times(output: Any, opened: Sequence[OpenedMedia], processor: Any) -> None:
    """Put the real seconds between frames into a processor's output that assumes 2 frames per second (Qwen-Omni)."""
    if "video_second_per_grid" in output:
        import torch

        patch = processor.video_processor.temporal_patch_size
        clips = [clip for item in opened for clip in item.clips]
        seconds = [patch * clip.total / clip.fps / len(clip.indices) for clip in clips]
        output["video_second_per_grid"] = torch.tensor(seconds)


@lru_cache(maxsize=4)
def needs_equal_clips(processor: Any) -> bool:
    """Whether the clips of a batch need equally many frames, as for processors that stack (InternVL) or pad them."""
    token = getattr(processor, "video_token", None)
    clips = [ClipForm((32, 32), even_indices(count, count), count, 1.0).blank() for count in (2, 4)]

    def lengths(some: list[Clip]) -> list[int]:
        output = processor(text=[token] * len(some), **processor_arguments([OpenedMedia(clips=some)], processor))
        return [len(ids) for ids in output["input_ids"]]

    try:
        return lengths(clips) != [lengths([clip])[0] for clip in clips]
    except (ValueError, TypeError, LookupError, AttributeError, RuntimeError):
        return True


BLANK_IMAGE = OpenedMedia(images=[Image.new("RGB", (64, 64))])


def clip_token_counter(processor: Any, settings: InputSettings) -> Callable[[ClipForm], int]:
    """A function that gives the tokens that a video of a form adds to a chat.

    A size is measured once. What else counts is the text between the frames, such as their times; it is measured with
    small frames.
    """
    small = (64, 64)

    @cache
    def count(form: ClipForm) -> int:
        conversation = TrainingConversation(_ASKED, (), (0,), videos=("",))
        return _added_tokens(processor, settings, conversation, OpenedMedia(clips=[form.blank()]))

    def counted(form: ClipForm) -> int:
        plain = ClipForm(form.size, tuple(range(len(form.indices))), len(form.indices), 1.0)
        return count(plain) + count(replace(form, size=small)) - count(replace(plain, size=small))

    return cache(counted)


def sound_token_counter(processor: Any, settings: InputSettings) -> Callable[[int], int]:
    """A function that gives the tokens that a sound of a given number of samples adds to a chat."""

    @cache
    def count(samples: int) -> int:
        conversation = TrainingConversation(_ASKED, (), (0,), audios=("",))
        return _added_tokens(processor, settings, conversation, OpenedMedia(sounds=[np.zeros(samples, np.float32)]))

    return count


_ASKED = (Turn("user", "a"), Turn("assistant", "b"))


def _added_tokens(
    processor: Any, settings: InputSettings, conversation: TrainingConversation, opened: OpenedMedia
) -> int:
    text = chat_text(processor, conversation, settings)
    output = processor(text=[text], **processor_arguments([opened], processor))
    return len(output["input_ids"][0]) - len(processor.tokenizer(text)["input_ids"])


def clip_form(root: Path, settings: InputSettings, exact: bool, video: str | tuple[str, ...]) -> ClipForm | str:
    """The form of a video's clip, or what is wrong with the file."""
    try:
        return open_clip(root, video, settings, exact=exact).form
    except (OSError, ValueError) as error:
        return str(error)


def sound_length(root: Path, rate: int, limit: int | None, path: str) -> int | str:
    """Samples of a sound, or what is wrong with the file.

    Args:
        limit: see ``longest_sound``.
    """
    try:
        samples = len(read_sound(str(root), path, rate))
    except (OSError, ValueError) as error:
        return str(error)
    if limit is not None and samples > limit:
        return f"too_long ({samples / rate:,.1f} s, the processor hears {limit / rate:,.1f} s)"
    return samples
