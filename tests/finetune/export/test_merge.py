"""Merging gives the function that was trained, and says so with figures."""

from __future__ import annotations

import json
import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import torch

from finetune.export.merge import merge, merged_model, parse_into
from finetune.export.outputs import Greedy, ReferenceOutputs, compare, load_adapter, open_run, reference_outputs
from finetune.export.parity import parity
from finetune.model.load import load_processor
from finetune.training.prompts import read_prompts
from finetune.training.run import train
from winnow.errors import UserError
from winnow.vlm.inputs import InputSettings


@pytest.fixture(scope="module")
def run(tmp_path_factory, tiny_model, toy_data):
    from finetune.recipe import TrainRecipe

    return train(
        TrainRecipe(
            name="m", out=tmp_path_factory.mktemp("merge") / "run", model=str(tiny_model), data=toy_data, lora_rank=8,
            learning_rate=2e-2, batch_size=4, max_steps=6, num_workers=0, max_length=128, vision="lora",
            stages=[{"filter": {"source": "toy"}}],
        )
    )  # fmt: skip


@pytest.fixture(scope="module")
def wanted(run):
    recipe = open_run(run)
    return reference_outputs(
        load_adapter(recipe, run), load_processor(str(run / "adapter")), read_prompts(run, 4), InputSettings()
    )


@pytest.mark.slow
def test_prompts_are_kept_with_the_tokens_of_training(run, toy_data):
    """Rows that no stage used are too few here, so trained ones are kept; their prompt is training's prefix."""
    prompts = read_prompts(run, 99)
    assert len(prompts) == 16 and not any(prompt.held_out for prompt in prompts)
    processor = load_processor(str(run / "adapter"))
    for prompt in prompts[:3]:
        batch, answer = prompt.answered(processor, InputSettings())
        ids = batch["input_ids"][0]
        assert ids[: len(prompt.tokens)].tolist() == prompt.tokens
        assert processor.tokenizer.decode(ids[answer]) == f"{prompt.answer}<|im_end|>"


@pytest.mark.slow
def test_merge_takes_the_closer_base_and_proves_it_in_a_new_process(run, tmp_path, monkeypatch):
    monkeypatch.setattr("finetune.export.outputs.subprocess", subprocess)
    from transformers import AutoModelForImageTextToText, AutoProcessor

    found = merge(run, tmp_path / "merged", into=None, count=4)
    assert found.passed and found.error < 0.02 and found.prompt_tokens == 1.0
    verdict = json.loads((tmp_path / "merged" / "merge.json").read_text())
    candidates = verdict["candidates"]
    assert verdict["into"] == "dequantized"  # the function that was trained, not the weights before rounding
    assert candidates["dequantized"]["error"] < candidates["original"]["error"]
    assert "quantization_config" not in json.loads((tmp_path / "merged" / "config.json").read_text())
    model = AutoModelForImageTextToText.from_pretrained(tmp_path / "merged")
    assert not any("lora" in name for name, _ in model.named_parameters())
    assert AutoProcessor.from_pretrained(tmp_path / "merged").chat_template


@pytest.mark.slow
def test_merging_into_the_original_weights_differs_more(run, wanted):
    recipe, processor, prompts = open_run(run), load_processor(str(run / "adapter")), read_prompts(run, 4)
    errors = {
        into: compare(
            wanted, reference_outputs(merged_model(recipe, run, into), processor, prompts, InputSettings()), prompts
        ).error
        for into in ("dequantized", "original")
    }
    assert errors["dequantized"] < 0.02 and errors["dequantized"] < errors["original"]


def test_a_failed_comparison_is_an_error_and_written_down(run, tmp_path, monkeypatch, capsys):

    def other_outputs(folder, prompts, settings, place):
        logits = -reference_outputs(
            merged_model(open_run(run), run, "original"), load_processor(str(run / "adapter")), prompts, settings
        ).logits
        return ReferenceOutputs(logits, [Greedy("?", [1], [9.0])] * len(prompts), [p.tokens for p in prompts])

    monkeypatch.setattr("finetune.export.merge.outputs_in_new_process", other_outputs)
    with pytest.raises(UserError, match="differs from the trained one"):
        merge(run, tmp_path / "bad", into="original", count=2)
    assert json.loads((tmp_path / "bad" / "merge.json").read_text())["passed"] is False
    assert "(more than 0.05)" in " ".join(capsys.readouterr().err.split())


@pytest.mark.slow
def test_parity_with_a_folder(run, tmp_path, tiny_model):
    """The untouched base model is not what was trained."""
    with pytest.raises(UserError, match="does not answer like"):
        parity(run, str(tiny_model), model=None, count=3, out=tmp_path / "verdict.json")
    assert json.loads((tmp_path / "verdict.json").read_text())["passed"] is False
    with pytest.raises(UserError, match="neither a URL nor a checkpoint folder"):
        parity(run, str(tmp_path), model=None, count=3, out=None)


class Server(BaseHTTPRequestHandler):
    """An OpenAI-compatible server that says what the test tells it to."""

    answers: dict = {}  # noqa: RUF012
    asked: list = []  # noqa: RUF012

    def do_GET(self):
        self._reply({"object": "list", "data": [{"id": "tuned", "object": "model", "created": 0, "owned_by": "x"}]})

    def do_POST(self):
        body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append(body)
        text, tokens = self.answers[len(self.asked) - 1]
        message = {"role": "assistant", "content": text}
        choice = {"index": 0, "finish_reason": "stop", "message": message}
        usage = {"prompt_tokens": tokens, "completion_tokens": 1, "total_tokens": tokens + 1}
        self._reply({"id": "1", "object": "chat.completion", "created": 0, "model": "tuned", "choices": [choice],
                     "usage": usage})  # fmt: skip

    def _reply(self, value):
        body = json.dumps(value).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture
