"""What ``winnow doctor`` says about an installation and about recipes."""

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from winnow import doctor
from winnow.errors import UserError

REPO = Path(__file__).parents[2]


@pytest.fixture
def recipe(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(doctor, "gpus", lambda: [("Card", 24576, 20480)])

    def write(**values):
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump(values))
        return path

    return write


def needs(path):
    kind, found = doctor.recipe_needs(path)
    return kind, {need.what: need for need in found}


def test_a_curation_needs_its_sources_and_extras(recipe, tmp_path, monkeypatch):
    (tmp_path / "rows.jsonl").write_text("")
    monkeypatch.setattr(doctor, "missing_packages", lambda extra: ["onnxruntime"])
    path = recipe(
        name="x",
        sources=[{"location": "rows.jsonl"}, {"location": "none.jsonl"}, {"location": "hub:owner/set"}],
        signals={"nsfw": "opennsfw", "clip": {"model": "none"}},
    )
    kind, found = needs(path)
    assert kind == "a curation"
    assert [found[f"source {name}"].found for name in ("rows.jsonl", "none.jsonl", "hub:owner/set")] == [
        True,
        False,
        None,
    ]
    assert found["CLIP checkpoint none"].found is False
    (extra,) = [need for what, need in found.items() if what.startswith("extra nsfw")]
    assert not extra.found and extra.note == "onnxruntime: pip install 'winnow-vlm[nsfw]'"


def test_a_training_needs_model_data_and_memory(recipe, tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    with (folder / "model.safetensors").open("wb") as weights:
        weights.truncate(8 << 30)  # 4 GiB parameters of 16 bits, as a file with a hole
    kind, found = needs(recipe(name="x", model="model", data="data/curated/none"))
    assert kind == "a training"
    assert found["model model"].found and not found["data data/curated/none"].found
    assert found["memory for nf4 weights"].note == "about 2.1 GiB for 4.3B parameters; 20.0 GiB are free on a GPU here"
    (folder / "config.json").unlink()
    assert needs(recipe(name="x", model="model", data="d"))[1]["model model"].note == "has no config.json"


def test_a_hub_model_is_looked_for_in_the_cache_only(recipe):
    found = needs(recipe(name="x", model="nobody/nothing-7B", data="d", quantization="none"))[1]
    assert found["model nobody/nothing-7B"].found is None
    assert found["memory for 16-bit weights"].note.startswith("about 13.0 GiB for 7.0B parameters")
    assert needs(recipe(name="x", model="./none", data="d"))[1]["model ./none"].found is False


def test_an_evaluation_needs_its_tasks_and_adapter(recipe):
    kind, found = needs(recipe(name="x", model={"path": "./m", "adapter": "./a"}, tasks=["textvqa"]))
    assert kind == "an evaluation"
    assert found["adapter a"].found is False
    assert [need.found for what, need in found.items() if what.startswith("task textvqa")] == [False]
    server = needs(recipe(name="x", server={"url": "http://127.0.0.1:1/v1"}, tasks=["textvqa"]))[1]
    assert server["server http://127.0.0.1:1/v1"].found is None


@pytest.mark.parametrize(
    ("values", "words"), [({"name": "x"}, "not a recipe"), ({"sources": [], "nam": 1}, "recipe.yaml")]
)
def test_what_is_no_valid_recipe_is_refused(recipe, values, words):
    with pytest.raises(UserError, match=words):
        doctor.recipe_needs(recipe(**values))


@pytest.mark.parametrize(
    "path", sorted(REPO.glob("*/recipes/*.yaml")), ids=lambda path: f"{path.parts[-3]}-{path.stem}"
)
def test_every_shipped_recipe_can_be_examined(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    kind, found = doctor.recipe_needs(path)
    assert kind == {"curate": "a curation", "finetune": "a training", "evalsuite": "an evaluation"}[path.parts[-3]]
    assert found


def test_the_report_names_versions_hardware_and_every_extra(tmp_path):
    command = [sys.executable, "-m", "winnow", "doctor"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0 and done.stderr == ""
    for word in ("winnow", "python", "torch", "CPU", "memory", "disk", "GPU", *doctor.EXTRAS):
        assert f"\n  {word} " in done.stdout, word


def test_extras_are_those_of_the_package():
    project = (REPO / "pyproject.toml").read_text()
    section = project.split("[project.optional-dependencies]")[1].split("\n[")[0]
    assert {line.split(" = ")[0] for line in section.splitlines() if " = [" in line} == set(doctor.EXTRAS)


def test_a_missing_need_is_exit_code_1(tmp_path):
    (tmp_path / "r.yaml").write_text("name: x\nmodel: ./none\ndata: none\n")
    command = [sys.executable, "-m", "winnow", "doctor", "r.yaml"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 1 and "missing  model ./none" in done.stdout
