"""Preference training: the loss is TRL's, margins are kept per pair, a resumed run ends alike, unfit rows are named."""

from __future__ import annotations

import copy
import json
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from finetune.data.collate import Collator
from finetune.data.pairs import PairCollator, pair_problem
from finetune.data.rows import open_rows
from finetune.model.adapter import build_learner
from finetune.recipe import DpoOptions
from finetune.training.run import train
from tests.finetune.toys import CHATML, build_processor, record, write_rows
from winnow.rows.records import Turn, from_record

COLOURS = ("red", "green", "blue", "black")


@pytest.fixture(scope="module")
def pairs(tmp_path_factory):
    """Six questions whose right and wrong answers differ, one of them of two turns."""
    folder = tmp_path_factory.mktemp("pairs")
    rows = []
    for number in range(6):
        colour, wrong = COLOURS[number % 4], ("a long wrong answer", COLOURS[(number + 1) % 4])[number % 2]
        Image.new("RGB", (16, 16), colour).save(folder / f"{number}.png")
        rows.append(record(number, f"{number}.png", "<image>\nwhat color is the square?", colour, rejected=wrong))
    earlier = [{"from": "user", "value": "<image>\nis it red?"}, {"from": "assistant", "value": "yes"}]
    rows[0]["conversations"] = [*earlier, {"from": "user", "value": "what color?"}, rows[0]["conversations"][-1]]
    return write_rows(folder / "pairs.jsonl", rows)


@pytest.fixture
def dpo_recipe(recipe_of, pairs):
    def make(**changes):
        return recipe_of(**{"method": "dpo", "data": pairs, "questions_per_image": 1, "lora_dropout": 0.0} | changes)

    return make


def loaded(recipe):
    from transformers import AutoModelForImageTextToText

    return build_learner(AutoModelForImageTextToText.from_pretrained(recipe.model, dtype=torch.float32), recipe)


def move(model):
    """Change everything that is trained, as if some steps had been made."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.requires_grad and ".ref." not in name:
                parameter += 0.05 * torch.randn(parameter.shape, generator=generator)


def ours(recipe, learner, batches, processor, folder):
    """Loss of each batch of row numbers, and the rewards of its pairs, after ``move``."""
    from transformers import TrainingArguments

    from finetune.data.schedule import AcceptedRows, RowPool, Schedule
    from finetune.training.dpo import PreferenceTrainer
    from finetune.training.losses import LossStore

    rows = open_rows(recipe)
    count = np.arange(len(rows))
    accepted = AcceptedRows(count, np.full(len(rows), -1), np.full(len(rows), 50), np.full(len(rows), 5))
    schedule = Schedule(
        rows, [RowPool(accepted)], seed=0, stage=0, questions_per_image=1, batch_size=2, max_length=100,
        sample_answers=False,
    )  # fmt: skip
    collator = PairCollator(Collator(processor, rows.image_root), rows)
    trainer = PreferenceTrainer(
        options=recipe.dpo, learner=learner, stage=recipe.resolved_stages()[0], losses=LossStore(folder, 0, 0),
        args=TrainingArguments(output_dir=str(folder), use_cpu=True, report_to=[], label_names=["labels"],
                               remove_unused_columns=False), data_collator=collator, train_dataset=schedule,
    )  # fmt: skip
    trainer.find_reference(schedule, folder)
    move(learner.model)
    found = []
    for batch in batches:
        trainer.losses._parts = []
        talks = [next(talk for talk in map(schedule.conversation, count) if talk.rows[0] == row) for row in batch]
        loss = trainer.compute_loss(learner.model.eval(), collator(talks))
        *_, chosen, rejected = trainer.losses._parts[0]
        found.append((float(loss), chosen.tolist(), rejected.tolist()))
    return found


def theirs(recipe, model, batches, processor, folder, **config):
    """The same by TRL's trainer, which makes a copy of the adapter its reference."""
    trl = pytest.importorskip("trl", reason="TRL is not installed")
    from datasets import Dataset

    rows, lines = open_rows(recipe), []
    for number in range(len(rows)):
        sample = rows[number]
        said = [{"role": turn.role, "content": turn.value.replace("<image>\n", "")} for turn in sample.conversations]
        wrong = [{"role": "assistant", "content": sample.meta["rejected"]}]
        image = Image.open(rows.image_root / sample.image[0])
        lines.append({"prompt": said[:-1], "chosen": said[-1:], "rejected": wrong, "images": [image]})
    arguments = trl.DPOConfig(
        output_dir=str(folder), use_cpu=True, bf16=False, report_to=[], max_length=None, gradient_checkpointing=False,
        beta=recipe.dpo.beta, **config,
    )  # fmt: skip
    trainer = trl.DPOTrainer(
        model=model, args=arguments, processing_class=processor, train_dataset=Dataset.from_list(lines)
    )
    move(trainer.model)
    found = []
    for batch in batches:
        inputs = trainer.data_collator([dict(trainer.train_dataset[row]) for row in batch])
        trainer._metrics["train"].clear()
        trainer.model.train()
        loss = float(trainer._compute_loss(trainer.model, inputs, return_outputs=False))
        found.append((loss, *(trainer._metrics["train"][f"rewards/{side}"][0] for side in ("chosen", "rejected"))))
    return found


