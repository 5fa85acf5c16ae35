"""Every example of the docs is run as a reader would type it, in the order of the page, on small data.

``sh`` and ``python`` blocks are run, blocks with a ``title`` are written to that file first. A ``text`` block after
them is what they print: each of its lines must be in their output. ``yaml`` without a title is a part of a recipe and
must be valid. A block that cannot run here has a reason: ``<!-- not run: needs a GPU -->``. Notebooks are executed,
and show what they showed when they were committed; ``WINNOW_WRITE_NOTEBOOKS=1`` commits what they show now.
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbclient
import nbformat
import pytest
import yaml
from blocks import Block, blocks_of
from pydantic import BaseModel, TypeAdapter

from tests.forks import executable, python
from tests.loop import REPO

DOCS = REPO / "docs"
# Pages that go on from each other share a folder.
CHAINS = {
    "readme": ["README.md"],
    "contributing": ["CONTRIBUTING.md"],
    "quickstart": ["docs/quickstart.md"],
    "tutorials": [
        *(f"docs/tutorials/{name}.md" for name in ("clean", "finetune", "review", "production")),
        "docs/howto/task.md",
    ],
    "served": ["docs/tutorials/served.md", "docs/notebooks/failures.ipynb"],
    "curate_a_folder": ["docs/notebooks/curate_a_folder.ipynb"],
    **{path.stem: [f"docs/howto/{path.name}"] for path in sorted(DOCS.glob("howto/*.md")) if path.stem != "task"},
}
# What was there before: a copy of the code, the reader's own folder, the data of the tutorial before.
MAKE = "python -m winnow.demo.dataset --images 60 --out"
PARTS = "curate dashboards docs evalsuite finetune serving tests winnow mkdocs.yml pyproject.toml"
BEFORE = {
    "contributing": f"cp -r {' '.join(str(REPO / part) for part in PARTS.split())} .",
    "readme": f"{MAKE} my-data && mv my-data/vqa.jsonl my-data/train.jsonl",
    "served": f"{MAKE} data/raw/demo",
}
SECONDS = 300


@pytest.fixture(scope="session")
def environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A shell in which ``python`` and the console scripts of this checkout start in forks."""
    scripts = tmp_path_factory.mktemp("bin")
    declared = tomllib.loads((REPO / "pyproject.toml").read_text())["project"]["scripts"]
    commands = {name: python("-m", target.split(".")[0]) for name, target in declared.items()}
    commands["serve"] = [
        sys.executable,
        "-m",
        "serving",
    ]  # a fork is killed at SIGTERM, and its server stays
    executable(scripts)
    for name, command in commands.items():
        script = scripts / name
        script.write_text(f'#!/bin/sh\nexec {shlex.join(command)} "$@"\n')
        script.chmod(0o755)
    path = f"{scripts}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "PYTHONPATH": str(REPO), "COLUMNS": "100", "HF_HUB_OFFLINE": "1"}


def signalled(group: int, signal_: int) -> bool:
    """Send a signal to a group of processes; whether there is one."""
    try:
        os.killpg(group, signal_)
    except ProcessLookupError:
        return False
    return True


class Shell:
    """Runs commands in one folder and remembers what the last block printed."""

    def __init__(self, folder: Path, environment: dict[str, str]) -> None:
        self.folder, self.environment = folder, environment
        self.printed = ""

    def run(self, *command: str) -> None:
        log = self.folder / ".printed"
        with log.open("w") as file:  # not a pipe: a server in the background would keep it open
            process = subprocess.Popen(
                command, cwd=self.folder, env=self.environment, stdout=file, stderr=subprocess.STDOUT,
                start_new_session=True,
            )  # fmt: skip
            self.sessions.append(process.pid)
            status = process.wait(timeout=SECONDS)
        self.printed = log.read_text()
        assert status == 0, f"{command[-1]}\n{self.printed}"

    def __enter__(self) -> Shell:
        self.sessions: list[int] = []
        return self

    def __exit__(self, *_: object) -> None:
        """End what the blocks left running; politely first, for `serve start` ends the server that it started."""
        lives = self.sessions
        for sent, patience in ((signal.SIGTERM, 30), (signal.SIGKILL, 0)):
            lives = [session for session in lives if signalled(session, sent)]
            deadline = time.monotonic() + patience
            while time.monotonic() < deadline and (lives := [one for one in lives if signalled(one, 0)]):
                time.sleep(0.1)

    def execute(self, path: Path) -> None:
        """Execute a notebook and compare what it shows."""
        notebook = nbformat.read(path, as_version=4)
        before = shown(notebook)
        client = nbclient.NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(self.folder)}})
        client.execute(env=self.environment)
        if os.environ.get("WINNOW_WRITE_NOTEBOOKS"):
            for cell in notebook.cells:
                cell.metadata.clear()  # times of execution
            nbformat.write(notebook, path)
        else:
            assert shown(notebook) == before

    def do(self, block: Block) -> None:
        """Write, run or check one block."""
        if block.title:
            (self.folder / block.title).parent.mkdir(parents=True, exist_ok=True)
            (self.folder / block.title).write_text(block.text)
        elif block.language == "sh":
            self.run("bash", "-euo", "pipefail", "-c", block.text)
        elif block.language == "python":
            self.run("python", "-c", block.text)
        elif block.language == "text":
            printed = " ".join(self.printed.split())
            missing = [line for line in block.text.splitlines() if " ".join(line.split()) not in printed]
            assert not missing, f"the page shows {missing}, printed was\n{self.printed}"
        elif block.language == "yaml":
            check_part(yaml.safe_load(block.text))


