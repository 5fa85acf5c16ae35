"""Which rows form which conversation, epoch by epoch: a pure function of seed, stage and epoch."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import lru_cache

import numpy as np

from curate.sample import IMAGE_MARKER, Sample, Turn
from finetune.rows import Rows


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


@dataclass(frozen=True)
class Table:
    """What pre-flight found out about each accepted row; arrays of equal length.

    Attributes:
        row: row number in the file.
        group: rows with the same number share their images and may be joined; -1 stays alone.
        tokens: length of the row as a conversation of its own, image tokens included.
        image_tokens: the image tokens among them.
    """

    row: np.ndarray
    group: np.ndarray
    tokens: np.ndarray
    image_tokens: np.ndarray

    def select(self, mask: np.ndarray) -> Table:
        """The rows where ``mask`` is true."""
        return Table(self.row[mask], self.group[mask], self.tokens[mask], self.image_tokens[mask])


class Schedule:
    """Every conversation of a stage in training order, as a map-style dataset.

    An epoch uses each row once. Which questions about an image share a conversation and
    the order of conversations are drawn anew each epoch; their number stays the same, so
    that position ``i`` is known without its predecessors: a resumed run skips to it.
    """

    def __init__(
        self, rows: Rows, table: Table, *, seed: int, stage: int, join_turns: int, max_length: int, sample_answers: bool
    ) -> None:
        self.rows, self.seed, self.stage, self.sample_answers = rows, seed, stage, sample_answers
        group = np.where(table.group < 0, -1 - np.arange(len(table.group)), table.group)
        order = np.lexsort((table.row, group))
        self.members = table.row[order]
        _, self.starts = np.unique(group[order], return_index=True)
        self.ends = np.append(self.starts[1:], len(order))
        text = (table.tokens - table.image_tokens)[order]
        longest = np.maximum.reduceat(text, self.starts)
        room = (max_length - table.image_tokens[order][self.starts]) // np.maximum(longest, 1)
        per_chunk = np.clip(room, 1, join_turns)
        chunks = -(-(self.ends - self.starts) // per_chunk)
        self.group_of = np.repeat(np.arange(len(self.starts)), chunks)
        self.chunk_of = np.concatenate([np.arange(count) for count in chunks])
        self.chunks = chunks
        self.length = len(self.group_of)

    @property
    def per_epoch(self) -> int:
        """Conversations in one epoch."""
        return len(self.group_of)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> Conversation:
        if not 0 <= position < self.length:
            raise IndexError(position)
        epoch, offset = divmod(position, self.per_epoch)
        chosen = self._order(epoch)[offset]
        return self._conversation(epoch, int(self.group_of[chosen]), int(self.chunk_of[chosen]))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.stage, *place])

    def _order(self, epoch: int) -> np.ndarray:
        return _permutation((self.seed, self.stage, epoch), self.per_epoch)

    def _conversation(self, epoch: int, group: int, chunk: int) -> Conversation:
        rng = self._rng(epoch, 1, group)
        members = rng.permutation(self.members[self.starts[group] : self.ends[group]])
        picked = [int(row) for row in np.array_split(members, self.chunks[group])[chunk]]
        samples = [self.rows[row] for row in picked]
        if self.sample_answers:
            samples = [
                _with_drawn_answer(sample, self._rng(epoch, 2, row))
                for sample, row in zip(samples, picked, strict=True)
            ]
        return join(samples, picked, epoch)


@lru_cache(maxsize=2)
def _permutation(key: tuple[int, int, int], count: int) -> np.ndarray:
    seed, stage, epoch = key
    return np.random.default_rng([seed, stage, epoch, 0]).permutation(count)


def _with_drawn_answer(sample: Sample, rng: np.random.Generator) -> Sample:
    if not sample.answers or sum(turn.role == "assistant" for turn in sample.conversations) != 1:
        return sample
    answer = sample.answers[int(rng.integers(len(sample.answers)))]
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
