"""A training example: one row, or several questions about the same images in one conversation."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np

from curate.sample import IMAGE_MARKER, Sample, Turn


@dataclass(frozen=True, slots=True)
class Conversation:
    """One training example.

    Attributes:
        turns: system, user and assistant turns in order.
        images: paths relative to the image root, in order of their markers.
        rows: row number of each assistant turn's sample.
        epoch: pass over the data in which it is used, from 0.
    """

    turns: tuple[Turn, ...]
    images: tuple[str, ...]
    rows: tuple[int, ...]
    epoch: int = 0


def with_drawn_answer(sample: Sample, rng: np.random.Generator) -> Sample:
    """The sample with one of its references as its answer, if it may vary."""
    return with_answer(sample, sample.answers[int(rng.integers(len(sample.answers)))]) if can_draw(sample) else sample


def can_draw(sample: Sample) -> bool:
    """Whether the row's one answer may be replaced by any of its references."""
    return bool(sample.answers) and sum(turn.role == "assistant" for turn in sample.conversations) == 1


def with_answer(sample: Sample, answer: str) -> Sample:
    """The sample with another text in its assistant turn."""
    turns = tuple(Turn("assistant", answer) if turn.role == "assistant" else turn for turn in sample.conversations)
    return replace(sample, conversations=turns)


def can_join(sample: Sample) -> bool:
    """Whether a row is one question and one answer about images that come first."""
    roles = [turn.role for turn in sample.conversations]
    if roles != ["user", "assistant"] or not sample.image:
        return False
    lead = sample.conversations[0].value.replace("\n", "").replace(" ", "")
    marked = lead.count(IMAGE_MARKER)
    return marked == 0 or (marked == len(sample.image) and lead.startswith(IMAGE_MARKER * marked))


def join(samples: list[Sample], rows: list[int], epoch: int = 0) -> Conversation:
    """One conversation of several rows about the same images (see ``can_join``), or of one row."""
    if len(samples) == 1:
        sample = samples[0]
        answers = sum(turn.role == "assistant" for turn in sample.conversations)
        return Conversation(sample.conversations, sample.image, (rows[0],) * answers, epoch)
    turns: list[Turn] = []
    for sample in samples:
        turns += [Turn("user", sample.question), sample.conversations[1]]
    return Conversation(tuple(turns), samples[0].image, tuple(rows), epoch)
