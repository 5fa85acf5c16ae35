"""Training sets with known defects, before and after ``curate run``, and the test questions that all arms answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from studies.curation_pays.lab import run_stage
from studies.curation_pays.settings import StudySettings
from winnow.demo.dataset import make_dataset
from winnow.demo.defects import Shares
from winnow.files import sha256_file, write_text
from winnow.records import read_jsonl, to_line
from winnow.run import read_manifest
from winnow.strict_yaml import read_mapping

RECIPE = Path("curate/recipes/demo.yaml")
TEST = Path("data/raw/demo/test.jsonl")
TASK = Path("evalsuite/tasks/easy_vqa.yaml")


@dataclass(frozen=True)
class TrainingSet:
    """What an arm trains on.

    Attributes:
        data: JSONL file or curated folder.
        image_root: of a JSONL file; None for a curated folder, which knows its own.
        digest: of the rows.
    """

    data: Path
    image_root: Path | None
    digest: str


@dataclass(frozen=True)
class RawSet:
    """easy-vqa with injected defects, and the truth about them."""

    folder: Path

    @property
    def truth(self) -> Path:
        """Parquet file with one row per affected row."""
        return self.folder / "truth.parquet"

    def uncurated(self) -> TrainingSet:
        """The rows as they are."""
        rows = self.folder / "vqa.jsonl"
        return TrainingSet(rows, self.folder, sha256_file(rows))


def make_raw(folder: Path, shares: Shares, settings: StudySettings) -> RawSet:
    """Write a set with these defects into ``folder/raw``, unless it is there."""
    make_dataset(folder / "raw", images=settings.images, kinds=settings.kinds, seed=settings.data_seed, shares=shares)
    return RawSet(folder / "raw")


def demo_recipe(raw: RawSet) -> dict[str, Any]:
    """A curation recipe with the demo's rules and thresholds for this set."""
    recipe = read_mapping(RECIPE)
    recipe["rules"].pop("nsfw")  # easy-vqa has no such image, and the score takes time
    test = {**_source(raw, "test.jsonl"), "source": "easy_vqa", "split": "test"}
    return {
        "name": "curated",
        "sources": [_source(raw, "vqa.jsonl")],
        "signals": {"clip": recipe["signals"]["clip"]},
        "rules": recipe["rules"],
        "duplicates": recipe["duplicates"],
        "contamination": {"against": [test]},
    }


def bare_recipe(raw: RawSet, **changes: Any) -> dict[str, Any]:
    """A curation recipe without signals, and without rules but those in ``changes``."""
    return {"name": "bare", "sources": [_source(raw, "vqa.jsonl")], **changes}


def curate(raw: RawSet, recipe: dict[str, Any], out: Path) -> TrainingSet:
    """``curate run``, unless its result is there."""
    read = [*map(Path, recipe.get("losses", [])), *sorted(Path(recipe.get("corrections", "nowhere")).glob("*.jsonl"))]
    made_from = [read_manifest(raw.folder, finish_with="make proof")["recipe_digest"], *map(sha256_file, read)]
    run_stage("curate", "run", {**recipe, "out": str(out)}, out, inputs=made_from)
    return TrainingSet(out, None, sha256_file(out / "samples.jsonl"))


def _source(raw: RawSet, name: str) -> dict[str, str]:
    return {"location": str(raw.folder / name), "layout": "conversations", "image_root": str(raw.folder)}


def write_exam(raw: RawSet, settings: StudySettings, folder: Path) -> None:
    """Write the test questions and the task that asks them.

    Only images in the test split of ``raw`` can have leaked into it. Half of the questions are about those, so that
    the few leaks of a small set are asked about; the other half are about the other test images.
    """
    rows, questions = list(read_jsonl(TEST)), settings.questions
    if settings.asked is not None:
        rows = [row for row in rows if row.meta["question_type"] in settings.asked]
    may_have_leaked = {sample.id for sample in read_jsonl(raw.folder / "test.jsonl")}
    near, far = ([i for i, row in enumerate(rows) if (row.id in may_have_leaked) is side] for side in (True, False))
    if questions is not None and questions < len(rows):
        rng = random.Random(0)
        half = min(len(near), max(questions // 2, questions - len(far)))
        chosen = [*rng.sample(near, half), *rng.sample(far, min(len(far), questions - half))]
        rows = [rows[i] for i in sorted(chosen)]
    folder.mkdir(parents=True, exist_ok=True)
    write_text(folder / "questions.jsonl", "".join(to_line(row) + "\n" for row in rows))
    task = read_mapping(TASK)
    task["source"] |= {"location": str(folder / "questions.jsonl"), "image_root": str(TEST.parent)}
    write_text(folder / "task.yaml", yaml.safe_dump(task, sort_keys=False))
