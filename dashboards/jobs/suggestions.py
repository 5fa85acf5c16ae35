"""What there is to choose from for a key of a recipe: results and models of the data folder, tasks that ship."""

from __future__ import annotations

from pathlib import Path

from dashboards.data.catalog import Catalog, Kind
from dashboards.jobs.commands import Stage
from dashboards.jobs.recipes import relative
from evalsuite.tasks.spec import shipped_tasks

_RESULTS: dict[tuple[Stage, tuple[str, ...]], Kind] = {
    ("finetune", ("data",)): "curated",
    ("evalsuite", ("training_set",)): "curated",
    ("evalsuite", ("baseline",)): "evals",
    ("merge", ("run",)): "runs",
}


def suggestions(stage: Stage, path: tuple[str, ...], catalog: Catalog, root: Path, below: Path) -> list[str]:
    """Values for a key as they stand in a recipe; others can be typed. Empty where nothing is known.

    Args:
        below: the folder that relative paths start from.
    """
    if kind := _RESULTS.get((stage, path)):
        return [relative(folder.path, below) for folder in catalog.finished(kind)]
    if path in (("adapter",), ("model", "adapter")):
        adapters = [folder.path / "adapter" for folder in catalog.finished("runs")]
        return [relative(adapter, below) for adapter in adapters if adapter.is_dir()]
    if (stage, path) in (("finetune", ("model",)), ("evalsuite", ("model", "path"))):
        return [relative(config.parent, below) for config in sorted(root.glob("models/*/config.json"))]
    if path == ("corrections",):
        return [relative(root / "corrections", below)]
    return list(shipped_tasks()) if (stage, path) == ("evalsuite", ("tasks",)) else []
