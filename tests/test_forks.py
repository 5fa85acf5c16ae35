"""A program in a fork is what ``python`` would have run: arguments, streams, folder, environment, end."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from tests.forks import python

_SHOWN = """
import os, sys
print([sys.argv, os.getcwd(), os.environ["KEY"], "torch" in sys.modules, __name__], sys.stdin.read())
print("wrong", file=sys.stderr)
sys.exit(3)
"""


def run(code: str, *arguments: str, **options: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(python("-c", code, *arguments), capture_output=True, text=True, **options)


@pytest.mark.slow
def test_arguments_streams_folder_and_environment(tmp_path: Path) -> None:
    done = run(_SHOWN, "a", "b c", cwd=tmp_path, env={"KEY": "é"}, input="asked")
    assert done.stdout == f"{[['-c', 'a', 'b c'], str(tmp_path), 'é', True, '__main__']} asked\n"
    assert (done.stderr, done.returncode) == ("wrong\n", 3)


@pytest.mark.slow
def test_ends() -> None:
    for name in ("SIGKILL", "SIGTERM", "SIGSEGV"):
        code = f"import os, signal; os.kill(os.getpid(), signal.{name})"
        assert run(code).returncode == -getattr(signal, name)
    assert run("").returncode == 0
    done = run("1 / 0")
    assert done.returncode == 1 and done.stderr.endswith("ZeroDivisionError: division by zero\n")
    done = run("raise SystemExit('no')")
    assert (done.returncode, done.stderr) == (1, "no\n")
    assert run("import atexit; atexit.register(print, 'bye')").stdout == "bye\n"


@pytest.mark.slow
def test_modules_are_those_of_the_path(tmp_path: Path) -> None:
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "__main__.py").write_text("import sys, other; print(other.__file__, sys.argv[1:])")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "other.py").touch()
    done = subprocess.run(
        python("-m", "mine", "x"), cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(tmp_path / "elsewhere")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.stdout == f"{tmp_path}/elsewhere/other.py ['x']\n", done.stderr


@pytest.mark.slow
def test_it_ends_with_who_waits_for_it() -> None:
    code = "import os, time; print(os.getpid(), flush=True); time.sleep(600)"
    with subprocess.Popen(python("-c", code), stdout=subprocess.PIPE, text=True) as waiting:
        program = int(waiting.stdout.readline())
        waiting.kill()
    end = time.monotonic() + 30
    while Path(f"/proc/{program}").exists() and time.monotonic() < end:
        time.sleep(0.02)
    assert not Path(f"/proc/{program}").exists()
