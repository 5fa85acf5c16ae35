from __future__ import annotations

from pathlib import Path

import pytest

from dashboards.query.engine import Connection, connect
from tests.dashboards.folders import build


@pytest.fixture(scope="session")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder that tests only read."""
    return build(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="session")
def connection(data: Path) -> Connection:
    return connect(data)