def shown(notebook: nbformat.NotebookNode) -> list[list[str]]:
    """What each code cell shows, as text."""
    return [
        [output.get("text") or output["data"]["text/plain"] for output in cell.outputs]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def models() -> Iterator[type[BaseModel]]:
    from curate.recipe import CurateRecipe
    from evalsuite.recipe import EvalRecipe
    from evalsuite.tasks.spec import TaskSpec
    from finetune.recipe import TrainRecipe

    yield from (CurateRecipe, TrainRecipe, EvalRecipe, TaskSpec)


def check_part(part: dict[str, Any]) -> None:
    """Keys and values of a part of a recipe fit one kind of recipe; ``base:`` is of a task file, beside its model."""
    part = {key: value for key, value in part.items() if key != "base"}
    fitting = [model for model in models() if part.keys() <= model.model_fields.keys()]
    assert fitting, f"no kind of recipe has all of {', '.join(part)}"
    for key, value in part.items():
        TypeAdapter(fitting[0].model_fields[key].annotation).validate_python(value)


@pytest.mark.slow
@pytest.mark.timeout(1200)  # the tutorials in a row
@pytest.mark.parametrize("chain", CHAINS)
def test_examples_run(chain: str, tmp_path: Path, environment: dict[str, str]) -> None:
    with Shell(tmp_path, environment) as shell:
        if chain in BEFORE:
            shell.run("bash", "-euc", BEFORE[chain])
        for page in CHAINS[chain]:
            if page.endswith(".ipynb"):
                shell.execute(REPO / page)
                continue
            for block in blocks_of((REPO / page).read_text()):
                if block.reason is None:
                    shell.do(block)


def test_all_pages_with_examples_are_run() -> None:
    patterns = ("quickstart.md", "tutorials/*.md", "howto/*.md", "notebooks/*.ipynb")
    pages = [
        REPO / "README.md",
        REPO / "CONTRIBUTING.md",
        *(page for pattern in patterns for page in DOCS.glob(pattern)),
    ]
    assert sorted(page for chain in CHAINS.values() for page in chain) == sorted(
        str(page.relative_to(REPO)) for page in pages
    )


def test_what_is_not_run_has_a_reason() -> None:
    pages = [page for chain in CHAINS.values() for page in chain]
    skipped = [
        (page, block) for page in pages for block in blocks_of((REPO / page).read_text()) if block.reason is not None
    ]
    assert skipped, "servers and GPUs are shown somewhere"
    for page, block in skipped:
        assert len(block.reason.split()) >= 3, f"{page}: say why {block.text.splitlines()[0]!r} is not run"


def test_a_wrong_example_is_found(tmp_path: Path, environment: dict[str, str]) -> None:
    page = "```sh\necho 5 rows\n```\n\n```text\n6 rows\n```\n<!-- not run: needs a GPU -->\n```sh\nexit 1\n```\n"
    ran, shown, skipped = blocks_of(page)
    assert (skipped.language, skipped.reason) == ("sh", " needs a GPU ")
    with Shell(tmp_path, environment) as shell:
        shell.do(ran)
        with pytest.raises(AssertionError, match="6 rows"):
            shell.do(shown)
        with pytest.raises(AssertionError):
            shell.do(skipped)
        with pytest.raises(AssertionError, match="thresholds"):
            check_part({"rules": {}, "thresholds": {}})
