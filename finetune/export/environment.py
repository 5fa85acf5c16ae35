"""The environments that quantisers and their libraries live in, and how a worker runs there.

llm-compressor pins transformers 5.17 and optimum-intel one below 5.6, both older than what Winnow trains with.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from pathlib import Path

from finetune.export.worker.job import Library, Method
from winnow.errors import UserError

COMPRESS, OPENVINO = Path(".venv-export"), Path(".venv-openvino")
_MADE_WITH = {COMPRESS: "make export-env", OPENVINO: "make openvino-env"}
_PACKAGE = Path(__file__).resolve().parents[1]


def library_of(method: Method) -> Library:
    """The library that loads a method's result here."""
    return "openvino" if method.startswith("openvino") else "transformers"


def python_for(method: Method, folder: Path | None) -> Path:
    """The Python that quantises by a method, and loads the result.

    Args:
        folder: a virtual environment in place of the usual one.

    Raises:
        UserError: there is no such environment.
    """
    if method == "merged":
        return Path(sys.executable)
    usual = OPENVINO if library_of(method) == "openvino" else COMPRESS
    python = (folder or usual) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if not python.is_file():
        raise UserError(
            f"--to {method} needs an environment of its own, and {python} is not there; run `{_MADE_WITH[usual]}`, "
            f"or name one with --env (its pins: {_PACKAGE / 'export' / 'worker'})"
        )
    return python.absolute()


def run_worker(python: Path, worker: str, arguments: list[str], log: Path) -> None:
    """Run a module of ``finetune.export.worker``; what it prints goes to ``log``.

    Raises:
        UserError: it failed; the message has the last line that it printed.
    """
    with tempfile.TemporaryDirectory() as name:
        # Only this package: Winnow's own site-packages would hide the environment's libraries.
        (Path(name) / _PACKAGE.name).symlink_to(_PACKAGE, target_is_directory=True)
        environment = {
            **os.environ, "PYTHONPATH": name, "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1",
            "OMP_WAIT_POLICY": "PASSIVE", "TOKENIZERS_PARALLELISM": "false", "PYTHONDONTWRITEBYTECODE": "1",
        }  # fmt: skip
        with log.open("w", encoding="utf-8") as output:
            done = subprocess.run(
                [python, "-m", f"finetune.export.worker.{worker}", *arguments], stdout=output, stderr=subprocess.STDOUT,
                env=environment, check=False,
            )  # fmt: skip
    if done.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines() or ["no message"]
        raise UserError(f"the worker {worker} failed ({lines[-1][:300]}); see {log}")
