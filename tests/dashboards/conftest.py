from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from dashboards.data.catalog import Folder, scan
from tests.dashboards.curated import curate
from tests.dashboards.folders import build


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that tests only read."""
    return build(tmp_path_factory.mktemp("data"))


@pytest.fixture
def own(data: Path, tmp_path: Path) -> Path:
    """A copy that one test may change."""
    root = Path(shutil.copytree(data, tmp_path / "own", ignore=shutil.ignore_patterns("cache")))
    for manifest in root.glob("*/*/manifest.json"):
        manifest.write_text(manifest.read_text().replace(str(data), str(root)))
    return root


@pytest.fixture(scope="session")
def tuned(data: Path) -> Folder:
    """The run of a tuned model."""
    found = scan(data).find("evals", "demo-tuned")
    assert found
    return found


@pytest.fixture(scope="session")
def base(data: Path) -> Folder:
    """The run of the model before tuning."""
    found = scan(data).find("evals", "demo-base")
    assert found
    return found


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with a set that was curated for real; tests only read it."""
    return curate(tmp_path_factory.mktemp("small"))
