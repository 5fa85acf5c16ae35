from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from dashboards.data.catalog import Folder, scan
from tests.dashboards.curated import curate
from tests.dashboards.folders import build
from tests.dashboards.found import build_found


@pytest.fixture(scope="session", autouse=True)
def _own_state(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """The key of the jobs is not that of who runs the tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_STATE_HOME", str(tmp_path_factory.mktemp("state")))
        yield


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


@pytest.fixture(scope="session")
def found(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder to search in; tests may add to its cache."""
    return build_found(tmp_path_factory.mktemp("found"))
