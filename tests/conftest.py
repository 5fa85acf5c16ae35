from pathlib import Path

import pytest

from tests.loop import whole_loop


@pytest.fixture(scope="session")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The data folder of one small run of every stage; its recipes lie beside it."""
    data = tmp_path_factory.mktemp("loop") / "data"
    whole_loop(data)
    return data
