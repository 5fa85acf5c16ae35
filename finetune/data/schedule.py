"""Which rows a stage uses, which of them share a conversation, and the order of conversations.

The rows of a stage follow from its filter, its answer balance, the weights of its sources and the replay of earlier
stages; conversations and their order are a pure function of seed, stage and epoch.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from finetune.data.chat import TrainingConversation, join_rows, with_sampled_answer
from finetune.data.rows import Rows
from finetune.processes import world_size
from finetune.recipe import ResolvedStage, TrainRecipe
from winnow.errors import UserError
from winnow.rows.records import Sample

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
    sorted by length within windows of 16 batches, and the batches of a window are shuffled. With ``shuffle: false``
    conversations follow the order of their first rows instead, in every epoch.

    Attributes:
        length: conversations that the stage uses; ``per_epoch`` until it is set.
        per_epoch: conversations of an epoch.
        members: row numbers, sorted by group.
        size_of: estimated tokens of each conversation; an image's questions are taken as equally long.
    """

    def __init__(
        self, rows: Rows, pools: Sequence[RowPool], *, seed: int, stage: int, questions_per_image: int, batch_size: int,
        max_length: int, sample_answers: bool, shuffle: bool = True,
    ) -> None:  # fmt: skip
        self.rows, self.seed, self.stage = rows, seed, stage
        self.batch_size, self.sample_answers, self.shuffle = batch_size, sample_answers, shuffle
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
        if not self.shuffle:
            first = [self._members(epoch, self.group_of[number], self.chunk_of[number])[0] for number in chosen]
            return chosen[np.argsort(first, kind="stable")]
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
        picked = [int(row) for row in self._members(epoch, group, chunk)]
        samples = [self.rows[row] for row in picked]
        if self.sample_answers:
            samples = [
                with_sampled_answer(sample, self._rng(epoch, 2, row))
                for sample, row in zip(samples, picked, strict=True)
            ]
        return join_rows(samples, picked, epoch)

    def _members(self, epoch: int, group: int, chunk: int) -> np.ndarray:
        """Row numbers of a conversation."""
        members = self.members[self.starts[group] : self.ends[group]]
        if self.shuffle:
            members = self._rng(epoch, 1, group).permutation(members)
        return np.array_split(members, self.chunks[group])[chunk]


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


def schedule_of(recipe: TrainRecipe, rows: Rows, accepted: AcceptedRows, number: int, stage: ResolvedStage) -> Schedule:
    """The conversations of a stage in training order.

    Args:
        number: position of the stage in the recipe, from 0.

    Raises:
        UserError: the stage's ``filter``, ``weights`` or ``replay`` leaves no rows.
    """
    pools = _stage_pools(recipe, rows, accepted, stage)
    if stage.replay:
        earlier = [
            pool.rows.row
            for former in recipe.resolved_stages()[:number]
            for pool in _stage_pools(recipe, rows, accepted, former)
        ]
        own = np.concatenate([pool.rows.row for pool in pools])
        replayed = np.setdiff1d(np.concatenate(earlier), own)
        if not len(replayed):
            raise UserError(f"stage {stage.name!r}: replay: every row of the earlier stages is in this stage already")
        pools.append(RowPool(accepted.select(np.isin(accepted.row, replayed)), replay=stage.replay))
    schedule = Schedule(
        rows, pools, seed=recipe.seed, stage=number, questions_per_image=stage.questions_per_image,
        batch_size=stage.batch_size, max_length=recipe.max_length, sample_answers=recipe.answers == "sampled",
        shuffle=recipe.shuffle,
    )  # fmt: skip
    by_epochs = max(1, round(stage.epochs * schedule.per_epoch))
    schedule.length = stage.max_steps * conversations_per_step(stage) if stage.max_steps else by_epochs
    return schedule


def _stage_pools(recipe: TrainRecipe, rows: Rows, accepted: AcceptedRows, stage: ResolvedStage) -> list[RowPool]:
    """A stage's own rows, filtered and balanced: one pool for each name of ``weights``, else a single pool."""
    if stage.filter:
        chosen = [passes_filter(rows[row], rows.set_of(row), stage.filter) for row in accepted.row.tolist()]
        accepted = accepted.select(np.array(chosen, dtype=bool))
    if not len(accepted.row):
        raise UserError(f"stage {stage.name!r}: no row matches filter: {stage.filter}")
    if stage.balance_answers:
        accepted = accepted.select(answer_balance(rows, accepted.row, recipe.seed))
    if not stage.weights:
        return [RowPool(accepted)]
    sets = [data_set.name for data_set in rows.sets]
    names = np.array(
        [name if (name := rows.set_of(row)) in stage.weights else rows[row].source for row in accepted.row.tolist()]
    )
    for name in stage.weights:
        if not (names == name).any():
            known = sorted({*filter(None, sets), *names.tolist()})
            raise UserError(f"stage {stage.name!r}: weights: no row of {name!r}; known data sets and sources: {known}")
    return [RowPool(accepted.select(names == name), weight) for name, weight in stage.weights.items()]


def passes_filter(sample: Sample, data: str, conditions: Mapping[str, str | list[str]]) -> bool:
    """Whether every field that ``conditions`` names has an allowed value.

    Args:
        data: name of the sample's data set.
        conditions: field → allowed value or values, a stage's ``filter``.

    Raises:
        UserError: a field that is not ``id``, ``source``, ``split``, ``data`` or ``meta.<key>``.
    """
    for field, allowed in conditions.items():
        if field in ("id", "source", "split"):
            value = getattr(sample, field)
        elif field == "data":
            value = data
        elif field.startswith("meta."):
            value = sample.meta.get(field.removeprefix("meta."))
        else:
            raise UserError(f"filter: unknown field {field!r}; known: id, source, split, data, meta.<key>")
        if str(value) not in ([allowed] if isinstance(allowed, str) else allowed):
            return False
    return True


def answer_balance(rows: Rows, chosen: np.ndarray, seed: int) -> np.ndarray:
    """Mask of the rows to keep so that no answer to a question is more frequent than the second most frequent.

    Where most answers to "is there a …?" are "no", a model first learns to say no without looking
    at the image. With as many "yes" as "no", the question alone does not give the answer away
    (balancing as in VQA v2: Goyal et al. 2017, arXiv:1612.00837). ``seed`` decides which rows of
    the most frequent answer stay. Questions with a single answer and rows of several turns all stay.

    Args:
        chosen: row numbers, int64 (n,).

    Returns:
        bool (n,), true for rows to keep.
    """
    numbers: defaultdict[str, list[int]] = defaultdict(list)
    answers: list[str] = []
    for place, row in enumerate(chosen):
        sample = rows[int(row)]
        single = sum(turn.role == "assistant" for turn in sample.conversations) == 1
        answers.append(sample.answer.strip().casefold())
        if single:
            numbers[" ".join(sample.question.casefold().split())].append(place)
    keep = np.ones(len(chosen), dtype=bool)
    rng = np.random.default_rng(seed)
    for question in sorted(numbers):
        places = numbers[question]
        ranked = Counter(answers[place] for place in places).most_common(2)
        if len(ranked) == 2 and ranked[0][1] > ranked[1][1]:
            frequent = np.array([place for place in places if answers[place] == ranked[0][0]])
            keep[rng.choice(frequent, ranked[0][1] - ranked[1][1], replace=False)] = False
    return keep


def conversations_per_step(stage: ResolvedStage) -> int:
    """Conversations of an optimiser step, over all processes."""
    return stage.batch_size * stage.gradient_accumulation * world_size()
