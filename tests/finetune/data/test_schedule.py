"""Which rows meet in which conversation."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from finetune.data.rows import open_rows
from finetune.data.schedule import AcceptedRows, RowPool, Schedule
from finetune.recipe import TrainRecipe
from tests.finetune.toys import record, write_rows


def rows_of(tmp_path, records):
    path = write_rows(tmp_path / "rows.jsonl", records)
    return open_rows(TrainRecipe(name="a", model="m", data=path))


@pytest.fixture
def setting(tmp_path):
    """20 images with 1 to 7 questions each, two text-only rows."""
    rng = np.random.default_rng(0)
    records, group, image_of = [], [], {}
    for image in range(20):
        for _ in range(rng.integers(1, 8)):
            image_of[len(records)] = f"{image}.png"
            records.append(record(len(records), f"{image}.png", f"question {len(records)}", "yes"))
            group.append(image)
    for _ in range(2):
        records.append(record(len(records), None, "text only", "yes"))
        group.append(-1)
    count = len(records)
    table = AcceptedRows(np.arange(count), np.array(group), rng.integers(20, 40, count), np.full(count, 10))
    return rows_of(tmp_path, records), table, image_of


def schedule(setting, **changes):
    rows, table, _ = setting
    options = {
        "seed": 1,
        "stage": 0,
        "questions_per_image": 3,
        "batch_size": 2,
        "max_length": 1000,
        "sample_answers": False,
    }
    return Schedule(rows, changes.pop("pools", [RowPool(table)]), **{**options, **changes})


def test_every_row_once_an_epoch_about_one_image(setting):
    made = schedule(setting)
    made.length = 3 * made.per_epoch
    for epoch in range(3):
        conversations = [made[epoch * made.per_epoch + i] for i in range(made.per_epoch)]
        assert Counter(row for c in conversations for row in c.rows) == Counter(range(len(setting[0])))
        for conversation in conversations:
            assert conversation.epoch == epoch
            assert len(conversation.rows) <= 3
            assert {setting[2].get(row) for row in conversation.rows} == {(*conversation.images, None)[0]}


def test_epochs_differ_and_seeds_repeat(setting):
    one, same, other = schedule(setting), schedule(setting), schedule(setting, seed=2)
    one.length = same.length = other.length = 2 * one.per_epoch
    listed = [one[i] for i in range(len(one))]
    backwards = [same[i] for i in reversed(range(len(same)))]
    assert listed == backwards[::-1]  # position is all that counts, so skipping is exact
    assert [c.rows for c in listed[: one.per_epoch]] != [c.rows for c in listed[one.per_epoch :]]
    assert [c.rows for c in listed] != [other[i].rows for i in range(len(other))]


def test_unshuffled_rows_keep_the_order_of_the_data(setting):
    rows, table, _ = setting
    mixed = AcceptedRows(table.row, np.random.default_rng(5).permutation(table.group), table.tokens, table.image_tokens)
    for seed in (1, 2):
        alone = schedule((rows, mixed, {}), questions_per_image=1, shuffle=False, seed=seed)
        alone.length = 2 * alone.per_epoch
        assert [row for i in range(len(alone)) for row in alone[i].rows] == [*range(len(rows))] * 2
    joined = schedule((rows, mixed, {}), shuffle=False)
    conversations = [joined[i].rows for i in range(len(joined))]
    assert sorted(row for members in conversations for row in members) == [*range(len(rows))]
    assert [members[0] for members in conversations] == sorted(min(members) for members in conversations)


def test_no_conversation_outgrows_max_length(setting):
    _, table, _ = setting
    made = schedule(setting, questions_per_image=7, max_length=75)
    text = dict(zip(table.row.tolist(), (table.tokens - table.image_tokens).tolist(), strict=True))
    sizes = [10 + sum(text[row] for row in made[i].rows) for i in range(len(made))]
    assert max(sizes) <= 75
    assert max(len(made[i].rows) for i in range(len(made))) > 1


def test_batches_hold_similar_lengths(setting):
    """Against the same batches without grouping, less padding is needed."""
    made = schedule(setting, questions_per_image=7)
    sizes = np.array([len(made[i].rows) for i in range(len(made))])
    spread = lambda values: sum(np.ptp(values[i : i + 2]) for i in range(0, len(values) - 1, 2))  # noqa: E731
    shuffled = np.random.default_rng(0).permutation(sizes)
    assert spread(sizes) < 0.6 * spread(shuffled)


def test_drawn_answers_follow_the_votes(tmp_path):
    row = record(0, "a.png", "q", "red", answers=["red", "red", "red", "blue"])
    rows = rows_of(tmp_path, [row])
    table = AcceptedRows(*(np.array([value]) for value in (0, 0, 10, 5)))
    made = Schedule(
        rows, [RowPool(table)], seed=0, stage=0, questions_per_image=1, batch_size=1, max_length=50, sample_answers=True
    )
    made.length = 400
    drawn = Counter(made[i].turns[1].value for i in range(400))
    assert set(drawn) == {"red", "blue"}
    assert 60 < drawn["blue"] < 140
