"""The metrics as Hugging Face modules: loaded by path, offline, with sockets blocked; their examples run."""

import os
import subprocess
import sys
from pathlib import Path

import evaluate
import pytest

import evalsuite
from evalsuite.hf_modules import hub_modules
from evalsuite.metrics import bleu, mme

NAMES = sorted(hub_modules())
BLOCKED = """
import doctest, socket, sys

def refuse(*args, **kwargs):
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import evaluate
import evalsuite

for name in sys.argv[1:]:
    text = evaluate.load(evalsuite.module_path(name)).inputs_description
    names = {"evaluate": evaluate, "evalsuite": evalsuite}
    example = doctest.DocTestParser().get_doctest(text, names, name, None, 0)
    assert doctest.DocTestRunner().run(example).failed == 0 and example.examples, name
print("loaded", len(sys.argv) - 1)
"""


@pytest.mark.slow
def test_every_module_loads_offline_and_its_example_runs(tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    homes = {name: str(tmp_path / name) for name in ("HF_HOME", "HF_MODULES_CACHE")}
    command = [sys.executable, "-c", BLOCKED, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline, **homes}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(f"loaded {len(NAMES)}") and len(NAMES) == 16


def test_a_module_gives_what_its_metric_gives(evaluate_cache: Path) -> None:
    found = evaluate.load(evalsuite.module_path("bleu")).compute(
        predictions=["a dog", "a cat runs"], references=[["a dog"], ["a cat", "the cat runs"]]
    )
    expected = bleu({"0": "a dog", "1": "a cat runs"}, {"0": ["a dog"], "1": ["a cat", "the cat runs"]})
    assert [found[f"bleu_{n}"] for n in (1, 2, 3, 4)] == expected.corpus
    assert found["per_sample"] == list(expected.per_sample.values())
    given = {"predictions": ["Yes", "Yes"], "references": ["Yes", "No"], "categories": ["OCR"] * 2, "images": ["i"] * 2}
    raw = evaluate.load(evalsuite.module_path("mme")).compute(**given)
    by_row = [dict(zip("ab", column, strict=True)) for column in given.values()]
    assert raw["perception"] == mme(*by_row).perception == 50.0 and raw["per_sample"] == [1.0, 0.0]


def test_the_file_of_a_module_is_written_once(evaluate_cache: Path) -> None:
    path = Path(evalsuite.module_path("cider"))
    assert path.is_relative_to(evaluate_cache) and path.name == "cider.py"
    before = path.stat().st_mtime_ns
    assert evalsuite.module_path("cider") == str(path) and path.stat().st_mtime_ns == before
    assert [found.name for found in evaluate_cache.rglob("*") if found.is_file()] == ["cider.py"]


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no metric 'meteor'; known: anls, bleu"):
        evalsuite.module_path("meteor")
