"""Which rows form which conversation, epoch by epoch: a pure function of seed, stage and epoch.

Take away what a question alone gives away: the language prior of a VQA set.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from finetune.data.chat import TrainingConversation, join_rows, with_sampled_answer
from finetune.data.rows import Rows

_WINDOW = 16


@dataclass(frozen=True)
class AcceptedRows:
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

    def select(self, mask: np.ndarray) -> AcceptedRows:
        """The rows where ``mask`` is true."""
        return AcceptedRows(self.row[mask], self.group[mask], self.tokens[mask], self.image_tokens[mask])


@dataclass(frozen=True)
class RowPool:
    """Rows that share one weight in a stage.

    Attributes:
        weight: share of an epoch's conversations relative to the other pools'; None: all of them, once.
        replay: share of the whole epoch that comes from this pool; 0 unless it holds earlier stages' rows.
    """

    table: AcceptedRows
    weight: float | None = None
    replay: float = 0.0


class Schedule:
    """Every conversation of a stage in training order, as a map-style dataset.

    An epoch uses each row once, unless pools have weights: then a pool gives its share of the
    conversations, going through its own in an order drawn anew each time it is through.
    Which questions about an image share a conversation and
    the order of conversations are drawn anew each epoch; their number stays the same, so
    that position ``i`` is known without its predecessors: a resumed run skips to it.
    Conversations of similar length share a batch, which saves padding: the shuffled order is
    sorted by length inside windows of 16 batches, whose batches are shuffled again.

    Attributes:
        length: how many conversations the stage uses; ``per_epoch`` until it is set.
        per_epoch: conversations in one epoch.
        size_of: tokens of each conversation, about (the questions of an image count evenly).
    """

    def __init__(
        self, rows: Rows, pools: Sequence[RowPool], *, seed: int, stage: int, questions_per_image: int, batch_size: int,
        max_length: int, sample_answers: bool,
    ) -> None:  # fmt: skip
        self.rows, self.seed, self.stage = rows, seed, stage
        self.batch_size, self.sample_answers = batch_size, sample_answers
        table, pool = _stacked(pools)
        group = np.where(table.group < 0, -1 - np.arange(len(table.group)), table.group)
        order = np.lexsort((table.row, group))
        self.members = table.row[order]
        _, self.starts = np.unique(group[order], return_index=True)
        self.ends = np.append(self.starts[1:], len(order))
        count = self.ends - self.starts
        text = (table.tokens - table.image_tokens)[order]
        image = table.image_tokens[order][self.starts]
        room = (max_length - image) // np.maximum(np.maximum.reduceat(text, self.starts), 1)
        self.chunks = -(-count // np.clip(room, 1, questions_per_image))
        self.group_of = np.repeat(np.arange(len(self.starts)), self.chunks)
        self.chunk_of = np.concatenate([np.arange(chunks) for chunks in self.chunks])
        self.size_of = (image + np.add.reduceat(text, self.starts) / self.chunks)[self.group_of]
        of_pool = pool[order][self.starts][self.group_of]
        self._pools = [np.flatnonzero(of_pool == number) for number in range(len(pools))]
        self.quotas = _quotas([len(places) for places in self._pools], pools)
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
        """Numbers of the conversations that an epoch draws from; ``size_of`` and ``conversation`` take them."""
        return np.concatenate(self._pools)

    def conversation(self, number: int, epoch: int = 0) -> TrainingConversation:
        """A conversation by its number, as an epoch forms it."""
        return self._conversation(epoch, int(self.group_of[number]), int(self.chunk_of[number]))

    def _rng(self, *place: int) -> np.random.Generator:
        return np.random.default_rng([self.seed, self.stage, *place])

    def _order(self, epoch: int) -> np.ndarray:
        """An epoch's conversations in order."""
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
        """The conversations that a pool gives to an epoch: it goes round, reshuffled in every round."""
        places, quota = self._pools[number], self.quotas[number]
        if quota == len(places):
            return places
        wanted = np.arange(epoch * quota, (epoch + 1) * quota)
        rounds = {int(turn): self._rng(int(turn), 3, number).permutation(places) for turn in set(wanted // len(places))}
        return np.array([rounds[place // len(places)][place % len(places)] for place in wanted.tolist()])

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
    """All pools' rows in one table, and the pool of each; rows of different pools are never joined."""
    tables, last = [], 0
    for pool in pools:
        group = np.where(pool.table.group < 0, -1, pool.table.group + last)
        last = max(last, int(group.max(initial=-1)) + 1)
        tables.append((pool.table.row, group, pool.table.tokens, pool.table.image_tokens))
    number = np.repeat(np.arange(len(pools)), [len(pool.table.row) for pool in pools])
    return AcceptedRows(*(np.concatenate(column) for column in zip(*tables, strict=True))), number


def _quotas(sizes: Sequence[int], pools: Sequence[RowPool]) -> list[int]:
    """Conversations that each pool gives to an epoch.

    Pools with weights share as many conversations as they have together; a pool without one gives all it has.
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
