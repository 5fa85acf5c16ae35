"""The recipes that ship are listed, and copies of them work without the repository."""

import subprocess
import sys
from pathlib import Path

import pytest

from finetune.recipe import load
from finetune.shipped import FOLDER, copy_recipe, recipe_text, shipped_recipes
from winnow.errors import UserError


def test_every_recipe_is_listed_with_model_and_card_size():
    listed = {recipe.name: recipe for recipe in shipped_recipes()}
    assert listed.keys() == {path.stem for path in FOLDER.glob("*.yaml")}
    qwen = listed["qwen2_5_vl_16gb"]
    assert (qwen.model, qwen.gpu) == ("Qwen/Qwen2.5-VL-3B-Instruct", "16 GB")
    assert listed["demo"].gpu == ""


@pytest.mark.parametrize("name", [path.stem for path in sorted(FOLDER.glob("*.yaml"))])
def test_a_copy_means_the_same_wherever_it_lies(name, tmp_path, monkeypatch):
    original = load(FOLDER / f"{name}.yaml")
    monkeypatch.chdir(tmp_path)
    copy_recipe(name, Path("mine.yaml"))
    copied = load(Path("mine.yaml"))
    assert copied.model_copy(update={"chat_template": None}) == original.model_copy(update={"chat_template": None})
    if original.chat_template is not None:
        assert copied.chat_template.read_text() == (FOLDER / original.chat_template.name).read_text()
    with pytest.raises(UserError, match=r"mine.yaml: is there already"):
        copy_recipe(name, Path("mine.yaml"))


def test_unknown_names_are_refused():
    for name in ("qwen2_5_vl_16g", "../recipes/demo"):
        with pytest.raises(UserError, match="no recipe is called"):
            recipe_text(name)


def test_the_command(tmp_path):
    def run(*arguments):
        command = [sys.executable, "-m", "finetune", "recipes", *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    assert "gemma3_16gb           16 GB  google/gemma-3-4b-it\n" in run() and run("gemma3_16gb") == recipe_text(
        "gemma3_16gb"
    )
