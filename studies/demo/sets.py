"""Training sets with known defects, before and after ``curate run``, and the test questions that all arms answer."""

from __future__ import annotations

import random
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml
from PIL import Image

from studies.demo.lab import run_stage
from studies.demo.settings import StudySettings
from winnow.demo.dataset import make_dataset
from winnow.demo.defects import Shares
from winnow.files import write_text
from winnow.rows.lines import read_jsonl
from winnow.rows.records import Sample, to_line
from winnow.run import read_manifest
from winnow.strict_yaml import read_mapping

RECIPE = Path("curate/recipes/demo.yaml")
TEST = Path("data/raw/demo/test.jsonl")
TASK = Path("evalsuite/tasks/easy_vqa.yaml")


@dataclass(frozen=True)
class TrainingSet:
    """Rows that an arm may be trained on, and the folder that their images are relative to."""

    rows: tuple[Sample, ...]
    image_root: Path


@dataclass(frozen=True)
class RawSet:
    """easy-vqa with injected defects, and the truth about them."""

    folder: Path

    @property
    def truth(self) -> Path:
        """Parquet file with one row per affected row."""
        return self.folder / "truth.parquet"

    def uncurated(self) -> TrainingSet:
        """The rows as they are, without those that no training could read."""
        return TrainingSet(tuple(readable(read_jsonl(self.folder / "vqa.jsonl"), self.folder)), self.folder)

    def defects(self) -> dict[str, str]:
        """Row → its defect. A row that another contradicts has none: its answer is the right one."""
        truth = pq.read_table(self.truth, columns=["sample_id", "defect"]).to_pylist()
        added = "/con-"
        return {
            row["sample_id"]: row["defect"]
            for row in truth
            if row["defect"] != "contradictory" or added in row["sample_id"]
        }

    def ideal(self) -> TrainingSet:
        """The rows that a curation without a mistake would leave: no defect, and one of each group of copies."""
        spoiled = self.defects()
        rows = read_jsonl(self.folder / "vqa.jsonl")
        return TrainingSet(tuple(row for row in rows if row.id not in spoiled), self.folder)


def readable(rows: Any, image_root: Path) -> list[Sample]:
    """The rows whose image can be decoded."""
    known: dict[str, bool] = {}

    def decodes(path: str) -> bool:
        try:
            with Image.open(image_root / path) as image:
                image.load()
        except (OSError, SyntaxError):
            return False
        return True

    kept = []
    for row in rows:
        path = row.image[0]
        if path not in known:
            known[path] = decodes(path)
        if known[path]:
            kept.append(row)
    return kept


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
        "contamination": {**recipe["contamination"], "against": [test]},
    }


def curate(raw: RawSet, out: Path) -> Path:
    """``curate run`` with the demo's rules, unless its result is there; returns the curated folder."""
    made_from = read_manifest(raw.folder, finish_with="make proof")["recipe_digest"]
    run_stage("curate", "run", {**demo_recipe(raw), "out": str(out)}, out, inputs=made_from)
    return out


def curated_rows(raw: RawSet, curated: Path) -> TrainingSet:
    """The rows that curation kept."""
    return TrainingSet(tuple(read_jsonl(curated / "samples.jsonl")), raw.folder)


def _source(raw: RawSet, name: str) -> dict[str, str]:
    return {"location": str(raw.folder / name), "layout": "conversations", "image_root": str(raw.folder)}


def write_exam(raw: RawSet, settings: StudySettings, folder: Path) -> None:
    """Write the test questions and the task that asks them.

    Only images in the test split of ``raw`` can have leaked into it. Half of the questions are about those, so that
    the few leaks of a small set are asked about; the other half are about the other test images.
    """
    rows, questions = list(read_jsonl(TEST)), settings.questions
    if settings.kinds is not None:
        rows = [row for row in rows if row.meta["question_type"] in settings.kinds]
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
