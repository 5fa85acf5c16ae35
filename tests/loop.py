"""The demo on a slice, every stage run by its console script as the Makefile does it."""

import subprocess
import sys
from pathlib import Path

import yaml

REPO = Path(__file__).parents[1]
IMAGES = 60
TASKS = ("easy_vqa", "easy_vqa_caption")


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    done = subprocess.run([sys.executable, "-m", *arguments], cwd=REPO, capture_output=True, text=True)
    assert done.returncode == 0, f"{' '.join(arguments)}\n{done.stdout}\n{done.stderr}"
    return done


def shipped(path: str, target: Path, rewrite: dict[str, str], **changes: object) -> Path:
    """A shipped recipe with its folders moved below the test's own and some keys changed."""
    text = (REPO / path).read_text()
    for old, new in rewrite.items():
        text = text.replace(old, new)
    target.write_text(yaml.safe_dump({**yaml.safe_load(text), **changes}, sort_keys=False))
    return target


def whole_loop(data: Path) -> None:
    """Run every stage once; recipes land beside ``data``, results in it."""
    recipes = data.parent
    moved = {f"data/{part}": f"{data}/{part}" for part in ("raw", "models", "curated", "runs", "evals", "corrections")}
    run("winnow.demo.dataset", "--out", f"{data}/raw/demo", "--images", str(IMAGES))
    run("winnow.demo.vlm", "--out", f"{data}/models/demo-vlm", "--tiny")
    curation = shipped("curate/recipes/demo.yaml", recipes / "curate.yaml", moved, out=f"{data}/curated/demo")
    run("curate", "run", str(curation))
    stage = {"max_steps": 12, "batch_size": 2}
    training = shipped(
        "finetune/recipes/demo.yaml", recipes / "train.yaml", moved, out=f"{data}/runs/demo", stages=[], **stage
    )
    run("finetune", "train", str(training))
    for name in ("base", "tuned"):
        changed = {"out": f"{data}/evals/demo-{name}", "limit": 120}
        tasks = [str(shipped(f"evalsuite/tasks/{task}.yaml", recipes / f"{task}.yaml", moved)) for task in TASKS]
        recipe = shipped(f"evalsuite/recipes/demo_{name}.yaml", recipes / f"{name}.yaml", moved, tasks=tasks, **changed)
        run("evalsuite", "run", str(recipe))
