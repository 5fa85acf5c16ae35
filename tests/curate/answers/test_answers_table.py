"""The table of doubtful answers: folds, signals joined, the score, and when it is made again."""

from __future__ import annotations

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from curate.answers import neighbours, suspects
from curate.answers.confidence import FOLDS
from curate.answers.neighbours import NEIGHBOURS, write_neighbours
from curate.answers.ocr import write_read_answers
from curate.answers.suspects import BASE, Signals, evidence, suspect, write_answers
from curate.duplicates.rows import DUPLICATE_IMAGES
from curate.measure.set_embeddings import read_embeddings
from curate.measure.store import image_schema
from curate.measure.texts import TEXT_SCHEMA
from curate.pipeline import decide_again, run
from curate.recipe import AnswerSettings
from tests.curate import sets
from tests.curate.stored import image, sample, store

COUNT = 120


def embed(space, values) -> None:
    """Give the images of a stored workspace embeddings, in order of their keys."""
    part = space.signals / "part-00000.parquet"
    rows = pq.read_table(part).to_pylist()
    schema = image_schema(4, {})
    for row, value in zip(rows, values, strict=True):
        row["clip_embedding"] = value
    pq.write_table(pa.Table.from_pylist(rows, schema), part)


@pytest.fixture
def space(tmp_path):
    """120 pictures of two kinds, asked for their kind; three answers are wrong, and a copy of the first picture."""
    rng = np.random.default_rng(0)
    kinds = np.arange(COUNT) % 2
    samples = [sample(f"r{n:03d}", [f"k{n:03d}"], "What is it?", "dog" if kinds[n] else "cat") for n in range(COUNT)]
    for wrong in (3, 40, 77):
        samples[wrong] = sample(f"r{wrong:03d}", [f"k{wrong:03d}"], "What is it?", "cat" if kinds[wrong] else "dog")
    samples += [sample("text", [], "Why?", "because"), sample("open", ["k000"], "Tell me more", "a long story")]
    space = store(tmp_path, samples, [image(f"k{n:03d}") for n in range(COUNT)])
    centre = np.array([[1, 0, 0, 0], [0, 1, 0, 0]])[kinds]
    embed(space, (centre + 0.1 * rng.normal(size=(COUNT, 4))).astype(np.float16))
    return space


def test_wrong_answers_stand_out_and_open_ones_are_left_out(space):
    write_neighbours(space, 10)
    table = pq.read_table(space.neighbours).to_pydict()
    assert table["position"] == list(range(COUNT))  # not the text-only row, not the open question
    low = np.argsort(table["neighbour_confidence"])[:3]
    assert sorted(low.tolist()) == [3, 40, 77] == sorted(np.argsort(table["model_confidence"])[:3].tolist())
    before = space.neighbours.read_bytes()
    write_neighbours(space, 10)
    assert space.neighbours.read_bytes() == before


def test_copies_share_a_fold_and_folds_do_not_depend_on_other_rows(space):
    pairs = [{"image_key": f"k{n + 1:03d}", "representative_key": f"k{n:03d}"} for n in range(0, COUNT, 2)]
    pq.write_table(pa.Table.from_pylist(pairs, DUPLICATE_IMAGES), space.duplicate_images)
    with neighbours.database(space.work) as connection:
        neighbours.create_views(connection, space)
        connection.execute(neighbours._ASKED)
        rows = neighbours._read_rows(connection, neighbours._number(space, read_embeddings(space)), space)
    assert (rows.fold[:COUNT:2] == rows.fold[1:COUNT:2]).all()
    assert len(set(rows.fold.tolist())) == FOLDS
    assert rows.fold[COUNT] == rows.fold[0]  # another question about the first picture


def test_without_embeddings_the_table_is_empty(tmp_path):
    space = store(tmp_path, [sample("a", ["x"])], [image("x")])
    write_neighbours(space, 10)
    assert pq.read_table(space.neighbours).schema.equals(NEIGHBOURS) and not len(pq.read_table(space.neighbours))