@pytest.mark.parametrize(
    ("options", "config"),
    [
        ({"beta": 0.3}, {}),
        ({"beta": 0.5, "loss_type": "ipo"}, {"loss_type": ["ipo"]}),
        ({"sft_weight": 0.7}, {"loss_type": ["sigmoid", "sft"], "loss_weights": [1.0, 0.7]}),
    ],
    ids=["sigmoid", "ipo", "with sft"],
)
@pytest.mark.slow
def test_loss_and_rewards_are_those_of_trl(dpo_recipe, tmp_path, options, config):
    # TRL also trains on a line break after the stop token, so the template has none.
    processor = build_processor(CHATML.replace("<|im_end|>\n", "<|im_end|>"))
    recipe = dpo_recipe(dpo=DpoOptions(**options), quantization="none", compute_dtype="float32")
    learner, batches = loaded(recipe), [(0, 1, 2), (3, 5), (4,)]
    twin = copy.deepcopy(learner.model)
    mine = ours(recipe, learner, batches, processor, tmp_path)
    their = theirs(recipe, twin, batches, processor, tmp_path / "trl", **config)
    for (loss, chosen, rejected), (other, mean_chosen, mean_rejected) in zip(mine, their, strict=True):
        assert abs(np.mean(chosen)) > 1e-3  # the model has moved away from its reference
        assert loss == pytest.approx(other, rel=1e-4)
        assert np.mean(chosen) == pytest.approx(mean_chosen, rel=1e-3, abs=1e-5)
        assert np.mean(rejected) == pytest.approx(mean_rejected, rel=1e-3, abs=1e-5)


@pytest.mark.slow
def test_a_resumed_run_ends_alike_and_keeps_the_margin_of_each_pair(dpo_recipe, tmp_path, monkeypatch):
    from tests.finetune.training.test_run import Killed, assert_same_result, die_after

    options = {"max_steps": 9, "save_steps": 6, "lora_dropout": 0.1}
    whole = train(dpo_recipe(out=tmp_path / "whole", **options))
    with monkeypatch.context() as patch:
        die_after(patch, 6)
        with pytest.raises(Killed):
            train(dpo_recipe(out=tmp_path / "halves", **options))
    halves = train(dpo_recipe(out=tmp_path / "halves", **options))
    assert_same_result(whole, halves)
    margins = pd.read_parquet(whole / "margins.parquet")
    pd.testing.assert_frame_equal(margins, pd.read_parquet(halves / "margins.parquet"))
    assert len(margins) == 18 and set(margins.epoch) == {0, 1, 2}
    np.testing.assert_allclose(margins.margin, margins.chosen - margins.rejected)
    np.testing.assert_allclose(margins.loss, np.log1p(np.exp(-margins.margin)), rtol=1e-5)
    assert margins[margins.epoch == 0].iloc[0].margin != margins[margins.epoch == 2].iloc[0].margin
    lines, again = (
        [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()] for run in (whole, halves)
    )
    assert [line["reward_margin"] for line in lines] == [line["reward_margin"] for line in again]
    assert lines[0]["loss"] == pytest.approx(np.log(2), abs=1e-3) and lines[0]["reward_margin"] == pytest.approx(0)
    assert lines[-1]["reward_margin"] > 0 and lines[-1]["reward_accuracy"] == 1
    assert "Preference pairs" in (whole / "report.md").read_text()
    losses = pd.read_parquet(whole / "losses.parquet")
    assert (losses.tokens < 10).all()  # of the chosen answers alone


