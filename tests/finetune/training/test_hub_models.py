"""Training on a model and rows of a hub: pinned, recorded, named in what is shared."""

import json

import pytest

from finetune.export.merge import merge
from finetune.training.run import dry_run, train
from tests.winnow.hub_server import COMMIT, mirror
from winnow.errors import UserError
from winnow.run import read_manifest

LATER = "f" * 40


@pytest.fixture
def server(tmp_path, monkeypatch, tiny_model, toy_data):
    with mirror(tmp_path, monkeypatch) as made:
        made.repos["model", "toy/vlm"] = {path.name: path.read_bytes() for path in tiny_model.iterdir()}
        made.repos["dataset", "toy/rows"] = {path.name: path.read_bytes() for path in toy_data.parent.iterdir()}
        yield made


def test_plan_needs_no_weights(server, recipe_of, tmp_path, capsys):
    dry_run(recipe_of(model="toy/vlm", data="hub:toy/rows"), tmp_path / "plan")
    printed = capsys.readouterr().out
    assert f"model: toy/vlm@{COMMIT}" in printed and f"data: hub:toy/rows@{COMMIT}" in printed
    assert not server.ranges_of("model.safetensors")


@pytest.mark.slow
def test_the_commit_is_recorded_and_merged_into(server, recipe_of, tmp_path):
    recipe = recipe_of(model="toy/vlm", data="hub:toy/rows", evaluate={"same": "hub:toy/rows:rows.jsonl"}, max_steps=2)
    run = train(recipe)
    manifest = read_manifest(run, finish_with="")
    assert manifest["inputs"]["model"] == COMMIT and manifest["recipe"]["model"] == f"toy/vlm@{COMMIT}"
    config = json.loads((run / "adapter/adapter_config.json").read_text())
    assert (config["base_model_name_or_path"], config["revision"]) == ("toy/vlm", COMMIT)
    assert "base_model: toy/vlm\n" in (run / "adapter/README.md").read_text()
    assert train(recipe) == run  # up to date
    server.commit = LATER
    from winnow.remote.downloads import fetch

    fetch.cache_clear()
    with pytest.raises(UserError, match=f"differs in model .*{COMMIT}.*{LATER}"):
        train(recipe)
    assert merge(run, tmp_path / "merged", into=None, count=2).passed
