import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from tiny import build_data, build_model, task_text


@pytest.fixture(scope="session")
def tiny_vlm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return build_model(tmp_path_factory.mktemp("tiny-vlm"))


@pytest.fixture
def tiny_task(tmp_path: Path) -> Path:
    data = build_data(tmp_path / "data")
    task = tmp_path / "tiny.yaml"
    task.write_text(task_text(data), encoding="utf-8")
    return task


@pytest.fixture
def evaluate_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A cache of ``evaluate`` modules for one test, in place of the one in the home folder."""
    import evaluate

    def forget() -> None:
        for name in [name for name in sys.modules if name.split(".")[0] == "evaluate_modules"]:
            del sys.modules[name]

    forget()
    folder = tmp_path / "evaluate"
    monkeypatch.setattr(evaluate.config, "HF_MODULES_CACHE", str(folder))
    monkeypatch.setattr(sys, "path", list(sys.path))
    yield folder
    forget()