@pytest.mark.slow
def test_the_reference_of_a_stage_is_the_model_that_it_starts_with(dpo_recipe, toy_data, tmp_path):
    stages = [{"max_steps": 3}, {"max_steps": 1}]
    run = train(dpo_recipe(out=tmp_path / "run", stages=stages, evaluate={"toys": toy_data}))
    evaluated = [json.loads(line) for line in (run / "evaluations.jsonl").read_text().splitlines()]
    assert [line["rows"] for line in evaluated] == [42] * 3  # rows that are no pairs, by their ordinary loss
    margins = pd.read_parquet(run / "margins.parquet")
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    first = {stage: next(line for line in lines if line["stage"] == stage) for stage in (0, 1)}
    assert set(margins.stage) == {0, 1}
    assert all(line["loss"] == pytest.approx(np.log(2), abs=1e-3) for line in first.values())


@pytest.mark.slow
def test_an_adapter_that_is_continued_is_its_own_reference(dpo_recipe, recipe_of, tmp_path):
    start = train(recipe_of(out=tmp_path / "start"))
    run = train(dpo_recipe(out=tmp_path / "run", adapter=str(start / "adapter"), max_steps=1, learning_rate=1e-9))
    margins = pd.read_parquet(run / "margins.parquet")
    np.testing.assert_allclose(margins[["chosen", "rejected"]], 0, atol=1e-3)


@pytest.mark.slow
def test_rows_that_are_no_pair_are_rejected_by_name(dpo_recipe, pairs, tmp_path):
    rows = [json.loads(line) for line in pairs.read_text().splitlines()]
    rows[1].pop("rejected")
    rows[2]["rejected"] = rows[2]["conversations"][-1]["value"]
    rows[3]["rejected"] = "<|im_end|>"
    rows[4]["rejected"] = "green " * 200
    path = write_rows(pairs.parent / "unfit.jsonl", rows)
    run = train(dpo_recipe(data=path, out=tmp_path / "run", max_reject=0.7, max_steps=1))
    rejected = [json.loads(line) for line in (run / "rejects.jsonl").read_text().splitlines()]
    assert {line["row"]: line["reason"] for line in rejected} == {
        1: "no_rejected_answer", 2: "same_answer", 3: "control_token", 4: "too_long",
    }  # fmt: skip


@pytest.mark.slow
def test_sft_does_not_read_rejected_answers(recipe_of, pairs, tmp_path):
    run = train(recipe_of(data=pairs, out=tmp_path / "run", max_steps=1))
    assert (run / "rejects.jsonl").read_text() == "" and not (run / "margins.parquet").exists()


def _message(role, content):
    return {"role": role, "content": content}


_TRL = [("prompt", "user", "q"), ("chosen", "assistant", "a"), ("rejected", "assistant", "b")]


@pytest.mark.parametrize(
    "row",
    [
        {"messages": [_message("user", "q"), _message("assistant", "a")], "rejected_response": "b"},
        {"conversations": [{"from": "human", "value": "q"}], "chosen": {"from": "gpt", "value": "a"},
         "rejected": {"from": "gpt", "value": "b"}},
        {side: [_message(role, [{"type": "text", "text": text}])] for side, role, text in _TRL},
    ],
    ids=["ms-swift", "LLaMA-Factory", "TRL"],
)  # fmt: skip
def test_pairs_of_other_trainers_are_pairs(row):
    from finetune.data.pairs import pair_of

    sample = from_record({"id": "1", **row})
    assert pair_problem(sample) is None
    assert [side.conversations[-1].value for side in pair_of(sample)] == ["a", "b"]


def test_what_is_no_pair():
    sample = from_record({"id": "1", "messages": [_message("user", "q"), _message("assistant", "a")], "rejected": "b"})
    assert pair_problem(sample) is None
    reason = {
        "rejected_differs": replace(sample, meta={**sample.meta, "rejected_images": ["b.png"]}),
        "no_rejected_answer": replace(sample, meta={}),
        "no_answer": replace(sample, conversations=(*sample.conversations, Turn("user", "and now?"))),
        "same_answer": replace(sample, meta={"rejected": " a"}),
    }
    assert {name: pair_problem(changed)[0] for name, changed in reason.items()} == {name: name for name in reason}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"method": "sft", "dpo": {"beta": 0.2}}, "need method: dpo"),
        ({"questions_per_image": 2}, "questions_per_image: 1"),
        ({"answers": "sampled"}, "answers: first"),
    ],
)
def test_options_that_do_not_fit(dpo_recipe, changes, words):
    with pytest.raises(ValueError, match=words):
        dpo_recipe(**changes)
