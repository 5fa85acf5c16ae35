"""Training sets with known defects, before and after ``curate run``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from studies.curation_pays.settings import ProofSettings
from studies.curation_pays.stages import recipe_at, run_stage
from winnow.demo.dataset import make_dataset
from winnow.demo.defects import Shares
from winnow.files import sha256_file
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
