"""The metrics as Hugging Face modules: loaded by path, offline, with sockets blocked; their examples run."""

import doctest
import importlib
import os
import subprocess
import sys
from pathlib import Path

import pytest

import evalsuite

NAMES = sorted(file.stem for file in Path(evalsuite.__file__).with_name("modules").glob("[a-z]*.py"))
BLOCKED = """
import doctest, importlib, socket, sys

def refuse(*args, **kwargs):
    raise OSError("no network in this test")

socket.socket.connect = socket.create_connection = socket.getaddrinfo = refuse
import evaluate
import evalsuite

for name in sys.argv[1:]:
    assert evaluate.load(evalsuite.module_path(name)).inputs_description, name
    module = importlib.import_module(f"evalsuite.modules.{name}")
    names = {"evaluate": evaluate, "evalsuite": evalsuite}
    example = doctest.DocTestParser().get_doctest(module._INPUTS, names, name, None, 0)
    assert doctest.DocTestRunner().run(example).failed == 0 and example.examples, name
print("loaded", len(sys.argv) - 1)
"""


def test_every_module_loads_offline_and_its_example_runs(tmp_path: Path) -> None:
    offline = {"HF_HUB_OFFLINE": "1", "HF_EVALUATE_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    homes = {name: str(tmp_path / name) for name in ("HF_HOME", "HF_MODULES_CACHE")}
    command = [sys.executable, "-c", BLOCKED, *NAMES]
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **offline, **homes}, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.strip().endswith(f"loaded {len(NAMES)}") and len(NAMES) == 13


def test_a_module_gives_what_its_metric_gives() -> None:
    from evalsuite.metrics import caption, mme
    from evalsuite.modules.bleu import CocoBleu
    from evalsuite.modules.mme import Mme

    found = CocoBleu._compute(None, ["a dog", "a cat runs"], [["a dog"], ["a cat", "the cat runs"]])
    expected = caption({"0": "a dog", "1": "a cat runs"}, {"0": ["a dog"], "1": ["a cat", "the cat runs"]})
    assert [found[f"bleu_{n}"] for n in (1, 2, 3, 4)] == expected.corpus
    assert found["per_sample"] == list(expected.per_sample.values())
    raw = Mme._compute(None, ["Yes", "Yes"], ["Yes", "No"], ["OCR", "OCR"], ["i", "i"])
    scores = mme(
        {"a": "Yes", "b": "Yes"}, {"a": "Yes", "b": "No"}, dict.fromkeys("ab", "OCR"), dict.fromkeys("ab", "i")
    )
    assert raw["perception"] == scores.perception == 50.0 and raw["per_sample"] == [1.0, 0.0]


@pytest.mark.parametrize("name", NAMES)
def test_modules_import_only_what_the_loader_understands(name: str) -> None:
    source = Path(evalsuite.module_path(name)).read_text(encoding="utf-8")
    assert "\nimport evaluate\n" in source
    assert doctest.DocTestParser().get_examples(importlib.import_module(f"evalsuite.modules.{name}")._INPUTS)


def test_an_unknown_metric_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match="no metric 'meteor'; known: anls, bleu"):
        evalsuite.module_path("meteor")
