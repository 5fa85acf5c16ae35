"""The demo on a slice, every stage run by its command as ``winnow demo`` does it."""

import subprocess
from pathlib import Path

from tests.forks import python
from winnow.demo.loop import write_recipes

REPO = Path(__file__).parents[1]
IMAGES = 60
TASKS = ("easy_vqa", "easy_vqa_caption")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(python("-m", *arguments), cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


def whole_loop(data: Path) -> None:
    """Run every stage once, with a tiny language model; recipes land beside ``data``, results in it."""
    recipes = write_recipes(data.parent, data, steps=12, questions=120, batch_size=2)
    run("winnow.demo.dataset", "--out", f"{data}/raw/demo", "--images", str(IMAGES))
    run("winnow.demo.vlm", "--out", f"{data}/models/demo-vlm", "--tiny")
    run("curate", "run", str(recipes["curate"]))
    run("finetune", "train", str(recipes["train"]))
    run("evalsuite", "run", str(recipes["base"]))
    run("evalsuite", "run", str(recipes["tuned"]))
