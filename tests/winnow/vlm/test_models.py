"""Model libraries fetch no code and say no more than they must."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from winnow.errors import UserError
from winnow.vlm.models import checkpoint, empty_model, first_line, load_processor

_KERNELS = """
def get_kernel(*arguments, **options):
    raise SystemExit("fetched code")
"""


@pytest.mark.slow
def test_no_kernel_comes_from_the_hub(tmp_path):
    (tmp_path / "kernels.py").write_text(_KERNELS)
    code = """
from winnow.vlm.models import prepare_libraries
prepare_libraries()
import bitsandbytes
try:
    from kernels import get_kernel
except ImportError:
    print("blocked")
"""
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(tmp_path), str(Path.cwd())]),
        "OMP_NUM_THREADS": "1",
    }
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert done.stdout == "blocked\n" and "gemm_4bit" not in done.stderr, done.stderr


def test_only_models_in_a_folder_are_offline(tmp_path, monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    monkeypatch.setattr("winnow.vlm.models.local_model", lambda model, **_: model)
    checkpoint("someone/model")
    assert "HF_HUB_OFFLINE" not in os.environ
    checkpoint(str(tmp_path))
    assert os.environ["HF_HUB_OFFLINE"] == "1"


@pytest.mark.parametrize(
    ("error", "line"), [(ValueError("a\nb"), "a"), (KeyError(), "KeyError"), (OSError(" "), "OSError")]
)
def test_first_line(error, line):
    assert first_line(error) == line


@pytest.mark.parametrize("model", ["./none", "/no/where", "a/b/c"])
def test_a_missing_folder_is_not_looked_for_on_the_hub(model, monkeypatch):
    monkeypatch.setattr("transformers.AutoProcessor.from_pretrained", lambda *_, **__: pytest.fail("asked the hub"))
    with pytest.raises(UserError, match="no such folder"):
        load_processor(model)


def test_a_folder_without_a_model_is_a_sentence(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UserError, match="its processor does not load"):
        load_processor(str(tmp_path))
    with pytest.raises(UserError, match="does not load"):
        empty_model(str(tmp_path))
