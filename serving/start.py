"""The commands `serve start` and `serve check`, with what they print."""

from __future__ import annotations

import contextlib
import ipaddress
import os
import time
from pathlib import Path

from rich.console import Console

from serving.check import KEPT_ANSWERS, CheckSettings, check
from serving.engines import ENGINES, Options, check_installed, launch
from serving.model import open_model
from serving.process import Stopped, running
from serving.report import STAGE, load_sentences, sentences, write_check
from winnow.errors import UserError, chosen
from winnow.run import check_replaceable


def start_engine(place: Path, engine: str, options: Options, *, timeout: float, show: bool, allow_remote: bool) -> None:
    """Serve ``place`` until the engine ends or a signal comes.

    Args:
        show: only print the command.
        allow_remote: permit an address that other machines can reach.

    Raises:
        UserError: the engine or the model is not there, they do not fit, or the engine ended by itself.
    """
    if not _is_local(options.host) and not allow_remote:
        raise UserError(
            f"--host {options.host} lets other machines ask without a key; put `serve guard` before it, or add "
            "--allow-remote"
        )
    name, model = chosen("--engine", engine, ENGINES), open_model(place)
    made = launch(name, model, options)
    console = Console(stderr=True, highlight=False)
    if show:
        print(made)
    for note in made.notes:
        console.print(note, markup=False, soft_wrap=True)
    if show:
        return
    check_installed(name, options, made.command)
    with contextlib.suppress(Stopped, KeyboardInterrupt), running(made, timeout=timeout) as process:
        console.print(f"ready: {made.url} serves {made.model}", markup=False, soft_wrap=True)
        code = process.wait()
        raise UserError(f"{made.command[0]}: ended by itself with code {code}; its messages say why")
    console.print("stopped")


def check_server(settings: CheckSettings, out: Path) -> bool:
    """Check a server, write ``out``, and say what was found. Returns whether it serves the trained model."""
    if not _only_kept_answers(out):
        check_replaceable(out, stage=STAGE)
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # the server may compute on the same CPUs
    started = time.monotonic()
    found = check(settings, out)
    write_check(found, settings, out, time.monotonic() - started)
    console = Console(highlight=False)
    for sentence in (*sentences(found), *load_sentences(found.load)):
        console.print(sentence, markup=False, soft_wrap=True)
    for fault in found.faults:
        console.print(f"differs: {fault}", markup=False, soft_wrap=True)
    verdict = "does not serve" if found.faults else "serves"
    console.print(f"{settings.url} {verdict} the model of {settings.run}; {out / 'README.md'}", soft_wrap=True)
    return not found.faults


def _only_kept_answers(out: Path) -> bool:
    """Whether the folder is what a check left that was stopped."""
    return out.is_dir() and all(path.name.startswith(KEPT_ANSWERS) for path in out.iterdir())


def parse_users(given: str) -> tuple[int, ...]:
    """Numbers of users from the command line.

    Raises:
        UserError: something else than positive numbers with commas between them.
    """
    try:
        users = tuple(int(part) for part in given.split(",") if part.strip())
    except ValueError as error:
        raise UserError(f"--users {given}: give numbers, e.g. 1,4,16") from error
    if any(not 1 <= count <= 1000 for count in users):
        raise UserError(f"--users {given}: give numbers from 1 to 1,000")
    return users


def _is_local(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
