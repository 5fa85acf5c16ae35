"""Python programs that start without importing the model libraries: each is a fork of one process that holds them.

``subprocess.run(python("-m", "finetune", ...))`` is ``subprocess.run([sys.executable, "-m", "finetune", ...])`` without
the seven CPU seconds of its imports: a process of its own with its own arguments, environment, folder, streams and exit
code. SIGTERM kills the program at once (SIGKILL), and the command ends when it is gone. Not for tests of what is
imported, of memory, of other signals, or of variables that a library reads when it is imported (``HF_HOME``,
``HF_ENDPOINT``).
"""

import atexit
import contextlib
import functools
import json
import os
import select
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
from pathlib import Path


def python(*arguments: str) -> list[str]:
    """The command ``python ARGUMENTS``, which begin with ``-m MODULE`` or ``-c CODE``."""
    return [sys.executable, "-I", "-S", __file__, _server(), *arguments]


def run(command: list[str], **options: object) -> subprocess.CompletedProcess[str]:
    """``subprocess.run`` of a Python command; in place of it where a module starts one."""
    return subprocess.run(python(*command[1:]), **options)


def executable(folder: Path) -> Path:
    """A script in a folder that is called as ``python`` is; what is neither a module nor code gets an interpreter."""
    script = folder / "python"
    forked, new = shlex.join(python()), shlex.quote(sys.executable)
    script.write_text(f'#!/bin/sh\ncase "$1" in -m | -c) exec {forked} "$@" ;; esac\nexec {new} "$@"\n')
    script.chmod(0o755)
    return script


@functools.cache
def _server() -> str:
    """The socket of the process that forks; it ends with this one."""
    path = f"{tempfile.mkdtemp()}/socket"
    environment = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    server = subprocess.Popen(
        [sys.executable, __file__, path], env={**environment, "HF_HUB_OFFLINE": "1"}, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )  # fmt: skip
    assert server.stdin and server.stdout and server.stdout.readline() == b"listening\n"
    atexit.register(server.stdin.close)
    return path


def ask(path: str, arguments: list[str]) -> int:
    """Have a program run with the streams of this process; returns its exit code. SIGTERM kills it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
    request = json.dumps({"arguments": arguments, "folder": str(Path.cwd()), "environment": dict(os.environ)}).encode()
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(path)
        socket.send_fds(server, [len(request).to_bytes(4, "big")], [0, 1, 2])
        server.sendall(request)
        lines = server.makefile()
        program = int(lines.readline())

        def kill(*_: object) -> None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(program, signal.SIGKILL)

        signal.signal(signal.SIGTERM, kill)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        return int(lines.readline() or -signal.SIGKILL)


def serve(path: str) -> None:
    """Fork for each request until standard input ends."""
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(path)
        door.listen()
        print("listening", flush=True)
        _load()
        while sys.stdin not in select.select([door, sys.stdin], [], [])[0]:
            caller, _ = door.accept()
            if not os.fork():
                door.close()
                _answer(caller)
            caller.close()
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass


def _load() -> None:
    import gc
    import logging

    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)
    sys.modules["kernels"] = None  # as ``winnow.vlm.models.prepare_libraries`` has it
    import bitsandbytes  # noqa: F401
    import matplotlib.pyplot  # noqa: F401
    import open_clip  # noqa: F401
    import peft  # noqa: F401
    import torch
    from transformers import AutoModelForImageTextToText, AutoProcessor, Trainer  # noqa: F401

    torch.set_num_threads(1)  # a fork has no use for the threads of its parent
    os.fsync = lambda _: None  # as in tests/conftest.py
    gc.freeze()


def _answer(caller: socket.socket) -> None:
    """Run a program in a fork, and kill it when the one who asked is gone."""
    length, streams, _, _ = socket.recv_fds(caller, 4, 3)
    with caller.makefile("rb") as lines:
        request = json.loads(lines.read(int.from_bytes(length, "big")))
    program = os.fork()
    if not program:
        caller.close()
        _become(**request, streams=streams)
    ended = os.pidfd_open(program)
    with contextlib.suppress(OSError):  # who asked may be gone already
        caller.sendall(f"{program}\n".encode())
    if ended not in select.select([caller, ended], [], [])[0]:
        os.kill(program, signal.SIGKILL)
    status = os.waitstatus_to_exitcode(os.waitpid(program, 0)[1])
    try:
        caller.sendall(f"{status}\n".encode())
    finally:
        os._exit(0)


def _become(arguments: list[str], folder: str, environment: dict[str, str], streams: list[int]) -> None:
    """Run the program as the interpreter would, and end as it would."""
    import runpy
    import threading
    import traceback
    import types

    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    own = [place for place in environment.get("PYTHONPATH", "").split(os.pathsep) if place]
    kind, what, *rest = arguments
    sys.path[:1] = [folder if kind == "-m" else "", *own]
    sys.dont_write_bytecode = bool(environment.get("PYTHONDONTWRITEBYTECODE"))
    code = 1
    try:
        if kind == "-m":
            sys.argv = [what, *rest]
            runpy.run_module(what, run_name="__main__", alter_sys=True)
        else:
            assert kind == "-c", arguments
            sys.argv = ["-c", *rest]
            sys.modules["__main__"] = main = types.ModuleType("__main__")
            exec(compile(what, "<string>", "exec"), main.__dict__)  # noqa: S102
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else int(end.code is not None)
        if isinstance(end.code, str):
            print(end.code, file=sys.stderr)
    except BaseException:  # noqa: BLE001 - the child must not return into the code of its parent
        traceback.print_exc()
    finally:
        threading._shutdown()  # waits for threads
        atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    if len(sys.argv) == 2:
        serve(sys.argv[1])
    else:
        ended = ask(sys.argv[1], sys.argv[2:])
        if ended < 0:
            if -ended not in (signal.SIGKILL, signal.SIGSTOP):
                signal.signal(-ended, signal.SIG_DFL)
            os.kill(os.getpid(), -ended)
        sys.exit(ended)
