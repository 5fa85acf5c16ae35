"""Sampling on this machine: by the model's probabilities, the same whatever the batch holds."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from tiny import build_data, recipe_text, task_text

from evalsuite.backends import Request
from evalsuite.backends.sampling import with_noise
from evalsuite.runs.run import run_recipe


def request(key: str, temperature: float | None) -> Request:
    return Request(key, "", (), (), 5, (), temperature)


def test_samples_have_the_probabilities_of_the_tempered_softmax() -> None:
    logits = torch.tensor([0.0, 1.0, 2.0, -1.0])
    asked = [request(f"key {number}", 0.5) for number in range(8000)]
    drawn = with_noise(logits.expand(8000, 4), asked, [3] * 8000).argmax(dim=-1)
    shares = torch.bincount(drawn, minlength=4) / 8000
    assert torch.allclose(shares, torch.softmax(logits / 0.5, -1), atol=0.02)  # 4 standard errors of the largest


def test_rows_without_a_temperature_stay_greedy_and_others_follow_key_and_position() -> None:
    logits = torch.randn(3, 50)
    greedy = [request(key, temperature) for key, temperature in (("a", None), ("b", 0.0), ("c", None))]
    assert with_noise(logits, greedy, [0, 0, 0]) is logits
    mixed = with_noise(logits, [*greedy[:2], request("c", 1.0)], [0, 0, 0])
    assert torch.equal(mixed[:2], logits[:2]) and not torch.equal(mixed[2], logits[2])
    alone = with_noise(logits[2:], [request("c", 1.0)], [0])
    assert torch.equal(mixed[2:], alone)
    assert not torch.equal(alone, with_noise(logits[2:], [request("c", 1.0)], [1]))
    assert not torch.equal(alone, with_noise(logits[2:], [request("d", 1.0)], [0]))


@pytest.mark.slow
def test_samples_of_a_run_differ_and_do_not_depend_on_batches(tmp_path: Path, tiny_vlm: Path) -> None:
    task = tmp_path / "t.yaml"
    text = task_text(build_data(tmp_path / "data", images=3, questions=3), "samples: 3\n")
    task.write_text(text.replace("{max_new_tokens: 6}", "{max_new_tokens: 6, temperature: 1.5}"))
    found = []
    for number, (batch, share) in enumerate([(2, "true"), (5, "false")]):
        recipe = recipe_text("one", tmp_path / str(number), tiny_vlm, task).replace("size: 2", f"size: {batch}")
        path = tmp_path / f"{number}.yaml"
        path.write_text(recipe.replace("device: cpu}", f"device: cpu, share_prefix: {share}}}"))
        run_recipe(path)
        rows = pq.read_table(tmp_path / str(number) / "predictions.parquet").to_pylist()
        found.append([(row["sample_id"], row["raw"]) for row in rows])
    assert found[0] == found[1]
    asked = [raw for name, raw in found[0] if not name.startswith("tiny/test/lost")]
    assert len(asked) == 27 and all(len(set(asked[row : row + 3])) > 1 for row in range(0, 27, 3))
