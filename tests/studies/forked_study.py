"""``python -m studies.curation_pays`` that forks for each stage: new interpreters would spend minutes on imports."""

import os
import runpy
import subprocess
import sys
import traceback
from types import SimpleNamespace


def run_forked(
    command: list[str], *, env: dict[str, str], stdout: object, stderr: object, check: bool
) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of ``python -m MODULE ...`` in a fork of this process."""
    assert command[:2] == [sys.executable, "-m"] and not check
    pid = os.fork()
    if pid:
        _, status = os.waitpid(pid, 0)
        return subprocess.CompletedProcess(command, os.waitstatus_to_exitcode(status))
    code = 1
    try:
        os.dup2(stdout.fileno(), 1)
        os.dup2(stderr.fileno(), 2)
        os.environ.update(env)
        sys.argv = command[2:]
        runpy.run_module(command[2], run_name="__main__", alter_sys=True)
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
    except BaseException:  # noqa: BLE001 - the child must not return into the code of its parent
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    import open_clip  # noqa: F401
    import peft  # noqa: F401
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer  # noqa: F401

    from studies.curation_pays import lab
    from studies.curation_pays.__main__ import app
    from winnow import console

    torch.set_num_threads(1)  # a fork has no use for the threads of its parent
    lab.subprocess = SimpleNamespace(run=run_forked)
    console.run(app)