def gains_file(folder, gains: dict[str, float]):
    path = folder / "gains.parquet"
    rows = [{"sample_id": name, "loss": 1.0, "picture_gain": gain} for name, gain in gains.items()]
    pq.write_table(pa.Table.from_pylist(rows), path)
    return path


def test_the_table_joins_what_there_is(space, tmp_path):
    write_neighbours(space, 10)
    write_read_answers(space)
    write_answers(space, [], [gains_file(tmp_path, {"r003": -3.0, "r005": 2.0, "text": None})])
    table = {row["sample_id"]: row for row in pq.read_table(space.answers).to_pylist()}
    assert set(table) == {f"r{n:03d}" for n in range(COUNT)}  # rows without any signal are left out
    assert table["r003"]["suspect_why"].split(", ")[0] in ("picture", "model", "neighbours")
    assert "picture" in table["r003"]["suspect_why"] and table["r003"]["picture_gain"] == -3
    ranked = sorted(table, key=lambda name: -table[name]["suspect"])
    assert ranked[0] == "r003" and set(ranked[:3]) == {"r003", "r040", "r077"}
    assert table["r005"]["suspect_why"] is None and 0 < table["r005"]["suspect"] < BASE


def one(**given) -> Signals:
    names = ("neighbours", "model", "gain", "ocr", "agreement", "conflict", "alignment", "loss")
    return Signals(*(np.array([given.get(name, np.nan)]) for name in names))


def test_a_missing_signal_adds_nothing_and_a_conflict_makes_the_odds_even():
    nothing, _ = suspect(evidence(one()))
    assert np.isnan(nothing[0])
    score, why = suspect(evidence(one(conflict=1)))
    assert score[0] == pytest.approx(0.5) and why == ["conflict"]
    neutral, why = suspect(evidence(one(gain=0.0)))
    assert neutral[0] == pytest.approx(BASE) and why == [None]


def test_evidence_points_the_right_way():
    bad = suspect(evidence(one(neighbours=4, model=3, gain=-2, ocr=3, agreement=0.4, alignment=0, loss=0)))
    good = suspect(evidence(one(neighbours=-3, model=-4, gain=2, agreement=1, alignment=1, loss=1)))
    assert good[0][0] < BASE < bad[0][0] and good[1] == [None]
    assert set(bad[1][0].split(", ")) >= {"picture", "ocr", "alignment", "loss"}


@pytest.fixture
def simple_recipe(tmp_path):
    sets.save(tmp_path / "images" / "a.png", sets.scene(1))
    sets.save(tmp_path / "images" / "b.png", sets.scene(2))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.png"), sets.row(2, "b.png")])
    return sets.recipe(tmp_path)


def test_the_stage_is_made_again_only_when_its_inputs_change(simple_recipe, tmp_path, monkeypatch):
    made: list[str] = []
    for module, name in ((neighbours, "write_neighbours"), (suspects, "write_answers")):
        real = getattr(module, name)
        monkeypatch.setattr(module, name, lambda *a, real=real, name=name: made.append(name) or real(*a))
    recipe = simple_recipe.model_copy(update={"answers": AnswerSettings()})
    run(recipe, "r")
    assert made == ["write_neighbours", "write_answers"]
    decide_again(recipe.model_copy(update={"seed": 1}), "r")
    assert len(made) == 2
    ids = pq.read_table(recipe.folder / "decisions.parquet")["sample_id"].to_pylist()
    gains = gains_file(tmp_path, dict.fromkeys(ids, -4.0))
    with_gains = recipe.model_copy(update={"answers": AnswerSettings(gains=[gains])})
    decide_again(with_gains, "r")
    assert made[2:] == ["write_answers"]
    assert pq.read_table(recipe.folder / "answers.parquet")["suspect"].to_pylist()[0] > BASE
    decide_again(simple_recipe, "r")
    assert not (recipe.folder / "answers.parquet").exists()


def test_texts_have_the_columns_that_are_read():
    assert {"agreement", "clip_alignment"} <= set(TEXT_SCHEMA.names)
