"""The site builds without a warning, its reference is complete, and what it names is there."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

from curate.recipe import CurateRecipe
from evalsuite.metrics import METRICS
from evalsuite.recipe import EvalRecipe
from evalsuite.tasks.spec import TaskSpec, shipped_tasks
from finetune.recipe import TrainRecipe
from tests.loop import REPO

DOCS = REPO / "docs"
RECIPES = [CurateRecipe, TrainRecipe, EvalRecipe, TaskSpec]


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def pages(generate: ModuleType) -> dict[str, str]:
    return dict(generate.pages())


@pytest.mark.slow
def test_the_site_builds_strictly(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path / "site")]
    done = subprocess.run(command, cwd=REPO, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert "max_mean_diff" in (tmp_path / "site/reference/recipes/curate/index.html").read_text()
    assert (tmp_path / "site/results/main.png").is_file()
    assert not list((tmp_path / "site").rglob("generate.py"))


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda recipe: recipe.__name__)
def test_every_key_of_a_recipe_has_a_meaning(recipe: type, generate: ModuleType) -> None:
    above = generate.meanings_of(recipe)
    parts = generate.models_below(recipe)
    keys = {
        f"{part.__name__}.{key}": (above | generate.meanings_of(part)).get(key)
        for part in parts
        for key in part.model_fields
    }
    assert [key for key, meaning in keys.items() if not meaning] == []


def test_the_reference_has_every_command(generate: ModuleType, pages: dict[str, str]) -> None:
    for name, command in generate.commands().items():
        page = pages[f"reference/cli/{name}.md"]
        for sub in getattr(command, "commands", {}):
            assert f"## `{name} {sub}`" in page
    assert "`--workers" in pages["reference/cli/curate.md"]


def test_the_reference_has_every_column_layout_task_and_metric(pages: dict[str, str]) -> None:
    from curate.readers import LAYOUTS
    from curate.rules.columns import known_columns
    from curate.signals import SIGNALS

    for column in known_columns():
        assert f"| `{column}` |" in pages["reference/signals.md"]
    for signal in SIGNALS.values():
        assert f"| {signal.name} | {signal.version} |" in pages["reference/signals.md"]
    for page, names in {"layouts": LAYOUTS, "tasks": shipped_tasks(), "metrics": METRICS}.items():
        for name in names:
            assert re.search(rf"\n###? {name}\n", pages[f"reference/{page}.md"]), name


def test_readme_is_short() -> None:
    assert len((REPO / "README.md").read_text()) <= 6000


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_of_pages_outside_of_the_site_lead_somewhere(page: str) -> None:
    text = (REPO / page).read_text()
    for link in re.findall(r"\]\(([^)#]+)\)|src=\"([^\"]+)\"", text):
        target = "".join(link)
        assert target.startswith("http") or (REPO / target).exists(), target


def test_files_that_the_architecture_names_are_there() -> None:
    text = (DOCS / "architecture.md").read_text()
    named = set(re.findall(r"`([\w./-]+(?:/|\.py|\.yaml|\.toml))`", text))
    assert len(named) > 40
    assert sorted(name for name in named if not (REPO / name).exists()) == []


def test_the_changelog_names_every_renamed_key(generate: ModuleType) -> None:
    renamed: dict[str, str] = {}
    for recipe in RECIPES:
        for part in generate.models_below(recipe):
            renamed |= part.RENAMED
    listed = dict(re.findall(r"\| `(\w+)` \| `(\w+)` \|", (REPO / "CHANGELOG.md").read_text()))
    assert renamed and listed == renamed
