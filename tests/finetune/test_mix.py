"""Mix search: trials of a tiny model, paired with equal weights by row, kept over a kill, and what is not proven."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from typer.testing import CliRunner

from finetune import mix
from finetune.cli import app
from finetune.mix import HeldOut, default_trials, mix_search, parse_weights
from finetune.recipe import load
from winnow.errors import UserError


@pytest.fixture
def recipe_file(recipe_of, toy_data, tmp_path) -> Path:
    """Two sources and the rows of both, held out; the images lie beside the toy data."""
    rows = [json.loads(line) for line in toy_data.read_text(encoding="utf-8").splitlines()]
    for number, row in enumerate(rows):
        row["source"] = "odd" if number % 2 else "even"
    files = {"train": rows[:30], "held": rows[30:]}
    for name, part in files.items():
        (tmp_path / f"{name}.jsonl").write_text("".join(f"{json.dumps(row)}\n" for row in part), encoding="utf-8")
    for image in toy_data.parent.glob("*.png"):
        (tmp_path / image.name).write_bytes(image.read_bytes())
    values = recipe_of(
        data=tmp_path / "train.jsonl", evaluate={"held": tmp_path / "held.jsonl"}, quantization="none",
        compute_dtype="float32", questions_per_image=1,
    ).model_dump(mode="json", exclude_unset=True)  # fmt: skip
    path = tmp_path / "mix.yaml"
    path.write_text(yaml.safe_dump(values), encoding="utf-8")
    return path


def test_weights_are_read():
    assert parse_weights("a=3, b=0.5") == {"a": 3.0, "b": 0.5}
    assert default_trials(["a", "b"]) == [{"a": 3.0, "b": 1.0}, {"a": 1.0, "b": 3.0}]


@pytest.mark.parametrize("text", ["", "a", "a=0", "a=-1", "a=inf", "a=nan", "a=1,a=2", "=1", "a=1,"])
def test_other_texts_are_no_weights(text):
    with pytest.raises(UserError, match="give each name once with a number above 0"):
        parse_weights(text)


def test_parts_count_alike_and_images_are_drawn_whole():
    random = np.random.default_rng(0)
    part, image = np.repeat([0, 1], [80, 8]), np.repeat(np.arange(22), 4)
    held = HeldOut(tuple(map(str, range(88))), part, image, ("large", "small"))
    equal = random.normal(2, 1, 88)
    change = np.where(part == 0, -0.1, 0.5)
    value, low, high = held.difference(equal + change, equal, 0.95)
    assert value == pytest.approx(0.2)
    assert (low, high) == (pytest.approx(0.2), pytest.approx(0.2))  # rows differ, differences of a part do not
    assert held.by_part(equal) == pytest.approx([equal[:80].mean(), equal[80:].mean()])
    by_image = np.repeat(random.normal(0, 1, 22), 4)  # four rows of an image say no more than one
    _, low, high = held.difference(equal + by_image, equal, 0.95)
    rows = HeldOut(held.ids, part, np.arange(88), held.parts)
    _, narrow_low, narrow_high = rows.difference(equal + by_image, equal, 0.95)
    assert high - low > 1.5 * (narrow_high - narrow_low)


@pytest.mark.slow
def test_a_search_goes_on_after_a_kill_and_ends_the_same(recipe_file, tmp_path, monkeypatch):
    asked, trained = [{"even": 3.0, "odd": 1.0}], []
    real = mix.train

    def dies(recipe, **options):
        if len(trained) == 1:
            raise KeyboardInterrupt
        trained.append(recipe.folder)
        return real(recipe, **options)

    with monkeypatch.context() as patch:
        patch.setattr(mix, "train", dies)
        with pytest.raises(KeyboardInterrupt):
            mix_search(recipe_file, asked, steps=2)
    adapter = next(trained[0].glob("adapter/*.safetensors"))
    before = adapter.stat().st_mtime_ns
    outcome = mix_search(recipe_file, asked, steps=2)
    folder = tmp_path / "run-mix-search"
    assert adapter.stat().st_mtime_ns == before
    assert json.loads((folder / "mix.json").read_text()) == outcome
    assert [trial["weights"] for trial in outcome["trials"]] == [{"even": 1.0, "odd": 1.0}, *asked]
    assert set(outcome["trials"][0]["by_part"]) == {"held: even", "held: odd"}
    assert outcome["rows"] == 12 and outcome["level"] == pytest.approx(0.95)
    losses = [trial["loss"] for trial in outcome["trials"]]
    assert len(set(losses)) == 2  # the weights reach the training
    for trial in outcome["trials"][1:]:
        assert trial["minus_equal"] == pytest.approx(trial["loss"] - losses[0], abs=1e-9)
        assert trial["low"] <= trial["minus_equal"] <= trial["high"]
    best = load(folder / "recipe.yaml")
    assert best.stages[0].weights == outcome["weights"] and best.name == "toy-mix" and best.max_steps == 4
    if not outcome["better_than_equal"]:
        assert (
            outcome["weights"] == outcome["trials"][0]["weights"] and "better than equal weights" in outcome["sentence"]
        )
    files = [(folder / name).read_bytes() for name in ("mix.json", "recipe.yaml")]
    monkeypatch.setattr(mix, "train", lambda recipe, **_: recipe.folder)  # nothing is scored again either
    mix_search(recipe_file, asked, steps=2)
    assert [(folder / name).read_bytes() for name in ("mix.json", "recipe.yaml")] == files


def test_what_cannot_be_searched_is_said(recipe_file):
    values = yaml.safe_load(recipe_file.read_text(encoding="utf-8"))
    for change, sentence in (
        ({"evaluate": {}}, "name held-out rows under `evaluate:`"),
        ({"stages": [{"name": "a"}, {"name": "b"}]}, "has 2 stages"),
    ):
        recipe_file.write_text(yaml.safe_dump({**values, **change}), encoding="utf-8")
        with pytest.raises(UserError, match=sentence):
            mix_search(recipe_file, [], steps=1)
    recipe_file.write_text(yaml.safe_dump(values), encoding="utf-8")
    with pytest.raises(UserError, match="there is nothing to weigh"):
        mix_search(recipe_file, [{"odd": 1.0}], steps=1)
    with pytest.raises(UserError, match="only equal weights"):
        mix_search(recipe_file, [{"odd": 2.0, "even": 2.0}], steps=1)
    done = CliRunner().invoke(app, ["mix-search", str(recipe_file), "--weights", "odd"])
    assert done.exit_code and "such as vqa=3,captions=1" in str(done.exception)
