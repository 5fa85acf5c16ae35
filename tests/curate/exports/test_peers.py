"""LLaMA-Factory, ms-swift and EvalScope load their exports: the real loaders, in an environment of their own.

They pin libraries that Winnow has newer, so they are installed without dependencies, beside the libraries that run
this test. Without a package index the test is skipped.
"""

import json
import os
import site
import subprocess
import sys
import venv
from pathlib import Path

import pytest

from curate import pipeline
from tests.curate import sets
from tests.curate.exports.made import exported
from tests.curate.exports.test_training_rows import CALL, ROWS, TOOLS

PACKAGES = [
    "llamafactory==0.9.5", "torchaudio", "kernels", "ms-swift==4.6.0", "modelscope==1.40.2", "modelscope-hub",
    "cryptography", "cffi", "json-repair", "evalscope==1.14.1", "docstring-parser", "colorlog", "filetype", "jsonlines",
    "editdistance",
]  # fmt: skip


@pytest.fixture(scope="module")
def python(tmp_path_factory):
    """An interpreter that has the peers and everything that this one has."""
    folder = tmp_path_factory.mktemp("peers")
    venv.create(folder)
    interpreter = folder / "bin/python"
    (packages,) = folder.glob("lib/*/site-packages")
    (packages / "zz_own.pth").write_text("\n".join(site.getsitepackages()))
    pip = [sys.executable, "-m", "pip", "--python", interpreter, "install", "--quiet", "--no-deps", "--no-compile"]
    installed = subprocess.run([*pip, *PACKAGES], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"the peers cannot be installed: {installed.stderr.strip().splitlines()[-1]}")
    return interpreter


@pytest.fixture(scope="module")
def loaded(python, tmp_path_factory):
    """Peer → file → rows as it has loaded them."""
    folder = tmp_path_factory.mktemp("exports")
    for name in ("a", "b"):
        sets.save(folder / "images" / f"{name}.png", sets.scene(ord(name)))
    carried = {"options": ["cat", "dog"], "original_question": "Which?"}
    choice = sets.row("choice", "a.png", "Which?\nA. cat\nB. dog", "B", meta=carried)
    sets.write_lines(folder / "rows.jsonl", [{"id": name, **row} for name, row in ROWS.items()] + [choice])
    pipeline.run(sets.recipe(folder, rules={}), "recipe.yaml")
    for to in ("llama-factory", "ms-swift", "evalscope"):
        exported(folder / "out", to)
    script, answer = Path(__file__).with_name("peers.py"), folder / "answer.json"
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_CACHE": str(folder / "cache"), "PYTHONPATH": ""}
    command = [python, script, folder / "out/exports", answer]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=folder)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(answer.read_text()), folder


@pytest.mark.slow
def test_llama_factory(loaded):
    found, folder = loaded
    rows = {row["id"].rpartition("/")[2]: row for part in found["llama_factory"].values() for row in part}
    rejected = {"boxes", "other", "loss", "first", "parallel", "unbalanced", "unboxed", "equal", "untold"}
    rejected |= {"no boxes", "names", "asker", "half"}
    assert set(rows) == {*ROWS, "choice"} - rejected
    assert all(row["_prompt"] and row["_response"] for row in rows.values()), "an abnormal row has neither"
    image = str(folder / "images/a.png")
    assert rows["system"]["_system"] == "Be brief."
    assert (rows["video"]["_images"], rows["video"]["_videos"]) == ([image], ["clips/v.mp4"])
    assert rows["frames"]["_videos"] == [["f1.png", "f2.png"]]
    assert rows["sound"]["_audios"] == ["s.wav"]
    assert [one["content"] for one in rows["rejected"]["_response"]] == ["discs", "cubes"]
    assert rows["rejected"]["_images"] == [image]
    assert [one["content"] for one in rows["good"]["_response"]] == ["discs", ""]
    assert [one["content"] for one in rows["poor"]["_response"]] == ["", "discs"]
    assert [one["role"] for one in rows["tools"]["_prompt"]] == ["user", "function", "observation"]
    assert (rows["tools"]["_prompt"][1]["content"], rows["tools"]["_tools"]) == (CALL, json.dumps(TOOLS))


@pytest.mark.slow
def test_ms_swift(loaded):
    """It deletes rows that it cannot read: as many come out as the files hold."""
    found, folder = loaded
    exports = folder / "out/exports/ms-swift"
    written = {
        name: [json.loads(line) for line in (exports / name).read_text().splitlines()] for name in found["ms_swift"]
    }
    assert {name: len(rows) for name, rows in found["ms_swift"].items()} == {
        name: len(rows) for name, rows in written.items()
    }
    assert len(written) == 4
    for name, rows in written.items():
        for row, own in zip(found["ms_swift"][name], rows, strict=True):
            turns = [{key: value for key, value in turn.items() if value is not None} for turn in row["messages"]]
            assert turns == own["messages"]
            assert [image["path"] for image in row["images"]] == own["images"]
            for key in ("videos", "audios", "objects", "rejected_response", "rejected_messages", "label"):
                assert (row.get(key) or None) == (own.get(key) or None), key
            assert [image["path"] for image in row.get("rejected_images") or []] == own.get("rejected_images", [])
    assert sum(len(rows) for rows in written.values()) == len(ROWS) + 1 - len(
        {"unbalanced", "unboxed", "equal", "untold", "no boxes"}
    )


@pytest.mark.slow
def test_evalscope(loaded):
    found, folder = loaded
    (choice,) = found["evalscope"]["general_vmcq"]
    assert (choice["choices"], choice["target"]) == (["cat", "dog"], "B")
    assert [part["type"] for part in choice["input"][0]["content"]] == ["text", "image", "text"]
    exports = folder / "out/exports/evalscope/vqa/train.jsonl"
    written = [json.loads(line) for line in exports.read_text().splitlines()]
    kinds = {"image_url": "image", "video_url": "video", "input_audio": "audio", "text": "text"}
    for sample, own in zip(found["evalscope"]["general_vqa"], written, strict=True):
        assert sample["target"] == own["answer"]
        assert [one["role"] for one in sample["input"]] == [one["role"] for one in own["messages"]]
        content = own["messages"][-1]["content"]
        if isinstance(content, list):
            assert [part["type"] for part in sample["input"][-1]["content"]] == [
                kinds[part["type"]] for part in content
            ]
