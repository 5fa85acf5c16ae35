"""Training sets with known defects, before and after ``curate run``.

The test questions that all arms are asked.
"""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from studies.curation_pays.lab import recipe_at, run_stage
from studies.curation_pays.settings import ProofSettings
from winnow.demo.defects import Shares
from winnow.demo.make_dataset import make_dataset
from winnow.files import sha256_file, write_text
from winnow.records import read_jsonl, to_line
from winnow.run import read_manifest

RECIPE = Path("curate/recipes/demo.yaml")


@dataclass(frozen=True)
class TrainingSet:
    """What an arm trains on.

    Attributes:
        data: JSONL file or curated folder.
        image_root: of a JSONL file; a curated folder knows its own.
        digest: of the rows.
    """

    data: Path
    image_root: Path | None
    digest: str


@dataclass(frozen=True)
class RawSet:
    """easy-vqa with defects, and the truth about them."""

    folder: Path

    @property
    def truth(self) -> Path:
        """One row per affected row."""
        return self.folder / "truth.parquet"

    def uncurated(self) -> TrainingSet:
        """The rows as they are."""
        rows = self.folder / "vqa.jsonl"
        return TrainingSet(rows, self.folder, sha256_file(rows))


def make_raw(folder: Path, shares: Shares, settings: ProofSettings) -> RawSet:
    """Write the set that arms are trained on, unless it is there."""
    make_dataset(folder / "raw", images=settings.images, kinds=settings.kinds, seed=settings.data_seed, shares=shares)
    return RawSet(folder / "raw")


def demo_recipe(raw: RawSet, **changes: Any) -> dict[str, Any]:
    """The demo's rules and thresholds on this set.

    Args:
        changes: keys to add or replace; ``rules`` are added to the demo's.
    """
    recipe = recipe_at(RECIPE)
    recipe["rules"].pop("nsfw")  # there is nothing of the kind in easy-vqa, and the score takes time
    rules = recipe["rules"] | changes.pop("rules", {})
    test = {**_source(raw, "test.jsonl"), "source": "easy_vqa", "split": "test"}
    return {
        "name": "curated",
        "sources": [_source(raw, "vqa.jsonl")],
        "signals": {"clip": recipe["signals"]["clip"]},
        "rules": rules,
        "duplicates": recipe["duplicates"],
        "contamination": {"against": [test]},
        **changes,
    }


def bare_recipe(raw: RawSet, **changes: Any) -> dict[str, Any]:
    """No signal, no rule but what ``changes`` has."""
    return {"name": "bare", "sources": [_source(raw, "vqa.jsonl")], **changes}


def curate(raw: RawSet, recipe: dict[str, Any], out: Path) -> TrainingSet:
    """``curate run``, unless its result is there."""
    read = [*map(Path, recipe.get("losses", [])), *sorted(Path(recipe.get("corrections", "nowhere")).glob("*.jsonl"))]
    made_from = [read_manifest(raw.folder, finish_with="")["recipe_digest"], *map(sha256_file, read)]
    run_stage("curate", "run", {**recipe, "out": str(out)}, out, inputs=made_from)
    return TrainingSet(out, None, sha256_file(out / "samples.jsonl"))


def _source(raw: RawSet, name: str) -> dict[str, str]:
    return {"location": str(raw.folder / name), "layout": "conversations", "image_root": str(raw.folder)}


TEST = Path("data/raw/demo/test.jsonl")
TASK = Path("evalsuite/tasks/easy_vqa.yaml")


def write_exam(raw: RawSet, settings: ProofSettings, folder: Path) -> None:
    """Write ``settings.questions`` rows of the whole test split and the task that asks them.

    Half of the questions are about the images in the test split of ``raw``, the only ones that
    can have leaked into it, so that a small set's few leaks are asked about; the others are about
    all other images.
    """
    rows, questions = list(read_jsonl(TEST)), settings.questions
    if settings.asked is not None:
        rows = [row for row in rows if row.meta["question_type"] in settings.asked]
    within_reach = {sample.id for sample in read_jsonl(raw.folder / "test.jsonl")}
    near, far = ([i for i, row in enumerate(rows) if (row.id in within_reach) is side] for side in (True, False))
    if questions is not None and questions < len(rows):
        rng = random.Random(0)
        half = min(len(near), max(questions // 2, questions - len(far)))
        chosen = [*rng.sample(near, half), *rng.sample(far, min(len(far), questions - half))]
        rows = [rows[i] for i in sorted(chosen)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "questions.jsonl", "".join(to_line(row) + "\n" for row in rows))
    task = recipe_at(TASK)
    task["source"] |= {"location": str(folder / "questions.jsonl"), "image_root": str(TEST.parent)}
    write_text(folder / "task.yaml", yaml.safe_dump(task, sort_keys=False))