def url():
    server = HTTPServer(("127.0.0.1", 0), Server)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}/v1"
    server.shutdown()


@pytest.mark.slow
def test_parity_with_a_server(run, wanted, url, tmp_path):
    prompts = read_prompts(run, 4)
    Server.asked = []
    Server.answers = [
        (f" {answer.text}\n", len(prompt.tokens)) for answer, prompt in zip(wanted.answers, prompts, strict=True)
    ]
    parity(run, url, model=None, count=4, out=tmp_path / "same.json")
    verdict = json.loads((tmp_path / "same.json").read_text())
    assert verdict["passed"] and verdict["answers"] == verdict["prompt_tokens"] == 1.0
    sent = Server.asked[0]
    assert sent["temperature"] == 0 and sent["model"] == "tuned"
    kinds = [part["type"] for part in sent["messages"][0]["content"]]
    assert kinds == ["image_url", "text"]
    assert sent["messages"][0]["content"][0]["image_url"]["url"].startswith("data:image/png;base64,")
    Server.asked = []
    Server.answers = [
        (answer.text, len(prompt.tokens) + 7) for answer, prompt in zip(wanted.answers, prompts, strict=True)
    ]
    with pytest.raises(UserError, match="does not answer like"):
        parity(run, url, model=None, count=4, out=None)
    Server.asked = []
    Server.answers = [("something else", len(prompt.tokens)) for prompt in prompts]
    with pytest.raises(UserError, match="does not answer like"):
        parity(run, url, model=None, count=4, out=tmp_path / "else.json")
    assert json.loads((tmp_path / "else.json").read_text())["unexplained"] > 0


@pytest.mark.slow
def test_no_server(run):
    with pytest.raises(UserError, match="does not answer"):
        parity(run, "http://127.0.0.1:9/v1", model="x", count=1, out=None)


class Kept:
    """What a comparison needs of a prompt."""

    held_out = True
    tokens = (1, 2)


def outputs_of(logits, *answers, prompt_tokens=(1, 2)):
    return ReferenceOutputs(logits, list(answers), [prompt_tokens] * len(answers))


def test_compare():
    same = Greedy("a", [7, 0], [3.0, 9.0])
    one = outputs_of(torch.eye(4), same)
    assert compare(one, one, [Kept()]).passed
    other = compare(one, outputs_of(torch.eye(4).flip(0), Greedy("c", [8, 0], [3.0, 9.0])), [Kept()])
    assert (other.agreement, other.passed, other.tokens, other.answers) == (0.0, False, 4, 0.0)
    assert other.error == pytest.approx(2**0.5) and other.logit_error == pytest.approx(0.5**0.5)
    assert not compare(one, outputs_of(torch.eye(4), same, prompt_tokens=(1, 4)), [Kept()]).passed  # another template


def noisy_pair(seed=0, tokens=400, words=500, noise=0.01):
    """Logits with many near ties, and the same with rounding noise."""
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(tokens, words, generator=generator)
    return logits, logits + noise * torch.randn(tokens, words, generator=generator)


def test_rounding_may_change_a_token_only_where_two_are_nearly_tied():
    for seed in range(5):
        logits, rounded = noisy_pair(seed)
        found = compare(
            outputs_of(logits, Greedy("a", [1], [1.0])), outputs_of(rounded, Greedy("a", [1], [1.0])), [Kept()]
        )
        assert found.agreement < 1 and found.unexplained == 0 and found.passed
    logits, rounded = noisy_pair()
    sure = int((logits.topk(2).values[:, 0] - logits.topk(2).values[:, 1]).argmax())
    rounded[sure, (int(logits[sure].argmax()) + 1) % 500] = 20.0  # one wrong token among 400, where the model is sure
    found = compare(outputs_of(logits, Greedy("a", [1], [1.0])), outputs_of(rounded, Greedy("a", [1], [1.0])), [Kept()])
    assert found.agreement > 0.9 and found.unexplained == 1 and not found.passed


def test_a_greedy_answer_may_part_only_at_a_near_tie():
    logits, rounded = noisy_pair()
    near, sure = Greedy("a b", [1, 2, 3], [5.0, 0.01, 5.0]), Greedy("a b", [1, 2, 3], [5.0, 4.0, 5.0])
    parted = Greedy("a c", [1, 9, 9], [5.0, 0.01, 5.0])
    assert compare(outputs_of(logits, near), outputs_of(rounded, parted), [Kept()]).passed
    found = compare(outputs_of(logits, sure), outputs_of(rounded, parted), [Kept()])
    assert found.unexplained == 1 and found.answers == 0.0 and not found.passed
    longer = Greedy("a b c", [1, 2, 3, 4], [5.0, 4.0, 5.0, 5.0])
    assert not compare(outputs_of(logits, near), outputs_of(rounded, longer), [Kept()]).passed


def test_refusals(run, tmp_path):
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    with pytest.raises(UserError, match="is not empty"):
        merge(run, tmp_path / "full", into=None, count=1)
    with pytest.raises(UserError, match="finetune train RECIPE"):
        merge(tmp_path, tmp_path / "new", into=None, count=1)
    with pytest.raises(UserError, match=r"rounding the sum .* loses most of what was learned"):
        parse_into("4bit")
    with pytest.raises(UserError, match="give dequantized or original"):
        parse_into("elsewhere")
    assert parse_into(None) is None and parse_into("original") == "original"
