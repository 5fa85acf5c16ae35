"""Which rows share a conversation, and the order of conversations: a pure function of seed, stage and epoch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.data.chat import TrainingConversation, join_rows, with_sampled_answer
from finetune.data.rows import Rows

_WINDOW = 16


@dataclass(frozen=True)
class AcceptedRows:
    """The rows that pre-flight accepted; int64 arrays of shape (rows,).

    Attributes:
        row: row number, see ``finetune.data.rows.Rows``.
        group: rows of a group share their images and may share a conversation; -1: always on its own.
        tokens: tokens of the row as a conversation of its own, image tokens included.
        image_tokens: image tokens among them.
    """

    row: np.ndarray
    group: np.ndarray
    tokens: np.ndarray
    image_tokens: np.ndarray

    def select(self, mask: np.ndarray) -> AcceptedRows:
        """The rows where ``mask``, bool (rows,), is true."""
        return AcceptedRows(self.row[mask], self.group[mask], self.tokens[mask], self.image_tokens[mask])


@dataclass(frozen=True)
class RowPool:
    """Rows of a stage that are sampled with the same weight.

    Attributes:
        weight: share of an epoch's conversations relative to the other pools; None: each conversation once.
        replay: share of the whole epoch that comes from this pool; 0 unless it holds rows of earlier stages.
    """

    rows: AcceptedRows
    weight: float | None = None
    replay: float = 0.0


class Schedule:
    """The conversations of a stage in training order, as a map-style dataset.

    An epoch uses each row once, unless pools have weights: then each pool contributes its share of
    the conversations and is reshuffled whenever it is used up. Every epoch draws again which
    questions about an image share a conversation, and the order of the conversations. Their number
    is the same in every epoch, so position ``i`` is known without its predecessors and a resumed run
    skips straight to it.

    Conversations of similar length share a batch, which saves padding: the shuffled order is
    sorted by length within windows of 16 batches, and the batches of a window are shuffled.

    Attributes:
        length: conversations that the stage uses; ``per_epoch`` until it is set.
        per_epoch: conversations of an epoch.
        members: row numbers, sorted by group.
        size_of: estimated tokens of each conversation; an image's questions are taken as equally long.
    """

    def __init__(
        self, rows: Rows, pools: Sequence[RowPool], *, seed: int, stage: int, questions_per_image: int, batch_size: int,
        max_length: int, sample_answers: bool,
    ) -> None:  # fmt: skip
        self.rows, self.seed, self.stage = rows, seed, stage
        self.batch_size, self.sample_answers = batch_size, sample_answers
        stacked, pool = _stacked(pools)
        group = np.where(stacked.group < 0, -1 - np.arange(len(stacked.group)), stacked.group)
        order = np.lexsort((stacked.row, group))
        self.members = stacked.row[order]
        _, self.starts = np.unique(group[order], return_index=True)
        self.ends = np.append(self.starts[1:], len(order))
        count = self.ends - self.starts
        text = (stacked.tokens - stacked.image_tokens)[order]
        image = stacked.image_tokens[order][self.starts]
        room = (max_length - image) // np.maximum(np.maximum.reduceat(text, self.starts), 1)
        self.chunks = -(-count // np.clip(room, 1, questions_per_image))
        self.group_of = np.repeat(np.arange(len(self.starts)), self.chunks)
        self.chunk_of = np.concatenate([np.arange(chunks) for chunks in self.chunks])
        self.size_of = (image + np.add.reduceat(text, self.starts) / self.chunks)[self.group_of]
        of_pool = pool[order][self.starts][self.group_of]
        self._pools = [np.flatnonzero(of_pool == number) for number in range(len(pools))]
        self.quotas = _quotas([len(members) for members in self._pools], pools)
        self.per_epoch = self.length = sum(self.quotas)
        self._drawn: tuple[int, np.ndarray] = (-1, self.group_of)

    def __len__(self) -> int:
        return self.length

    def __getitem__(self, position: int) -> TrainingConversation:
        if not 0 <= position < self.length:
            raise IndexError(position)
        epoch, offset = divmod(position, self.per_epoch)
        if self._drawn[0] != epoch:
            self._drawn = (epoch, self._order(epoch))
        chosen = self._drawn[1][offset]
        return self.conversation(int(chosen), epoch)

    @property
    def used(self) -> np.ndarray:
        """Numbers of the conversations that epochs draw from; ``size_of`` and ``conversation`` are indexed by them."""
        return np.concatenate(self._pools)

    def conversation(self, number: int, epoch: int = 0) -> TrainingConversation:
        """The conversation with this number, as the epoch forms it."""
        return self._conversation(epoch, int(self.group_of[number]), int(self.chunk_of[number]))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.stage, *place])

    def _order(self, epoch: int) -> np.ndarray:
        """Numbers of an epoch's conversations in training order."""
        rng = self._rng(epoch, 0)
        chosen = np.sort(np.concatenate([self._draw(epoch, number) for number in range(len(self._pools))]))
        shuffled = chosen[rng.permutation(self.per_epoch)]
        window = _WINDOW * self.batch_size
        ordered = []
        for start in range(0, len(shuffled), window):
            part = shuffled[start : start + window]
            part = part[np.argsort(self.size_of[part], kind="stable")]
            whole = len(part) // self.batch_size * self.batch_size
            batches = part[:whole].reshape(-1, self.batch_size)
            ordered += [batches[rng.permutation(len(batches))].ravel(), part[whole:]]
        return np.concatenate(ordered)

    def _draw(self, epoch: int, number: int) -> np.ndarray:
        """Conversations that a pool contributes to an epoch; the pool is reshuffled whenever it is used up."""
        members, quota = self._pools[number], self.quotas[number]
        if quota == len(members):
            return members
        wanted = np.arange(epoch * quota, (epoch + 1) * quota)
        rounds = {int(n): self._rng(int(n), 3, number).permutation(members) for n in set(wanted // len(members))}
        return np.array([rounds[place // len(members)][place % len(members)] for place in wanted.tolist()])

    def _conversation(self, epoch: int, group: int, chunk: int) -> TrainingConversation:
        rng = self._rng(epoch, 1, group)
        members = rng.permutation(self.members[self.starts[group] : self.ends[group]])
        picked = [int(row) for row in np.array_split(members, self.chunks[group])[chunk]]
        samples = [self.rows[row] for row in picked]
        if self.sample_answers:
            samples = [
                with_sampled_answer(sample, self._rng(epoch, 2, row))
                for sample, row in zip(samples, picked, strict=True)
            ]
        return join_rows(samples, picked, epoch)


def _stacked(pools: Sequence[RowPool]) -> tuple[AcceptedRows, np.ndarray]:
    """The rows of all pools, and the number of each row's pool; groups do not span pools."""
    parts, last = [], 0
    for pool in pools:
        group = np.where(pool.rows.group < 0, -1, pool.rows.group + last)
        last = max(last, int(group.max(initial=-1)) + 1)
        parts.append((pool.rows.row, group, pool.rows.tokens, pool.rows.image_tokens))
    number = np.repeat(np.arange(len(pools)), [len(pool.rows.row) for pool in pools])
    return AcceptedRows(*(np.concatenate(column) for column in zip(*parts, strict=True))), number


def _quotas(sizes: Sequence[int], pools: Sequence[RowPool]) -> list[int]:
    """Number of conversations that each pool contributes to an epoch.

    Pools with weights share as many conversations as they have together; a pool without a weight contributes all
    of its own.
    """
    weighted = [pool.weight is not None for pool in pools]
    total = sum(size for size, has in zip(sizes, weighted, strict=True) if has)
    whole = sum(pool.weight or 0.0 for pool in pools)
    quotas = [
        0 if pool.replay else size if pool.weight is None else max(1, round(total * pool.weight / whole))
        for size, pool in zip(sizes, pools, strict=True)
    ]
    own = sum(quotas)
    return [
        max(1, round(own * pool.replay / (1 - pool.replay))) if pool.replay else quota
        for quota, pool in zip(quotas, pools, strict=True)
    ]
