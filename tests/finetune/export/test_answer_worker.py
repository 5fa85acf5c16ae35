"""The worker that asks a checkpoint in its own process gives what the trained model's own code gives, also resumed."""

from __future__ import annotations

import shutil

import pytest
import torch
from safetensors.torch import load_file, save_file

from evalsuite.runs.sample import ask_sample
from finetune.export.fresh_process import scored_prompts
from finetune.export.outputs import (
    COMPARED_TOKENS,
    MAX_NEW_TOKENS,
    ReferenceOutputs,
    compare,
    load_adapter,
    open_run,
    reference_outputs,
)
from finetune.export.questions import draw_questions, write_questions
from finetune.export.worker import answer
from finetune.export.worker.job import AnswerJob
from finetune.model.load import load_processor
from finetune.training.prompts import read_prompts
from winnow.vlm.inputs import InputSettings


@pytest.fixture(scope="module")
def asked(colours_run, colours_task, tmp_path_factory):
    """A job for the run's base model, its questions, and the model in memory."""
    from transformers import AutoModelForImageTextToText

    folder = tmp_path_factory.mktemp("asked")
    processor = load_processor(str(colours_run / "adapter"))
    settings = InputSettings()
    questions = draw_questions({str(colours_task): 20}, seed=0, processor=processor, inputs=settings)
    write_questions(questions, folder / "questions.jsonl", folder / "images")
    prompts = read_prompts(colours_run, 4)
    base = colours_run.parent / "model"
    job = AnswerJob(
        library="transformers", model=base, out=folder, prompts=scored_prompts(prompts, processor, settings, folder),
        questions=folder / "questions.jsonl", batch_size=8, max_new_tokens=MAX_NEW_TOKENS,
        compared_tokens=COMPARED_TOKENS, end_tokens=[processor.tokenizer.eos_token_id], device="cpu",
    )  # fmt: skip
    model = AutoModelForImageTextToText.from_pretrained(base, dtype="auto").eval()
    return job, questions, prompts, model, processor


def test_prompts_have_the_same_tokens_logits_and_answers(asked):
    job, _, prompts, model, processor = asked
    wanted = reference_outputs(model, processor, prompts, InputSettings())
    answer.score_prompts(job, model, processor)
    from finetune.export.fresh_process import exported_outputs

    got, _, versions = exported_outputs(job.out)
    assert torch.allclose(got.logits, wanted.logits, atol=1e-3) and got.logits.shape == wanted.logits.shape
    assert compare(wanted, got, prompts).passed and got.answers == wanted.answers
    assert got.prompt_tokens == [prompt.tokens for prompt in prompts]
    assert versions["transformers"]
    worse = ReferenceOutputs(-got.logits, got.answers, got.prompt_tokens)
    assert not compare(wanted, worse, prompts).passed


def test_replies_are_those_of_evalsuite(asked):
    job, questions, _, model, processor = asked
    answer.answer_questions(job, model, processor)
    got = {
        reply.key: (reply.raw, reply.tokens, reply.input_tokens)
        for reply in answer.read_replies(job.out / "replies.jsonl")
    }
    (sample,) = questions.samples.values()
    wanted = ask_sample(sample, model, batch_size=8)
    assert got == {key: (reply.raw, reply.output_tokens, reply.input_tokens) for key, reply in wanted.items()}
    assert len(got) >= 15


def test_a_killed_job_goes_on(asked):
    """Whole batches are kept, a line that was cut off is dropped."""
    job, _, _, model, processor = asked
    path = job.out / "replies.jsonl"
    answer.answer_questions(job, model, processor)
    whole = path.read_bytes()
    lines = whole.splitlines(keepends=True)
    path.write_bytes(b"".join(lines[:8]) + lines[8][:20])
    answer.answer_questions(job, model, processor)

    def said(data):
        return [answer.Answered.model_validate_json(line).model_dump(exclude={"seconds"}) for line in data.splitlines()]

    assert said(path.read_bytes()) == said(whole)


def test_stop_texts_end_a_reply(asked, colours_run, tmp_path):
    """As evalsuite has it: the reply keeps the stop text, and nothing behind it."""
    job, _, _, _, processor = asked
    model = load_adapter(open_run(colours_run), colours_run)  # writes words
    line = answer.Asked.model_validate_json(job.questions.read_text().splitlines()[0])
    free = line.model_copy(update={"max_new_tokens": 12})
    path = tmp_path / "questions.jsonl"
    path.write_text(free.model_dump_json() + "\n")
    ask = job.model_copy(update={"questions": path, "out": tmp_path, "end_tokens": [10**6]})
    answer.answer_questions(ask, model, processor)
    (reply,) = answer.read_replies(tmp_path / "replies.jsonl")
    assert reply.finish_reason == "length" and reply.tokens == 12
    # Bytes that are no whole character decode otherwise beside others, so a plain one is taken.
    stop = next(character for character in reply.raw if character.isascii() and character.isprintable())
    (tmp_path / "replies.jsonl").unlink()
    path.write_text(free.model_copy(update={"stop": [stop]}).model_dump_json() + "\n")
    answer.answer_questions(ask, model, processor)
    (stopped,) = answer.read_replies(tmp_path / "replies.jsonl")
    assert stopped.finish_reason == "stop" and stop in stopped.raw and reply.raw.startswith(stopped.raw)
    assert stopped.tokens < reply.tokens


def test_a_checkpoint_that_lacks_tensors_is_not_asked(asked, tmp_path):
    """As one whose tower its list of ignored layers names wrongly: transformers would put random numbers there."""
    job, *_ = asked
    shutil.copytree(job.model, tmp_path / "model")
    weights = tmp_path / "model" / "model.safetensors"
    tensors = load_file(weights)
    lost = next(key for key in tensors if "vision_tower" in key and key.endswith("fc1.weight"))
    save_file({key: tensor for key, tensor in tensors.items() if key != lost}, weights, metadata={"format": "pt"})
    with pytest.raises(SystemExit, match=r"1 tensors are missing.*vision_tower.*fc1\.weight"):
        answer.load(job.model_copy(update={"model": tmp_path / "model"}))
    answer.load(job)


def test_the_worker_needs_nothing_of_winnow():
    """It runs where only its own package can be imported."""
    import ast
    from pathlib import Path

    for path in Path(answer.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert not name.startswith(("winnow", "evalsuite", "curate", "finetune")) or name.startswith(
                    "finetune.export.worker"
                ), f"{path.name} imports {name}"
